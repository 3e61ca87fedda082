#!/usr/bin/env bash
# From a fresh clone to a report about recordings: environment, then `evaluate` with these arguments.
# bash launch/judge.sh --list=meta.lst --wavs=A=out/a --wavs=B=out/b [--out=report]   (paths are from where you are)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/launch/env.sh"
from=$PWD
cd "$root"
make_env requirements.lock || exit 1
cd "$from"
exec python -m e2etts_jax.evaluate "$@"
