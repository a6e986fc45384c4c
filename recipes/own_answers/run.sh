#!/usr/bin/env bash
# From questions with short answers alone to a trained model, on this machine's CPU: key steps are mined from the model's
# own right responses, and StepGRPO trains in <think> and \boxed{} with a part of one's own.
#
#   bash recipes/own_answers/run.sh
#
#   SEED=n             seed of the data, the model and the runs (default 1)
#   QUESTIONS=n        questions, of which two fifths are for validation (default 640)
#   SAMPLES=n          responses to each that are sampled (default 16)
#   RL_STEPS=n         steps of reinforcement learning (default 12)
#   KEY_STEPS=mined    or "given": train with the key steps of the digits example, to compare with
#   WARMUP_ACCURACY=x, WARMUP_STEPS=n    where the warm-up ends (default 0.5), and its most steps (default 400)
#   OUT=folder         where results go (default recipes/own_answers/out/seed-<SEED>)
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$HERE/../../examples/setup_cpu.sh"
source "$ROOT/examples/digits/stages.sh"

SEED="${SEED:-1}"
QUESTIONS="${QUESTIONS:-640}"
SAMPLES="${SAMPLES:-16}"
RL_STEPS="${RL_STEPS:-12}"
KEY_STEPS="${KEY_STEPS:-mined}"
WARMUP_ACCURACY="${WARMUP_ACCURACY:-0.5}"
WARMUP_STEPS="${WARMUP_STEPS:-400}"
OUT="${OUT:-$HERE/out/seed-$SEED}"
mkdir -p "$OUT/logs"
stepgrpo() { "$PYTHON_BIN" -m verl_stepgrpo "$@"; }

# What a user has: a model that answers in <think> and \boxed{}, and questions with short answers.
stage data 300 "$PYTHON_BIN" "$HERE/build_questions.py" --out "$OUT/data" --seed "$SEED" \
    --questions "$QUESTIONS" --sft $((32 * WARMUP_STEPS))
[ -e "$OUT/model" ] || ln -s data/model "$OUT/model"

# verl's parquet. The problems ask for the format themselves, so that nothing is put behind them.
stage prepare 300 "$PYTHON_BIN" -m verl_stepgrpo prepare "$OUT/data/questions.parquet" --format think --val-share 0.4 \
    --out "$OUT/prepared"

warm_up "$ROOT/examples/digits/warm_up.py" trainer.save_freq=10 trainer.max_ckpt_to_keep=2 \
    +until.accuracy="$WARMUP_ACCURACY" +until.images="$OUT/prepared/rl-train.parquet" +until.format=think
WARMED_UP="$OUT/warmup/global_step_$(cat "$OUT/warmup/latest_checkpointed_iteration.txt")/huggingface"

# Key steps from the model's own responses. vLLM's CPU build cannot take a seeded sampler back in the middle of a prompt, so
# that prompts are not cut.
stage sample 1200 "$PYTHON_BIN" -m verl_stepgrpo eval "$OUT/prepared/rl-train.parquet" --model "$WARMED_UP" \
    --samples "$SAMPLES" --set format=think --max-tokens 96 --out "$OUT/sampled" \
    --vllm-args "--dtype float32 --enforce-eager --max-model-len 256 --no-enable-chunked-prefill --gpu-memory-utilization 0.1"
stage mine 300 "$PYTHON_BIN" -m verl_stepgrpo key-steps "$OUT/prepared/rl-train.parquet" --from "$OUT/sampled" \
    --out "$OUT/mined.parquet"
TRAIN="$OUT/mined.parquet"
if [ "$KEY_STEPS" = given ]; then
    stage given 300 "$PYTHON_BIN" "$HERE/given.py" --data "$OUT/data" --rows "$OUT/prepared/rl-train.parquet" \
        --out "$OUT/given.parquet"
    TRAIN="$OUT/given.parquet"
fi

stage "rl_$KEY_STEPS" 2400 "$PYTHON_BIN" -m verl.trainer.main_ppo +stepgrpo=digits_cpu algorithm.stepgrpo.format=think \
    reward.custom_reward_function.path="$HERE/brief.py" 'algorithm.stepgrpo.extra_weights={brief:0.1}' \
    +reward.custom_reward_function.reward_kwargs.per=100 \
    data.train_files="$TRAIN" data.val_files="$OUT/prepared/rl-val.parquet" data.seed="$SEED" \
    data.max_prompt_length=96 actor_rollout_ref.model.path="$WARMED_UP" \
    actor_rollout_ref.rollout.seed="$SEED" actor_rollout_ref.actor.data_loader_seed="$SEED" \
    algorithm.stepgrpo.trace_dir="$OUT/$KEY_STEPS/trace" trainer.total_training_steps="$RL_STEPS" \
    trainer.test_freq="$RL_STEPS" trainer.save_freq=-1 trainer.project_name=own_answers \
    trainer.experiment_name="$KEY_STEPS" trainer.default_local_dir="$OUT/$KEY_STEPS/rl"

stepgrpo report "$OUT/$KEY_STEPS/trace" --data "$TRAIN" --val-data "$OUT/prepared/rl-val.parquet" \
    --out "$OUT/$KEY_STEPS/report.html"
"$PYTHON_BIN" "$HERE/compare.py" --data "$OUT/data" --mined "$OUT/mined.parquet" \
    --trace "$OUT/$KEY_STEPS/trace" --out "$OUT/$KEY_STEPS/results.json"
