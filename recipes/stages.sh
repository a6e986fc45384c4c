# The stages of a recipe, with verl's own commands; sourced by the scripts of the recipes, which name the recipe.
#
# RECIPE is the name of the folder and of the two config groups: +stepgrpo_warmup=RECIPE for the warm-up and
# +stepgrpo=RECIPE for RL (verl_stepgrpo/bridge/conf). Arguments of a script go to verl behind the group, and win.
#
#   DATA=prepared        folder that verl-stepgrpo prepare wrote
#   OUT=out/RECIPE       folder of the recipe; the warm-up is in $OUT/warmup
#   RUN=rl               name of the RL run: its checkpoints, traces, merged model and evaluation are in $OUT/$RUN
#   MODEL=               what RL starts from (default: the last checkpoint of the warm-up)
#   ENGINE=              another group behind the recipe's: cpu, with VERL_PLATFORM=cpu and N_GPUS=1, for a trial with a
#                        tiny model (recipes/README.md)
#   N_GPUS=n             GPUs a machine for the warm-up (default those of this machine)
#   NNODES=1 NODE_RANK=0 MASTER_ADDR=host MASTER_PORT=29500    for a warm-up on several machines
set -euo pipefail

RECIPES="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
RECIPE="$(basename "$(cd "$(dirname "$0")" && pwd)")"
DATA="${DATA:-prepared}"
OUT="${OUT:-out/$RECIPE}"
RUN="${RUN:-rl}"

# group NAME: the recipe's choice in a config group, and the engine's behind it.
group() { echo "+$1=[$RECIPE${ENGINE:+,$ENGINE}]"; }

# need FILE WHAT: ends with WHAT to do where FILE is missing.
need() {
    [ -e "$1" ] && return
    echo "There is no $1. $2" >&2
    exit 1
}

# last_checkpoint FOLDER SCRIPT: the newest checkpoint of a run of verl; without one, which SCRIPT to run.
last_checkpoint() {
    need "$1/latest_checkpointed_iteration.txt" "Run recipes/$RECIPE/$2"
    echo "$1/global_step_$(cat "$1/latest_checkpointed_iteration.txt")"
}

# has_adapters CHECKPOINT: whether verl trained LoRA adapters there. Nothing but PEFT can read such a checkpoint.
has_adapters() { [ -e "$1/lora_train_meta.json" ]; }

# fold_adapters CHECKPOINT TARGET: its weights with the adapters added in, as a Hugging Face folder.
fold_adapters() { python "$RECIPES/fold_adapters.py" "$@"; }

gpus() {
    local n="${N_GPUS:-$(nvidia-smi --list-gpus 2>/dev/null | wc -l)}"
    [ "$n" -gt 0 ] || { echo "This machine has no GPU that nvidia-smi sees. Set N_GPUS to their number; for a trial on a CPU see recipes/README.md." >&2; exit 1; }
    echo "$n"
}

warm_up() {
    local n_gpus
    need "$DATA/sft-train.parquet" "verl-stepgrpo prepare writes it; DATA names its folder."
    n_gpus="$(gpus)"
    export TENSORBOARD_DIR="${TENSORBOARD_DIR:-$OUT/warmup/tensorboard}"
    # Otherwise transformers warns of verl's call once a row and process.
    export TRANSFORMERS_VERBOSITY="${TRANSFORMERS_VERBOSITY:-error}"
    torchrun --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$n_gpus" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${MASTER_PORT:-29500}" \
        -m verl.trainer.sft_trainer "$(group stepgrpo_warmup)" \
        data.train_files="$DATA/sft-train.parquet" data.val_files="$DATA/sft-val.parquet" \
        trainer.default_local_dir="$OUT/warmup" "$@"
}

train() {
    local model="${MODEL:-}" last
    need "$DATA/rl-train.parquet" "verl-stepgrpo prepare writes it; DATA names its folder."
    if [ -z "$model" ]; then
        last="$(last_checkpoint "$OUT/warmup" "warmup.sh first, or name another model: MODEL=...")"
        model="$last/huggingface"
        if has_adapters "$last"; then
            model="$OUT/warmup/model"
            fold_adapters "$last" "$model"
        fi
    fi
    export TENSORBOARD_DIR="${TENSORBOARD_DIR:-$OUT/$RUN/tensorboard}"
    python -m verl.trainer.main_ppo "$(group stepgrpo)" \
        data.train_files="$DATA/rl-train.parquet" data.val_files="$DATA/rl-val.parquet" \
        actor_rollout_ref.model.path="$model" algorithm.stepgrpo.trace_dir="$OUT/$RUN/trace" \
        trainer.default_local_dir="$OUT/$RUN/checkpoints" "$@"
}

# Makes a Hugging Face folder of the last checkpoint, processor and adapters included.
merge() {
    local last
    last="$(last_checkpoint "$OUT/$RUN/checkpoints" "train.sh first.")"
    if has_adapters "$last/actor"; then
        fold_adapters "$last/actor" "$OUT/$RUN/model" "$@"
    else
        python -m verl.model_merger merge --backend fsdp --local_dir "$last/actor" --target_dir "$OUT/$RUN/model" "$@"
    fi
}

evaluate() {
    need "$DATA/rl-val.parquet" "verl-stepgrpo prepare writes it; DATA names its folder."
    need "$OUT/$RUN/model/config.json" "Run recipes/$RECIPE/merge.sh first."
    verl-stepgrpo eval "$DATA/rl-val.parquet" --model "$OUT/$RUN/model" --out "$OUT/$RUN/eval" "$@"
}
