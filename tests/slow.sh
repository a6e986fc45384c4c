#!/usr/bin/env bash
# The second tier, run by hand: the full main job on three seeds. Resumes; a seed whose result is committed
# in examples/digits/results/ is not run again (FRESH=1 runs all anew).
#
#   bash tests/slow.sh                about 45 minutes on 2 cores
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
RESULTS="$ROOT/examples/digits/results"
mkdir -p "$RESULTS"
for seed in 1 2 3; do
    if [ -e "$RESULTS/seed-$seed.json" ] && [ "${FRESH:-0}" != 1 ]; then
        echo "seed $seed: done before"
        continue
    fi
    SEED=$seed bash "$ROOT/examples/digits/run.sh"
    cp "$ROOT/examples/digits/out/seed-$seed/results.json" "$RESULTS/seed-$seed.json"
done
"$ROOT/.venv/bin/python" "$ROOT/examples/digits/check_results.py" "$RESULTS"
