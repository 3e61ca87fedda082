#!/usr/bin/env bash
# Trains on a Cloud TPU pod, one slice or several, from a machine with gcloud and a checkout.
#
#   bash launch/tpu_pod.sh [--dry-run] [--slices=N] COMMAND [ARGUMENTS OF e2etts_jax.main ...]
#
#   create   asks for the slices (a queued resource) and waits until they are there; uses those that are
#   install  copies the committed checkout to all workers and installs it there
#   run      create, install, then trains until the run ends. Slices that are taken away are asked for again, and the run
#            goes on from its last checkpoint. Called again it follows the run that is on
#   logs     copies train.log of every worker to runs/NAME/
#   delete   gives the slices back
#   all      run, logs, delete
#
# --dry-run prints every command and runs none. What it needs to know comes from the environment:
#
#   ZONE         (needed) where, such as us-west4-a
#   ACCELERATOR  (needed) type of one slice, such as v5litepod-16
#   BUCKET       (needed to run) gs://bucket or gs://bucket/folder: runs, compiled programs
#   VERSION      image of the hosts             default: the one for ACCELERATOR (v4, v5e, v5p, v6e)
#   NAME         of the resource and its nodes  default: e2etts
#   WORKDIR      folder of the run              default: BUCKET/NAME
#   CONFIG       what to train                  default: configs/joint.py:base
#   MESH         mesh.shape                     default: (1,-1,1), and (0,-1,1) on several slices
#   SLICES       how many                       default: 1 (--slices=N)
#   SPOT         1 = may be taken away, cheap; 0 = the project's own quota   default: 1
#   CREATE       more flags of `queued-resources create`, such as --reserved (with SPOT=0), --network=NETWORK
#   PROJECT      Google Cloud project           default: gcloud's own
#   RETRIES      how often a run that fails, with its slices still there, is started again   default: 2
#   EVERY        seconds between looks          default: 60
#
#   ZONE=us-west4-a ACCELERATOR=v5litepod-16 BUCKET=gs://mine bash launch/tpu_pod.sh all --config.data.dataset=gs://mine/speech
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
  echo "error: $*" >&2
  exit 2
}

usage() {
  sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

dry_run=0 SLICES=${SLICES:-1}
while [[ ${1:-} == --* ]]; do
  case $1 in
    --dry-run) dry_run=1 ;;
    --slices=*) SLICES=${1#*=} ;;
    *) fail "unknown option $1" ;;
  esac
  shift
done
(($#)) || usage
command=$1
shift
trainer_args=("$@")
[[ $command =~ ^(create|install|run|logs|delete|all)$ ]] || fail "unknown command $command"

# --- what is asked for ------------------------------------------------------------------------------------------------

NAME=${NAME:-e2etts} CONFIG=${CONFIG:-configs/joint.py:base} SPOT=${SPOT:-1} RETRIES=${RETRIES:-2} EVERY=${EVERY:-60}
[[ -n ${ZONE:-} ]] || fail "set ZONE, where the slices are, such as ZONE=us-west4-a"
where=("--zone=$ZONE")
[[ -z ${PROJECT:-} ]] || where+=("--project=$PROJECT")
[[ $SLICES =~ ^[1-9][0-9]*$ ]] || fail "SLICES=$SLICES is not a number of slices"
[[ $RETRIES =~ ^[0-9]+$ ]] || fail "RETRIES=$RETRIES is not a number"
[[ $EVERY =~ ^[0-9]+$ ]] || fail "EVERY=$EVERY is not a number of seconds"
if [[ $command =~ ^(create|run|all)$ ]]; then
  [[ -n ${ACCELERATOR:-} ]] || fail "set ACCELERATOR, the type of one slice, such as ACCELERATOR=v5litepod-16"
  case ${VERSION:-}/$ACCELERATOR in
    /v5litepod-*) VERSION=v2-alpha-tpuv5-lite ;;
    /v5p-*) VERSION=v2-alpha-tpuv5 ;;
    /v6e-*) VERSION=v2-alpha-tpuv6e ;;
    /v4-*) VERSION=tpu-ubuntu2204-base ;;
    /*) fail "set VERSION, the image of the hosts for ACCELERATOR=$ACCELERATOR" ;;
  esac
  case $SPOT in
    1) capacity=(--spot) ;;
    0) capacity=() ;;
    *) fail "SPOT=$SPOT is neither 0 nor 1" ;;
  esac
  read -r -a more <<<"${CREATE:-}"
  capacity+=(${more[@]+"${more[@]}"})
fi
if [[ $command =~ ^(run|all)$ ]]; then
  [[ ${BUCKET:-} =~ ^gs://. ]] || fail "set BUCKET=gs://bucket, where checkpoints, metrics and compiled programs go"
  WORKDIR=${WORKDIR:-$BUCKET/$NAME}
  MESH=${MESH:-$( ((SLICES > 1)) && echo '(0,-1,1)' || echo '(1,-1,1)')}
fi
nodes=("$NAME") count=("--node-id=$NAME")
if ((SLICES > 1)); then
  nodes=() count=("--node-count=$SLICES" "--node-prefix=$NAME")
  for ((i = 0; i < SLICES; i++)); do nodes+=("$NAME-$i"); done
fi

# --- commands, shown before they run ----------------------------------------------------------------------------------

# The commands of a dry run are its output; otherwise they are said beside the output.
if ((dry_run)); then exec 3>&1; else exec 3>&2; fi

# Words as a shell would read them again, in single quotes where they need any.
quote() {
  local word line='' plain='^[A-Za-z0-9_@%+=:,./-]+$'
  for word in "$@"; do
    [[ $word =~ $plain ]] || word="'$(sed "s/'/'\\\\''/g" <<<"$word")'"
    line+=" $word"
  done
  printf '%s' "${line# }"
}

show() { echo "$(quote "$@")" >&3; }

do_it() {
  show "$@"
  ((dry_run)) || "$@"
}

# Prints what a command prints; the first argument stands for it in a dry run.
ask() {
  local stand_in=$1
  shift
  show "$@"
  if ((dry_run)); then echo "$stand_in"; else "$@"; fi
}

say() { ((dry_run)) || echo "$*" >&2; }
pause() { ((dry_run)) || sleep "$EVERY"; }

resource() { do_it gcloud compute tpus queued-resources "$@" "${where[@]}" --quiet; }

# ACTIVE, WAITING_FOR_RESOURCES, SUSPENDED, ...; NONE = there is no such resource, UNKNOWN = gcloud can't say.
state() {
  local answer
  if answer=$(ask ACTIVE gcloud compute tpus queued-resources describe "$NAME" "${where[@]}" '--format=value(state.state)' 2>&1); then
    grep -xE '[A-Z_]+' <<<"$answer" | tail -n 1 || echo UNKNOWN
  elif [[ $answer == *NOT_FOUND* ]]; then
    echo NONE
  else
    echo "$answer" >&2
    echo UNKNOWN
  fi
}

ssh_to() { # NODE WORKER COMMAND [FLAG ...]
  local node=$1 worker=$2 text=$3
  shift 3
  gcloud_ssh=(gcloud compute tpus tpu-vm ssh "$node" "${where[@]}" "--worker=$worker" "--command=$text" --quiet "$@")
}

# Runs a command on all workers of all slices, at once; fails if it fails on one.
on_all() {
  local node pids=() pid failed=0
  for node in "${nodes[@]}"; do
    ssh_to "$node" all "$1"
    show "${gcloud_ssh[@]}"
    ((dry_run)) && continue
    "${gcloud_ssh[@]}" </dev/null &
    pids+=($!)
  done
  for pid in ${pids[@]+"${pids[@]}"}; do wait "$pid" || failed=1; done
  return "$failed"
}

# --- the subcommands; they say themselves when they fail, for `set -e` does not count inside a condition ----------------

create() {
  local now unknown=0
  now=$(state)
  ((dry_run)) && now=NONE
  while [[ $now != ACTIVE ]]; do
    case $now in
      NONE)
        resource create "$NAME" "--accelerator-type=$ACCELERATOR" "--runtime-version=$VERSION" "${count[@]}" \
          ${capacity[@]+"${capacity[@]}"} || return 1
        ;;
      SUSPENDING | SUSPENDED | FAILED) # its slices were taken away, or never came
        resource delete "$NAME" --force || pause
        pause
        ;;
      UNKNOWN)
        ((++unknown < 5)) || return 1
        pause
        ;;
      *) pause ;;
    esac
    now=$(state)
    say "$NAME is $now"
  done
}

install() {
  local archive=${TMPDIR:-/tmp}/e2etts_jax-$NAME.tar.gz node
  ((dry_run)) || git diff --quiet HEAD || say "warning: changes that are not committed stay here"
  do_it git archive --format=tar.gz "--output=$archive" HEAD || return 1
  for node in "${nodes[@]}"; do
    do_it gcloud compute tpus tpu-vm scp "$archive" "$node:e2etts_jax.tar.gz" "${where[@]}" --worker=all --quiet || return 1
  done
  do_it rm -f "$archive"
  on_all "mkdir -p e2etts_jax && tar -xzf e2etts_jax.tar.gz -C e2etts_jax && bash e2etts_jax/launch/worker.sh install"
}

start() {
  on_all "$(quote env "JAX_COMPILATION_CACHE_DIR=$BUCKET/compiled" bash e2etts_jax/launch/worker.sh start \
    "--config=$CONFIG" "--workdir=$WORKDIR" "--config.mesh.shape=$MESH" ${trainer_args[@]+"${trainer_args[@]}"})"
}

# Prints what `worker.sh state` says on the first worker; "unknown" where it can't be reached. $1 stands for it in a dry run.
worker_state() {
  local answer
  ssh_to "${nodes[0]}" 0 "bash e2etts_jax/launch/worker.sh state"
  answer=$(ask "$1" "${gcloud_ssh[@]}" </dev/null) || answer=unknown
  echo "${answer##*$'\n'}"
}

# Follows the run that is on. 0 = it ended well, 1 = it failed, 2 = it was interrupted.
follow() {
  local code
  while true; do
    pause
    code=$(worker_state 0)
    [[ $code != 0 ]] || return 0
    [[ $code != running ]] || continue
    pause # a slice that goes away says so only after its processes have ended
    [[ $(state) == ACTIVE ]] || return 2
    case $code in
      unknown) say "${nodes[0]} can't be reached now" ;;
      130 | lost | none) return 2 ;; # stopped by a signal after saving; or the host was started anew
      *)
        say "the run ended with code $code"
        return 1
        ;;
    esac
  done
}

# Trains until the run ends.
run() {
  local result failures=0
  trap 'echo "the run and its slices stay; the same command follows it, and \"delete\" gives the slices back" >&2; exit 130' INT
  while true; do
    create || return 1
    result=0
    if [[ $(worker_state none) == running ]] || { install && start; }; then
      follow || result=$?
    elif [[ $(state) == ACTIVE ]]; then
      result=1
    else
      result=2
    fi
    case $result in
      0) return 0 ;;
      1)
        if ((++failures > RETRIES)); then
          echo "error: the run failed $failures times; 'logs' brings its output" >&2
          return 1
        fi
        say "$NAME failed; it starts again from its last checkpoint"
        pause # a host that has just come up may not be reached yet
        ;;
      2) say "$NAME was interrupted; it goes on from its last checkpoint" ;;
    esac
  done
}

logs() {
  local node
  for node in "${nodes[@]}"; do
    do_it mkdir -p "runs/$NAME/$node" || return 1
    ssh_to "$node" all "cat e2etts_jax/train.log" "--output-directory=runs/$NAME/$node"
    do_it "${gcloud_ssh[@]}" </dev/null || return 1
  done
}

case $command in
  delete) resource delete "$NAME" --force ;;
  all)
    code=0
    run || code=$?
    logs || true
    resource delete "$NAME" --force
    exit "$code"
    ;;
  *) "$command" ;;
esac
