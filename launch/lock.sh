#!/usr/bin/env bash
# Renews requirements.lock (to prepare data, train and evaluate) and requirements-dev.lock (the same versions plus the test tools) from
# pyproject.toml: one file for Python 3.11 to 3.13. Needs uv. `bash launch/lock.sh --upgrade` takes the newest versions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

compile() {
  uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --group build --custom-compile-command "bash launch/lock.sh" "$@"
}
compile --extra data --extra eval --extra vocoder --extra dev -o requirements-dev.lock "$@"
compile --extra data --extra eval --extra vocoder --constraint requirements-dev.lock -o requirements.lock "$@"
# the TPU compiler that the locked jax wants, alone: launch/env.sh, make_libtpu
echo "jax[tpu]" | uv pip compile - --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
  --no-emit-index-url --no-emit-find-links --constraint requirements-dev.lock | awk '/^[a-z]/ {keep = /^libtpu==/} keep' >requirements-aot.lock
if grep -n "://" requirements.lock requirements-dev.lock requirements-aot.lock; then
  echo "lock.sh: the lines above name a host; a lock must install from whatever index the user has" >&2
  exit 1
fi
