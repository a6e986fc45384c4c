#!/usr/bin/env bash
# The study in the small: the same warm-up, the same prompts and the same number of rollouts, with each way to make
# advantages of rewards, under the stock command on verl's real engine, on a CPU.
#
#   bash recipes/ablation_digits/run.sh       three regimes, may be stopped and run again at any time
#
# A run whose result stands in results/REGIME is not run again.
#
#   REGIMES="sparse dense bars"   where the warm-up ends: right on about a fifth, or on about half, of RL's images of
#                      digits; "bars" is the other task (examples/bars), begun at a half. "first" is the first study:
#                      a warm-up of 450 steps on digits that RL shows too, the paper's parts alone
#   SEEDS="1 2"        seeds to run (default 1 2 3 4 5)
#   ARMS="grpo ..."    arms to run (default those of the regime; some have the first 3 seeds)
#   LOOP=1             the same without the engine, in a fraction of its time (loop.py), into results/loop
#   FLAWED=0.25        share of the warm-up's responses with each of two flaws of format
#   WARMUP_SEED=1      seed of the warm-up, which all runs of a regime share
#   RL_STEPS=n, WARMUP_STEPS=n, HELDOUT=n, RESULTS=folder, OUT_ROOT=folder    for another study, or a short run
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
source "$HERE/../../examples/setup_cpu.sh"
source "$ROOT/examples/digits/stages.sh"

RESULTS="${RESULTS:-$HERE/results${LOOP:+/loop}}"
OUT_ROOT="${OUT_ROOT:-$HERE/out}"
WARMUP_SEED="${WARMUP_SEED:-1}"
FLAWED="${FLAWED:-0.25}"
ASKED_STEPS="${WARMUP_STEPS:-}"
ASKED_HELDOUT="${HELDOUT:-}"
ASKED_RL_STEPS="${RL_STEPS:-}"

# What a regime is: where its warm-up ends (nothing: at its last step), the most steps of it, images held out, steps of
# RL, and how often the images held out are judged.
regime() {
    case "$1" in
    sparse) UNTIL=0.2 WARMUP_STEPS=800 HELDOUT=2048 RL_STEPS=32 EVAL_EVERY=8 ;;
    dense) UNTIL=0.5 WARMUP_STEPS=800 HELDOUT=2048 RL_STEPS=16 EVAL_EVERY=4 ;;
    bars) UNTIL=0.5 WARMUP_STEPS=800 HELDOUT=2048 RL_STEPS=16 EVAL_EVERY=4 ;;
    first) UNTIL="" WARMUP_STEPS=450 HELDOUT=512 RL_STEPS=16 EVAL_EVERY=4 ;;
    *)
        echo "There is no regime $1." >&2
        return 1
        ;;
    esac
    WARMUP_STEPS="${ASKED_STEPS:-$WARMUP_STEPS}"
    HELDOUT="${ASKED_HELDOUT:-$HELDOUT}"
    RL_STEPS="${ASKED_RL_STEPS:-$RL_STEPS}"
}

# What an arm adds to the common command.
settings_of() {
    local node=algorithm.stepgrpo answer="algorithm.stepgrpo.alpha=0 algorithm.stepgrpo.rvr_weight=0"
    case "$1" in
    grpo) echo "$answer" ;;
    grpo_whitened) echo "$answer $node.combine=component" ;;
    step_rar) echo $node.rvr_weight=0 ;;
    step_rvr) echo $node.alpha=0 ;;
    stepgrpo) ;;
    component) echo $node.combine=component ;;
    answer_first) echo $node.combine=answer_first ;;
    value) echo "$answer $node.credit=value" ;;
    value_gains) echo "$answer $node.credit=value $node.value_lambda=0" ;;
    answer_first_gated) echo $node.combine=answer_first $node.outcome_gate=0 ;;
    validity_gated) echo $node.alpha=0 $node.combine=answer_first $node.outcome_gate=0 ;;
    answer_first_step_gated) echo $node.combine=answer_first $node.credit=step $node.outcome_gate=0 ;;
    answer_first_step) echo $node.combine=answer_first $node.credit=step ;;
    answer_first_value) echo $node.combine=answer_first $node.credit=value ;;
    step_credit) echo $node.credit=step ;;
    step_credit_gate) echo $node.credit=step $node.outcome_gate=0.5 ;;
    *)
        echo "There is no arm $1." >&2
        return 1
        ;;
    esac
}

# arms_of REGIME SEED: those that the hypotheses are about have all seeds, the others three.
arms_of() {
    local always="grpo answer_first_step grpo_whitened answer_first answer_first_gated answer_first_step_gated value"
    local some="stepgrpo answer_first_value step_rar component"
    case "$1" in
    first) always="grpo stepgrpo step_rar step_rvr" some="step_credit step_credit_gate" ;;
    sparse) always="$always validity_gated" some="$some value_gains" ;;
    bars) always="" some="grpo stepgrpo answer_first_step_gated" ;;
    esac
    echo "${ARMS:-$always $([ "$2" -gt 3 ] || echo "$some")}"
}

# One warm-up, which all runs of a regime begin with. Seeds differ in the order of the prompts and in what is sampled.
prepare() {
    local SEED="$WARMUP_SEED" apart=()
    OUT="$OUT_ROOT/$REGIME/warm-up"
    mkdir -p "$OUT/logs"
    local rows=(--out "$OUT/data" --seed "$SEED" --flawed "$FLAWED" --sft $((32 * WARMUP_STEPS)) --heldout "$HELDOUT")
    if [ "$REGIME" = bars ]; then
        stage data 300 "$PYTHON_BIN" "$ROOT/examples/bars/build_bars.py" "${rows[@]}" --model "$OUT/model"
    else
        [ -z "$UNTIL" ] || apart=(--apart)
        stage data 300 "$PYTHON_BIN" "$DIGITS/build_data.py" --digits 3 "${rows[@]}" "${apart[@]}"
        stage model 300 "$PYTHON_BIN" "$DIGITS/build_model.py" --out "$OUT/model" --seed "$SEED" --digits 3
    fi
    if [ -n "$UNTIL" ]; then
        warm_up "$DIGITS/warm_up.py" trainer.save_freq=10 trainer.max_ckpt_to_keep=2 \
            +until.accuracy="$UNTIL" +until.images="$OUT/data/train.parquet"
    else
        warm_up
    fi
    WARMED_UP="$OUT/warmup/global_step_$(cat "$OUT/warmup/latest_checkpointed_iteration.txt")"
}

run_arm() {
    local arm="$1" warm="$OUT" began=$SECONDS overrides
    overrides="$(settings_of "$arm")"
    OUT="$OUT_ROOT/$REGIME/seed-$SEED/$arm"
    mkdir -p "$OUT/logs"
    if [ -n "${LOOP:-}" ]; then
        local judge_first=()
        [ "$arm" != grpo ] || judge_first=(--judge-first)
        PYTHONPATH="$DIGITS:${PYTHONPATH:-}" "$PYTHON_BIN" "$HERE/loop.py" --checkpoint "$WARMED_UP" \
            --data "$warm/data" --arm "$arm" --seed "$SEED" --overrides "$overrides" --steps "$RL_STEPS" \
            --every "$EVAL_EVERY" "${judge_first[@]}" --responses "$OUT/responses" \
            --out "$RESULTS/$REGIME/$arm-seed-$SEED.json"
        return
    fi
    # Held-out responses are sampled, as in training: by greedy decoding all images share one format, right or wrong.
    # Only the first arm judges the warmed-up model, once a seed. No arm writes a checkpoint.
    stage rl 4800 "$PYTHON_BIN" -m verl.trainer.main_ppo +stepgrpo=digits_cpu \
        data.train_files="$warm/data/train.parquet" data.val_files="$warm/data/heldout.parquet" data.seed="$SEED" \
        actor_rollout_ref.model.path="$WARMED_UP/huggingface" \
        actor_rollout_ref.rollout.seed="$SEED" actor_rollout_ref.actor.data_loader_seed="$SEED" \
        data.max_response_length=160 actor_rollout_ref.rollout.val_kwargs.do_sample=True \
        actor_rollout_ref.rollout.val_kwargs.temperature=1.0 algorithm.stepgrpo.trace_dir="$OUT/trace" $overrides \
        trainer.val_before_train="$([ "$arm" = grpo ] && echo True || echo False)" \
        trainer.total_training_steps="$RL_STEPS" trainer.test_freq="$EVAL_EVERY" trainer.save_freq=-1 \
        trainer.project_name=ablation_digits trainer.experiment_name="$arm" trainer.default_local_dir="$OUT/rl"
    PYTHONPATH="$DIGITS:${PYTHONPATH:-}" "$PYTHON_BIN" "$HERE/summarise.py" --trace "$OUT/trace" \
        --warm-up "$WARMED_UP" --arm "$arm" --seed "$SEED" \
        --overrides "$overrides" --seconds $((SECONDS - began)) --out "$RESULTS/$REGIME/$arm-seed-$SEED.json"
}

for SEED in ${SEEDS:-1 2 3 4 5}; do
    for REGIME in ${REGIMES:-sparse dense bars}; do
        regime "$REGIME"
        mkdir -p "$RESULTS/$REGIME"
        for arm in $(arms_of "$REGIME" "$SEED"); do
            if [ -e "$RESULTS/$REGIME/$arm-seed-$SEED.json" ]; then
                echo "$REGIME, seed $SEED, $arm: done before"
                continue
            fi
            echo "$REGIME, seed $SEED, $arm"
            prepare
            run_arm "$arm"
        done
    done
done
for REGIME in ${REGIMES:-sparse dense bars}; do
    "$PYTHON_BIN" "$HERE/analyse.py" "$RESULTS/$REGIME"
done
