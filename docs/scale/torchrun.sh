#!/usr/bin/env bash
# Train on several machines without a scheduler. Run the same line on each, with its own number, 0 first:
#
#   HOST0=10.0.0.1 HOSTS=2 GPUS=8 bash torchrun.sh 0 configs/cyclegan.yaml -o /shared/runs/cyclegan
#   HOST0=10.0.0.1 HOSTS=2 GPUS=8 bash torchrun.sh 1 configs/cyclegan.yaml -o /shared/runs/cyclegan
#
# GPUS is the number of processes on each machine. The run's folder must be on a drive that all of them see. A process
# that dies is replaced up to RESTARTS times, and the run continues from its last checkpoint.
set -euo pipefail
number=${1:?give the number of this machine, from 0}
shift
exec python -m torch.distributed.run \
    --nnodes="${HOSTS:-1}" --nproc-per-node="${GPUS:-1}" --max-restarts="${RESTARTS:-3}" \
    --rdzv-backend=c10d --rdzv-id="${RUN_ID:-i2i}" --rdzv-endpoint="${HOST0:?the address of machine 0}:${PORT:-29400}" \
    --rdzv-conf="is_host=$((number == 0))" ${ADDRESS:+--local-addr="$ADDRESS"} \
    -m i2i run "$@" --resume
