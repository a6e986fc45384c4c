#!/usr/bin/env bash
# Does StepGRPO run on this GPU? The digits task with its tiny model: warm-up, 5 steps of RL, merge, and a check of what
# they left. One GPU, about six minutes; downloads nothing. Needs verl with vLLM, and this package with its extra
# "examples", in the environment that is active.
#
#   bash recipes/gpu_smoke/run.sh
#
#   OUT=folder    where results go (default recipes/gpu_smoke/out)
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
PYTHON_BIN="${PYTHON_BIN:-python}"
SEED=1
WARMUP_STEPS=200
RL_STEPS=5
OUT="${OUT:-$HERE/out}"
source "$HERE/../../examples/digits/stages.sh"
STARTED=$SECONDS
mkdir -p "$OUT/logs"

stage data 120 "$PYTHON_BIN" "$DIGITS/build_data.py" --out "$OUT/data" --seed "$SEED" \
    --sft $((32 * WARMUP_STEPS)) --heldout 128
stage model 120 "$PYTHON_BIN" "$DIGITS/build_model.py" --out "$OUT/model" --seed "$SEED"
warm_up
stage rl 600 "$PYTHON_BIN" -m verl.trainer.main_ppo "+stepgrpo=[paper,gpus,digits]" \
    data.train_files="$OUT/data/train.parquet" data.val_files="$OUT/data/heldout.parquet" data.seed="$SEED" \
    actor_rollout_ref.model.path="$OUT/warmup/global_step_$WARMUP_STEPS/huggingface" \
    actor_rollout_ref.rollout.gpu_memory_utilization=0.3 \
    algorithm.stepgrpo.credit=step algorithm.stepgrpo.trace_dir="$OUT/trace" \
    trainer.n_gpus_per_node=1 "trainer.logger=[console]" trainer.default_local_dir="$OUT/rl" \
    trainer.total_training_steps="$RL_STEPS" trainer.save_freq="$RL_STEPS" trainer.test_freq="$RL_STEPS"
stage merge 300 "$PYTHON_BIN" -m verl.model_merger merge --backend fsdp \
    --local_dir "$OUT/rl/global_step_$RL_STEPS/actor" --target_dir "$OUT/model-rl"

"$PYTHON_BIN" "$HERE/check.py" --out "$OUT" --rl-steps "$RL_STEPS" --seconds $((SECONDS - STARTED))
