#!/usr/bin/env bash
# Train the digits task on mined key steps, run by run as the study without the engine trains on given ones: the same
# warmed-up model, prompts, seeds and settings (answer first, credit by step). Nothing but the key steps differs.
#
#   LOOP=1 REGIMES=dense SEEDS="2 3 4" ARMS="grpo answer_first_step" bash recipes/ablation_digits/run.sh
#   bash recipes/own_answers/mined_or_given.sh
#
# The first makes the warm-up and what is compared with; its results stand in recipes/ablation_digits/results/loop/dense.
#
#   SEEDS="2 3 4"      runs
#   SAMPLES=n          responses to each question that are sampled (default 16)
#   STUDY=folder       the study's warm-up (default recipes/ablation_digits/out/dense/warm-up)
#   OUT=folder, RESULTS=folder    where the rest and the results go (default recipes/own_answers/out/seeds and results)
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$HERE/../../examples/setup_cpu.sh"
source "$ROOT/examples/digits/stages.sh"

SEEDS="${SEEDS:-2 3 4}"
SAMPLES="${SAMPLES:-16}"
STUDY="${STUDY:-$ROOT/recipes/ablation_digits/out/dense/warm-up}"
OUT="${OUT:-$HERE/out/seeds}"
RESULTS="${RESULTS:-$HERE/results}"
CHECKPOINT="$STUDY/warmup/global_step_$(cat "$STUDY/warmup/latest_checkpointed_iteration.txt")"
RL_STEPS=16 PROMPTS_A_STEP=32
mkdir -p "$OUT/logs" "$OUT/data" "$RESULTS"
export PYTHONPATH="$DIGITS:$ROOT/recipes/ablation_digits:${PYTHONPATH:-}" OMP_NUM_THREADS=1

stage without 300 "$PYTHON_BIN" "$HERE/without.py" --rows "$STUDY/data/train.parquet" --out "$OUT/questions.parquet" \
    --given "$OUT/given.json"
stage sample 7200 "$PYTHON_BIN" "$HERE/sample.py" --checkpoint "$CHECKPOINT/huggingface" --rows "$OUT/questions.parquet" \
    --samples "$SAMPLES" --runs $SEEDS --shown $((RL_STEPS * PROMPTS_A_STEP)) --out "$OUT/sampled"
stage mine 1200 "$PYTHON_BIN" -m verl_stepgrpo key-steps "$OUT/questions.parquet" --from "$OUT/sampled" \
    --out "$OUT/data/train.parquet"
# Judged by the given key steps, whatever was trained on.
ln -sf "$STUDY/data/heldout.parquet" "$OUT/data/heldout.parquet"
for seed in $SEEDS; do
    stage "rl_$seed" 7200 "$PYTHON_BIN" "$ROOT/recipes/ablation_digits/loop.py" --checkpoint "$CHECKPOINT" \
        --data "$OUT/data" --arm mined --seed "$seed" --steps "$RL_STEPS" --every 16 \
        --overrides "algorithm.stepgrpo.combine=answer_first algorithm.stepgrpo.credit=step" \
        --responses "$OUT/responses-$seed" --out "$RESULTS/mined-seed-$seed.json"
done
"$PYTHON_BIN" "$HERE/seeds.py" --agreement "$OUT/data/train.parquet" "$OUT/given.json"
