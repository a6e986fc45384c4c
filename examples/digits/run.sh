#!/usr/bin/env bash
# The main job: StepGRPO on verl's real engine, on this machine's CPU, from nothing to a trained model.
#
#   bash examples/digits/run.sh          about 15 minutes on 2 cores, set-up included
#
#   SEED=n        seed of the model, the data and the runs (default 1)
#   FRESH=1       start over; otherwise a stage that is done is not done again
#   RL_STEPS=n    steps of reinforcement learning (default 12)
#   WARMUP_ACCURACY=x   where the warm-up ends: the share of 256 images of RL's own that it is right on (default 0.5)
#   WARMUP_STEPS=n      most steps of the warm-up (default 400)
#   HELDOUT=n           held-out images (default 1024)
#   OUT=folder    where results go (default examples/digits/out/seed-<SEED>)
set -euo pipefail

HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
STARTED=$SECONDS
source "$HERE/../setup_cpu.sh"
source "$HERE/stages.sh"

SEED="${SEED:-1}"
RL_STEPS="${RL_STEPS:-12}"
WARMUP_ACCURACY="${WARMUP_ACCURACY:-0.5}"
WARMUP_STEPS="${WARMUP_STEPS:-400}"
HELDOUT="${HELDOUT:-1024}"
OUT="${OUT:-$HERE/out/seed-$SEED}"
[ "${FRESH:-0}" = 1 ] && rm -rf "$OUT"
mkdir -p "$OUT/logs"
SETTINGS="RL_STEPS=$RL_STEPS WARMUP_ACCURACY=$WARMUP_ACCURACY WARMUP_STEPS=$WARMUP_STEPS HELDOUT=$HELDOUT"
if [ -e "$OUT/.settings" ] && [ "$(cat "$OUT/.settings")" != "$SETTINGS" ]; then
    echo "$OUT holds a run with $(cat "$OUT/.settings"), not $SETTINGS. Start over with FRESH=1, or set OUT." >&2
    exit 1
fi
echo "$SETTINGS" >"$OUT/.settings"
echo "Results go to $OUT, logs to $OUT/logs"

stage data 300 "$PYTHON_BIN" "$HERE/build_data.py" --out "$OUT/data" --seed "$SEED" \
    --apart --sft $((32 * WARMUP_STEPS)) --heldout "$HELDOUT"

stage model 300 "$PYTHON_BIN" "$HERE/build_model.py" --out "$OUT/model" --seed "$SEED"

# Every 10 steps the warm-up is asked what RL will be asked first, and it ends where it is right on enough.
warm_up "$HERE/warm_up.py" trainer.save_freq=10 trainer.max_ckpt_to_keep=2 \
    +until.accuracy="$WARMUP_ACCURACY" +until.images="$OUT/data/train.parquet"
WARMED_UP="$OUT/warmup/global_step_$(cat "$OUT/warmup/latest_checkpointed_iteration.txt")"

# StepGRPO under the stock command. The held-out images are judged before the first and after the last step.
export TENSORBOARD_DIR="$OUT/tensorboard"
stage rl 2400 "$PYTHON_BIN" -m verl.trainer.main_ppo +stepgrpo=digits_cpu \
    data.train_files="$OUT/data/train.parquet" data.val_files="$OUT/data/heldout.parquet" data.seed="$SEED" \
    actor_rollout_ref.model.path="$WARMED_UP/huggingface" \
    actor_rollout_ref.rollout.seed="$SEED" actor_rollout_ref.actor.data_loader_seed="$SEED" \
    algorithm.stepgrpo.trace_dir="$OUT/trace" \
    "trainer.logger=[console,tensorboard]" \
    trainer.total_training_steps="$RL_STEPS" trainer.test_freq="$RL_STEPS" trainer.save_freq=4 \
    trainer.max_actor_ckpt_to_keep=2 trainer.project_name=digits trainer.experiment_name=rl trainer.default_local_dir="$OUT/rl"

stage export 600 "$PYTHON_BIN" -m verl.model_merger merge --backend fsdp \
    --local_dir "$OUT/rl/global_step_$RL_STEPS/actor" --target_dir "$OUT/model-rl"

"$PYTHON_BIN" "$HERE/report.py" --out "$OUT" --seed "$SEED" --rl-steps "$RL_STEPS" --seconds $((SECONDS - STARTED))
