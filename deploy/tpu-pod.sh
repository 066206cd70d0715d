#!/bin/bash
# Trains a recipe on every host of a cloud TPU slice, with gcloud on the machine at hand:
#   deploy/tpu-pod.sh NAME ZONE lwm-text-32k gs://bucket/runs/text-32k [KEY=VALUE]...
# The hosts need the project installed (LWM_INSTALL=1 does that first), and --out on storage that all of them see:
# a mounted bucket (gcsfuse) or a network file system. LWM_SHOW=1 prints what would be run and runs nothing.
set -euo pipefail

if [ $# -lt 4 ]; then
  echo "usage: deploy/tpu-pod.sh TPU_NAME ZONE RECIPE OUT [KEY=VALUE]..." >&2
  exit 2
fi
name=$1 zone=$2 recipe=$3 out=$4
shift 4

on_all() {
  local words=(gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="$1")
  if [ "${LWM_SHOW:-}" = 1 ]; then
    printf '%q ' "${words[@]}"
    echo
  else
    "${words[@]}"
  fi
}

if [ "${LWM_INSTALL:-}" = 1 ]; then
  on_all "pip install -q 'jax[tpu]' 'lwm-jax[orbax]'"
fi
# Each word is quoted once more, for the shell at the other end.
train=$(printf '%q ' lwm train "$recipe" --out "$out" "$@" --distributed)
resume=$(printf '%q ' lwm resume "$out" --distributed)
on_all "if compgen -G $(printf '%q' "$out")/checkpoints/'step-*' >/dev/null; then $resume; else $train; fi"
