#!/usr/bin/env bash
# Trains on GPUs of a SLURM cluster, one process a GPU: what JAX expects of SLURM, where it gives every process the GPU of
# its number on the node (so no --gpus-per-task, which would hide the others from it).
#
#   WORKDIR=/shared/runs/joint sbatch --nodes=8 launch/slurm.sh [ARGUMENTS OF e2etts_jax.main ...]
#
# Options of sbatch on the command line come before those below; nodes of 4 GPUs: --gpus-per-node=4 --ntasks-per-node=4.
# From the environment:
#
#   WORKDIR   (needed) the run's folder on shared storage, or gs://bucket/folder
#   CONFIG    what to train          default: configs/joint.py:base
#   MESH      mesh.shape             default: (1,-1,1)
#   VENV      environment, on shared storage, with the package and its CUDA extra   default: .venv of the checkout
#   CACHE     compiled programs, on shared storage   default: `compiled` beside WORKDIR
#
# The checkout must be on shared storage too; sbatch is called in it.
#
#SBATCH --job-name=e2etts
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --output=slurm-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
# Two minutes before the time is over every process gets SIGTERM (not this script, which B:TERM would mean): they save
# together, end with 130, and the job queues again. What `scancel` stops stays stopped, for it ends this script as well.
#SBATCH --signal=TERM@120
set -euo pipefail

fail() {
  echo "error: $*" >&2
  exit 2
}
[[ -n ${WORKDIR:-} ]] || fail "set WORKDIR, the run's folder on shared storage or in a bucket"
[[ -n ${SLURM_SUBMIT_DIR:-} ]] || fail "submit this with sbatch"
cd "$SLURM_SUBMIT_DIR"
[[ -f e2etts_jax/main.py ]] || fail "call sbatch in the checkout, not in $SLURM_SUBMIT_DIR"
[[ ${SLURM_NTASKS_PER_NODE:-} == "${SLURM_GPUS_ON_NODE:-${SLURM_NTASKS_PER_NODE:-}}" ]] ||
  fail "one task a GPU: --ntasks-per-node=${SLURM_NTASKS_PER_NODE:-} and --gpus-per-node=${SLURM_GPUS_ON_NODE:-} must be equal"

export JAX_COMPILATION_CACHE_DIR=${CACHE:-$(dirname "$WORKDIR")/compiled}
# srun has not taken this over from sbatch since SLURM 22.05
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1}
# Proxies would catch the calls by which the processes find each other.
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY all_proxy ALL_PROXY

code=0
# A process that fails ends the others itself, with its words; srun would kill those that still save.
srun --kill-on-bad-exit=0 --label "${VENV:-.venv}/bin/python" -u -m e2etts_jax.main \
  "--config=${CONFIG:-configs/joint.py:base}" "--workdir=$WORKDIR" "--config.mesh.shape=${MESH:-(1,-1,1)}" "$@" || code=$?
if ((code == 130)); then
  echo "stopped after saving: queueing again"
  scontrol requeue "$SLURM_JOB_ID" || true # after a preemption SLURM does so itself
fi
exit "$code"
