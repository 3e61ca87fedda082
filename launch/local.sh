#!/usr/bin/env bash
# The whole path on this machine: environment, training of all stages, evaluation, report. Run it again to go on where it
# stopped. WORKDIR=runs/mine bash launch/local.sh [--config.key=value ...]   (the arguments go to e2etts_jax.main)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/env.sh
make_env requirements.lock || exit 1

workdir=${WORKDIR:-runs/joint_tiny}

# Prints the wall time and the largest memory that any of the commands took, also when one of them fails.
report_cost() {
  local peak_kb
  peak_kb=$(sort -n "$peaks" | tail -n 1)
  printf 'Total time %d min %d s (installation included), peak memory %d MB\n' $((SECONDS / 60)) $((SECONDS % 60)) $((${peak_kb:-0} / 1024))
  rm -f "$peaks"
}
peaks=$(mktemp)
trap report_cost EXIT

# Runs a Python module and notes the peak resident size of its largest process (KiB from Linux, bytes from macOS).
run_module() {
  python - "$peaks" "$@" <<'PY'
import resource, subprocess, sys

peaks, *command = sys.argv[1:]
code = subprocess.call([sys.executable, "-m", *command], stdin=subprocess.DEVNULL)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
with open(peaks, "a") as f:
    print(peak // 1024 if sys.platform == "darwin" else peak, file=f)
sys.exit(code)
PY
}

run_module e2etts_jax.main --config=configs/joint.py --workdir="$workdir" "$@"
run_module e2etts_jax.evaluate --workdir="$workdir"

cat <<EOT

Listen:             open $workdir/report/report.html in a browser
Your own sentence:  .venv/bin/python -m e2etts_jax.synthesize --workdir=$workdir --text="received at seven twenty five p m" --out=mine.wav
Continue:           run the same command again; it goes on from the last checkpoint
EOT
