#!/usr/bin/env bash
# What a host of a TPU pod does, in the checkout that tpu_pod.sh put there.
#   worker.sh install         Python 3.12 and the locked packages into .venv, with TPU support
#   worker.sh start ARGS...   e2etts_jax.main with ARGS in the background, instead of one that is still there: its output goes
#                             to train.log, its exit code to train.exit
#   worker.sh state           prints the exit code, "running", "lost" (it is gone without a code) or "none"
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/env.sh
export PATH=$HOME/.local/bin:$PATH

alive() { [[ -f train.pid ]] && kill -0 "$(cat train.pid)" 2>/dev/null; }

case ${1:-} in
  install)
    uv --version >/dev/null 2>&1 || python3 -m pip install --quiet --user "uv==$UV_VERSION"
    [[ -x .venv/bin/python ]] || uv venv --quiet --seed --python 3.12 .venv # the image's own Python is too old
    make_env requirements.lock
    # libtpu of the locked jax; buckets
    uv pip install --quiet "jax[tpu]==$(python -c 'import importlib.metadata as m; print(m.version("jax"))')" gcsfs
    ;;
  start)
    shift
    if alive; then # it would keep the chips
      kill -TERM "$(cat train.pid)"
      for ((i = 0; i < 120; i++)); do
        alive || break
        sleep 1
      done
      ! alive || kill -KILL "$(cat train.pid)"
    fi
    rm -f train.exit train.pid
    # E2ETTS_PROCESSES=auto: JAX asks the pod's metadata who the others are
    export E2ETTS_PROCESSES=auto
    # shellcheck disable=SC2016 # the inner shell expands these
    setsid nohup bash -c '.venv/bin/python -u -m e2etts_jax.main "$@" & echo $! >train.pid; wait $!; echo $? >train.exit' \
      train "$@" >>train.log 2>&1 </dev/null &
    for ((i = 0; i < 100; i++)); do
      [[ ! -s train.pid ]] || break
      sleep 0.1
    done
    ;;
  state)
    # a process that has just ended: its code comes a moment later
    [[ -f train.exit ]] || alive || sleep 1
    if [[ -s train.exit ]]; then
      cat train.exit
    elif alive; then
      echo running
    elif [[ -f train.log ]]; then
      echo lost
    else
      echo none
    fi
    ;;
  *)
    sed -n '2,/^set -/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
