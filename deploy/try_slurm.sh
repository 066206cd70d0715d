#!/bin/bash
# Starts a Slurm of one node on this machine (Debian: apt-get install slurm-wlm munge; as root), submits
# deploy/slurm.sbatch to it, waits for the job and takes everything down again. Its state lies in a folder of its own.
#   deploy/try_slurm.sh [OUT]     prints the job's output; exits with 0 when the run was trained
set -euo pipefail

for program in munged slurmctld slurmd sbatch; do
  command -v "$program" >/dev/null || PATH=$PATH:/usr/sbin
  command -v "$program" >/dev/null || { echo "$program is missing: apt-get install slurm-wlm munge" >&2; exit 2; }
done
[ "$(id -u)" = 0 ] || { echo "a Slurm that starts jobs has to be root's" >&2; exit 2; }
here=$(cd "$(dirname "$0")/.." && pwd)
state=$(mktemp -d)
out=${1:-$state/run}
started=()
finish() {
  for ((at = ${#started[@]} - 1; at >= 0; at--)); do kill "${started[at]}" 2>/dev/null || true; done
  wait 2>/dev/null || true
  rm -rf "$state"
}
trap finish EXIT

chmod 755 "$state"
head -c 1024 /dev/urandom >"$state/munge.key"
chmod 400 "$state/munge.key"
munged --foreground --force --key-file="$state/munge.key" --socket="$state/munge.socket" \
  --pid-file="$state/munged.pid" --log-file="$state/munged.log" --seed-file="$state/munge.seed" 2>/dev/null &
started+=($!)

host=$(hostname -s)
cat >"$state/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=16817
SlurmdPort=16818
AuthInfo=socket=$state/munge.socket
StateSaveLocation=$state/ctld
SlurmdSpoolDir=$state/d
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$state/slurm.conf
mkdir -p "$state/ctld" "$state/d"
until [ -S "$state/munge.socket" ]; do sleep 0.2; done
slurmctld -D >"$state/slurmctld.log" 2>&1 &
started+=($!)
slurmd -D >"$state/slurmd.log" 2>&1 &
started+=($!)
for _ in $(seq 100); do
  sinfo -h -o %T 2>/dev/null | grep -q idle && break
  sleep 0.3
done
sinfo -h -o %T | grep -q idle || { tail -n 20 "$state/slurmctld.log" "$state/slurmd.log" >&2; exit 1; }

stage='{name="short", sequence_length=64, rope_theta=1e4, rows=4, steps=4, learning_rate=3e-3'
stage="$stage, mixture={book=1.0}, mesh=[1,2,1,2]}"
job=$(
  LWM=${LWM:-$(command -v lwm || echo "$here/.venv/bin/lwm")} LWM_ARGUMENTS='--cpu-devices 2' JAX_PLATFORMS=cpu \
    sbatch --parsable --output="$state/job.log" "$here/deploy/slurm.sbatch" tiny-text "$out" \
    checkpoint.use=orbax attention.use=ring "curriculum.stages=[$stage]"
)
while squeue -h -j "$job" -o %T 2>/dev/null | grep -q .; do sleep 1; done
verdict=$(scontrol show job "$job" | grep -o 'JobState=[A-Z]*')
grep -v "Gloo\|peer ranks" "$state/job.log" | sed "s#$out#RUN#g; s#$here/##g" || true
echo "Slurm says: $verdict"
[ "$verdict" = JobState=COMPLETED ]
