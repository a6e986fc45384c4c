#!/usr/bin/env bash
# The ablation in the small: the same warm-up and the same number of rollouts, with and without each part of StepGRPO,
# under the stock command on verl's real engine, on a CPU.
#
#   bash recipes/ablation_digits/run.sh       about 4 hours on 2 cores; may be stopped and run again at any time
#
# A run whose result stands in results/ is not run again.
#
#   SEEDS="1 2"        seeds to run (default 1 2 3 4 5)
#   ARMS="grpo ..."    arms to run (default all; the last two have the first 3 seeds)
#   FLAWED=0.25        share of the warm-up's responses with each of two flaws of format
#   WARMUP_SEED=1      seed of the warm-up, which all runs share
#   RL_STEPS=n, WARMUP_STEPS=n, HELDOUT=n, RESULTS=folder, OUT_ROOT=folder    for another study, or a short run
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$HERE/../../examples/setup_cpu.sh"
source "$ROOT/examples/digits/stages.sh"

RL_STEPS="${RL_STEPS:-16}"
WARMUP_STEPS="${WARMUP_STEPS:-450}"
HELDOUT="${HELDOUT:-512}"
RESULTS="${RESULTS:-$HERE/results}"
OUT_ROOT="${OUT_ROOT:-$HERE/out}"
EVAL_EVERY=4
WARMUP_SEED="${WARMUP_SEED:-1}"
FLAWED="${FLAWED:-0.25}"
mkdir -p "$RESULTS"

# What an arm adds to the common command.
settings_of() {
    case "$1" in
    grpo) echo algorithm.stepgrpo.alpha=0 algorithm.stepgrpo.rvr_weight=0 ;;
    step_rar) echo algorithm.stepgrpo.rvr_weight=0 ;;
    step_rvr) echo algorithm.stepgrpo.alpha=0 ;;
    stepgrpo) ;;
    step_credit) echo algorithm.stepgrpo.credit=step ;;
    step_credit_gate) echo algorithm.stepgrpo.credit=step algorithm.stepgrpo.outcome_gate=0.5 ;;
    *)
        echo "There is no arm $1." >&2
        return 1
        ;;
    esac
}

arms_of_seed() {
    echo "${ARMS:-grpo stepgrpo step_rar step_rvr $([ "$1" -gt 3 ] || echo step_credit step_credit_gate)}"
}

# One warm-up, which all runs begin with. Seeds differ in the order of the prompts and in what is sampled.
prepare() {
    local SEED="$WARMUP_SEED"
    OUT="$OUT_ROOT/warm-up"
    mkdir -p "$OUT/logs"
    stage data 300 "$PYTHON_BIN" "$DIGITS/build_data.py" --out "$OUT/data" --seed "$SEED" --digits 3 \
        --flawed "$FLAWED" --sft $((32 * WARMUP_STEPS)) --heldout "$HELDOUT"
    stage model 300 "$PYTHON_BIN" "$DIGITS/build_model.py" --out "$OUT/model" --seed "$SEED" --digits 3
    warm_up
}

run_arm() {
    local arm="$1" warm="$OUT" began=$SECONDS overrides
    overrides="$(settings_of "$arm")"
    OUT="$OUT_ROOT/seed-$SEED/$arm"
    mkdir -p "$OUT/logs"
    # Held-out responses are sampled, as in training: by greedy decoding all images share one format, right or wrong.
    # Only the first arm judges the warmed-up model, once a seed. No arm writes a checkpoint.
    stage rl 1500 "$PYTHON_BIN" -m verl.trainer.main_ppo +stepgrpo=digits_cpu \
        data.train_files="$warm/data/train.parquet" data.val_files="$warm/data/heldout.parquet" data.seed="$SEED" \
        actor_rollout_ref.model.path="$warm/warmup/global_step_$WARMUP_STEPS/huggingface" \
        actor_rollout_ref.rollout.seed="$SEED" actor_rollout_ref.actor.data_loader_seed="$SEED" \
        data.max_response_length=160 actor_rollout_ref.rollout.val_kwargs.do_sample=True \
        actor_rollout_ref.rollout.val_kwargs.temperature=1.0 algorithm.stepgrpo.trace_dir="$OUT/trace" $overrides \
        trainer.val_before_train="$([ "$arm" = grpo ] && echo True || echo False)" \
        trainer.total_training_steps="$RL_STEPS" trainer.test_freq="$EVAL_EVERY" trainer.save_freq=-1 \
        trainer.project_name=ablation_digits trainer.experiment_name="$arm" trainer.default_local_dir="$OUT/rl"
    PYTHONPATH="$DIGITS:${PYTHONPATH:-}" "$PYTHON_BIN" "$HERE/summarise.py" --trace "$OUT/trace" \
        --warm-up "$warm/warmup/global_step_$WARMUP_STEPS" --arm "$arm" --seed "$SEED" \
        --overrides "$overrides" --seconds $((SECONDS - began)) --out "$RESULTS/$arm-seed-$SEED.json"
}

for SEED in ${SEEDS:-1 2 3 4 5}; do
    for arm in $(arms_of_seed "$SEED"); do
        if [ -e "$RESULTS/$arm-seed-$SEED.json" ]; then
            echo "seed $SEED, $arm: done before"
            continue
        fi
        echo "seed $SEED, $arm"
        prepare
        run_arm "$arm"
    done
done
"$PYTHON_BIN" "$HERE/analyse.py" "$RESULTS"
