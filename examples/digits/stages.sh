# What the runs of the digits task share. PYTHON_BIN, SEED, WARMUP_STEPS and OUT are the run's: its interpreter, its
# seed, the steps of its warm-up, and the folder that its results, logs and done marks are in. On a CPU it is sourced
# behind examples/setup_cpu.sh.

DIGITS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

# stage NAME SECONDS COMMAND...: run COMMAND unless NAME is done; at most SECONDS, since a run of verl whose
# worker failed may wait for ever; show what matters of its log as it comes.
stage() {
    local name="$1" limit="$2" log="$OUT/logs/$1.log"
    shift 2
    if [ -e "$OUT/.$name.done" ]; then
        echo "[$name] done before"
        return
    fi
    echo "[$name] started, log: $log"
    local began=$SECONDS status
    if ! timeout --kill-after=30 "$limit" "$@" 2>&1 | tee "$log" | "$PYTHON_BIN" "$DIGITS/progress.py" "$name"; then
        status="${PIPESTATUS[0]}"
        # 137: killed, since it did not end when it was asked to. Before its time it was killed by another.
        if [ "$status" = 124 ] || { [ "$status" = 137 ] && [ $((SECONDS - began)) -ge "$limit" ]; }; then
            out_of_time "$name" "$limit" "$@"
        else
            failed "$name" "$log" "$status"
        fi
        exit 1
    fi
    touch "$OUT/.$name.done"
    echo "[$name] done in $((SECONDS - began)) s"
}

# out_of_time NAME SECONDS COMMAND...: what a stage that was cut goes on from.
out_of_time() {
    local name="$1" limit="$2" word folder="" step
    for word in "${@:3}"; do
        case "$word" in trainer.default_local_dir=*) folder="${word#*=}" ;; esac
    done
    echo "[$name] ran into its time limit of $limit s; its log is $OUT/logs/$name.log" >&2
    if [ -n "$folder" ] && step="$(cat "$folder/latest_checkpointed_iteration.txt" 2>/dev/null)"; then
        echo "[$name] Run the same again: it goes on from its checkpoint of step $step." >&2
    else
        echo "[$name] It has no checkpoint: run again, it starts from its beginning." >&2
    fi
}

# failed NAME LOG STATUS: the last traceback of the log and what follows it; warnings before it may name errors too.
failed() {
    local line
    line="$(grep -n "Traceback (most recent call last)" "$2" | tail -n 1 | cut -d : -f 1)" || line=1
    echo "[$1] failed with status $3. From $2:" >&2
    tail -n "+$line" "$2" | tail -n 50 >&2
}

# warm_up [TRAINER [OVERRIDE...]]: warm the model up on the same images and through the same processor as the RL job, for
# at most WARMUP_STEPS. TRAINER is verl's own unless it is named (warm_up.py is, for one).
warm_up() {
    local trainer=(-m verl.trainer.sft_trainer) engine=()
    [ $# = 0 ] || { trainer=("$1"); shift; }
    [ "${VERL_PLATFORM:-}" != cpu ] || engine=("+stepgrpo_warmup=cpu")
    stage warmup 1200 torchrun --standalone --nproc_per_node=1 "${trainer[@]}" \
        "${engine[@]}" data.train_files="$OUT/data/sft.parquet" \
        data.train_batch_size=32 data.micro_batch_size_per_gpu=32 data.use_dynamic_bsz=False \
        model.path="$OUT/model" engine.seed="$SEED" trainer.seed="$SEED" \
        optim.lr=3e-3 optim.lr_warmup_steps=20 "optim.betas=[0.9,0.98]" \
        trainer.total_epochs=1 trainer.total_training_steps="$WARMUP_STEPS" "trainer.logger=[console]" \
        trainer.project_name=digits trainer.experiment_name=warmup \
        trainer.default_local_dir="$OUT/warmup" "checkpoint.save_contents=[model,optimizer,extra,hf_model]" "$@"
}
