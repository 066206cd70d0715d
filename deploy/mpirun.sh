#!/bin/bash
# Trains a recipe in several processes under Open MPI (version 4, whose environment JAX reads):
#   deploy/mpirun.sh 4 lwm-text-32k /shared/runs/text-32k [KEY=VALUE]...
# MPIRUN_FLAGS: options of mpirun, such as --hostfile hosts --map-by ppr:8:node (one process for each GPU).
# LWM_ARGUMENTS: more options of `lwm train` and `lwm resume`, such as --cpu-devices 2.
set -euo pipefail

if [ $# -lt 3 ]; then
  echo "usage: deploy/mpirun.sh PROCESSES RECIPE OUT [KEY=VALUE]..." >&2
  exit 2
fi
processes=$1 recipe=$2 out=$3
shift 3
LWM=${LWM:-lwm}
read -ra flags <<<"${MPIRUN_FLAGS:-}"
read -ra arguments <<<"${LWM_ARGUMENTS:-}"

if compgen -G "$out/checkpoints/step-*" >/dev/null; then
  command=("$LWM" resume "$out")
else
  command=("$LWM" train "$recipe" --out "$out" "$@")
fi
exec mpirun -np "$processes" "${flags[@]}" "${command[@]}" --distributed "${arguments[@]}"
