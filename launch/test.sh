#!/usr/bin/env bash
# Every check: lint, format, types, tests. Makes its own environment in .venv on the first run. Arguments go to pytest.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
source launch/env.sh
make_env requirements-dev.lock || exit 1
make_libtpu || exit 1

# Two pytest workers on two cores: the numeric libraries must not start a thread per core in each.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMBA_NUM_THREADS=1
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}

failed=()
ruff check . || failed+=("ruff check")
ruff format --check . || failed+=("ruff format")
python -m mypy || failed+=("mypy")
python -m pytest -n 2 --dist loadfile --durations=10 "$@" </dev/null || failed+=("pytest")
if ((${#failed[@]})); then
  printf 'FAILED: %s\n' "${failed[@]}"
  exit 1
fi
