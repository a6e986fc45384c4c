# The stages of a recipe, with verl's own commands; sourced by the scripts of the recipes, which name the recipe.
#
# RECIPE is the name of the folder and of the two config groups: +stepgrpo_warmup=RECIPE for the warm-up and
# +stepgrpo=RECIPE for RL (verl_stepgrpo/bridge/conf). Arguments of a script go to verl behind the group, and win.
#
#   DATA=prepared        folder that verl-stepgrpo prepare wrote
#   OUT=out/RECIPE       folder for checkpoints, traces, the merged model and its evaluation
#   ENGINE=              another group behind the recipe's: cpu, with VERL_PLATFORM=cpu, for a trial with a tiny model
#   N_GPUS=n             GPUs a machine for the warm-up (default those of this machine)
#   NNODES=1 NODE_RANK=0 MASTER_ADDR=host MASTER_PORT=29500    for a warm-up on several machines
set -euo pipefail

RECIPE="$(basename "$(cd "$(dirname "$0")" && pwd)")"
DATA="${DATA:-prepared}"
OUT="${OUT:-out/$RECIPE}"
export TENSORBOARD_DIR="${TENSORBOARD_DIR:-$OUT/tensorboard}"

# group NAME: the recipe's choice in a config group, and the engine's behind it.
group() { echo "+$1=[$RECIPE${ENGINE:+,$ENGINE}]"; }

# last_checkpoint FOLDER: the newest checkpoint of a run of verl.
last_checkpoint() {
    local tracker="$1/latest_checkpointed_iteration.txt"
    if [ ! -e "$tracker" ]; then
        echo "There is no checkpoint in $1 (no $tracker): run the stage before this one." >&2
        return 1
    fi
    echo "$1/global_step_$(cat "$tracker")"
}

gpus() { echo "${N_GPUS:-$(nvidia-smi --list-gpus 2>/dev/null | wc -l)}"; }

warm_up() {
    torchrun --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" --nproc_per_node="$(gpus)" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${MASTER_PORT:-29500}" \
        -m verl.trainer.sft_trainer "$(group stepgrpo_warmup)" \
        data.train_files="$DATA/sft-train.parquet" data.val_files="$DATA/sft-val.parquet" \
        trainer.default_local_dir="$OUT/warmup" "$@"
}

# The model that RL starts from is the last checkpoint of the warm-up.
train() {
    local warm
    warm="$(last_checkpoint "$OUT/warmup")"
    python -m verl.trainer.main_ppo "$(group stepgrpo)" \
        data.train_files="$DATA/rl-train.parquet" data.val_files="$DATA/rl-val.parquet" \
        actor_rollout_ref.model.path="$warm/huggingface" \
        algorithm.stepgrpo.trace_dir="$OUT/trace" trainer.default_local_dir="$OUT/rl" "$@"
}

# Makes a Hugging Face folder of the last checkpoint, processor included.
merge() {
    local last
    last="$(last_checkpoint "$OUT/rl")"
    python -m verl.model_merger merge --backend fsdp --local_dir "$last/actor" --target_dir "$OUT/model" "$@"
}

evaluate() {
    verl-stepgrpo eval "$DATA/rl-val.parquet" --model "$OUT/model" --out "$OUT/eval" "$@"
}
