# Sourced by the other scripts: `make_env LOCKFILE` makes .venv in the checkout from that lock, and puts it first on PATH.
# A .venv whose lock has not changed since is used as it is.

UV_VERSION=0.13.9

# glibc 2.35 or newer on Linux: large arrays in large pages. XLA's CPU programs ask for fresh memory every step, and the kernel clears it
# page by page: 2.6 million page faults in 15 steps of the tuning stage became 0.1 million, and a step took 0.78 s instead of 1.01 s.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}

# Prints the first Python 3.11-3.13 that really starts and can make environments (a version manager's shim may not).
# 3.12 and 3.13 come first, pyenv's inactive ones too: they get a newer JAX, whose bf16 is three times faster on AMX CPUs.
find_python() {
  local name
  for name in python3.12 python3.13 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[23].*/bin/python python3.11 python3 python; do
    if "$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then
      command -v "$name"
      return
    fi
  done
  echo "No usable Python 3.11, 3.12 or 3.13 on PATH. Install one with its venv module" \
    "(Debian and Ubuntu: apt-get install python3 python3-venv) and run this again." >&2
  return 1
}

make_env() {
  local lock=$1 python stamp hash
  stamp=.venv/installed-$lock
  hash=$(cat "$lock" pyproject.toml | cksum)
  if ! .venv/bin/python -c '' >/dev/null 2>&1; then
    python=$(find_python) || return 1
    echo "Making .venv with $("$python" --version) ($python)"
    "$python" -m venv --clear .venv || return 1
  fi
  export VIRTUAL_ENV=$PWD/.venv PATH=$PWD/.venv/bin:$PATH
  if [[ -f $stamp && $(cat "$stamp") == "$hash" ]]; then
    return
  fi
  echo "Installing $lock (about 2 GB on disk)"
  if ! uv --version >/dev/null 2>&1; then
    python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" || { install_failed; return 1; }
  fi
  # The lock also pins what the few dependencies without a wheel are built with.
  uv pip install --quiet --require-hashes --build-constraints "$lock" -r "$lock" &&
    uv pip install --quiet --no-deps --no-build-isolation --editable . || { install_failed; return 1; }
  echo "$hash" >"$stamp"
}

# The TPU compiler, for tests/aot: beside the environment, because with it inside JAX looks for TPUs at every start.
make_libtpu() {
  local hash
  [[ $(uname -sm) == "Linux x86_64" ]] || return 0
  hash=$(cksum <requirements-aot.lock)
  if [[ ! -f .venv/libtpu/installed || $(cat .venv/libtpu/installed) != "$hash" ]]; then
    uv pip install --quiet --no-deps --require-hashes --target .venv/libtpu -r requirements-aot.lock || { install_failed; return 1; }
    echo "$hash" >.venv/libtpu/installed
  fi
}

install_failed() {
  echo "The installation failed: the message above says why. It needs a package index (pip's and uv's own settings name one)" \
    "and about 2 GB of disk. What was already installed stays in .venv; run this again to go on." >&2
}
