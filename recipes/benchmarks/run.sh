#!/usr/bin/env bash
# Evaluates a served model on the paper's eight benchmarks with lmms-eval, in the StepGRPO format.
#
#   vllm serve out/r1vl_qwen2vl_2b/rl/model --port 8000 &
#   bash recipes/benchmarks/run.sh out/r1vl_qwen2vl_2b/rl/model
#
#   BASE_URL=http://localhost:8000/v1    the server
#   TASKS=stepgrpo_chartqa,...           some of them
#   OUT=folder                           results (default MODEL/benchmarks); further arguments go to lmms-eval
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
MODEL="${1:?the name under which the server has the model}"
shift
ALL="$(cd "$HERE/tasks" && ls stepgrpo_*.yaml | sed 's/.yaml//' | paste -sd,)"
OUT="${OUT:-$MODEL/benchmarks}"
PYTHON="${VENV:-$HERE/.venv}/bin/python"
BEGUN="$(mktemp)"
trap 'rm -f "$BEGUN"' EXIT
[ -x "$PYTHON" ] || { echo "There is no $PYTHON. Run recipes/benchmarks/setup.sh first." >&2; exit 1; }
# The harness's own tasks want a key when they are loaded, whether they ask a judge or not.
export OPENAI_API_KEY="${OPENAI_API_KEY:-none}"
"$PYTHON" -m lmms_eval --model openai \
    --model_args "base_url=${BASE_URL:-http://localhost:8000/v1},api_key=${API_KEY:-none},model_version=$MODEL" \
    --include_path "$HERE/tasks" --tasks "${TASKS:-$ALL}" --output_path "$OUT" --log_samples "$@"
# It ends with status 0 when it failed, too.
find "$OUT" -name '*_results.json' -newer "$BEGUN" 2>/dev/null | grep -q . || { echo "lmms-eval left no results in $OUT; its error stands above." >&2; exit 1; }
"$PYTHON" "$HERE/table.py" "$OUT"
