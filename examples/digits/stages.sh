# What the runs of the digits task share; sourced behind examples/setup_cpu.sh. SEED, WARMUP_STEPS and OUT are the
# run's: its seed, the steps of its warm-up, and the folder that its results, logs and done marks are in.

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
    local began=$SECONDS
    if ! timeout --kill-after=30 "$limit" "$@" 2>&1 | tee "$log" | "$PYTHON_BIN" "$DIGITS/progress.py" "$name"; then
        echo "[$name] failed. The first error in $log:" >&2
        grep -m 1 -n -A 12 -E "Error|Traceback" "$log" >&2 || tail -n 20 "$log" >&2
        exit 1
    fi
    touch "$OUT/.$name.done"
    echo "[$name] done in $((SECONDS - began)) s"
}

# Warm the model up with verl's own SFT trainer, on the same images and through the same processor as the RL job.
warm_up() {
    stage warmup 1200 torchrun --standalone --nproc_per_node=1 -m verl.trainer.sft_trainer \
        data.train_files="$OUT/data/sft.parquet" \
        data.train_batch_size=32 data.micro_batch_size_per_gpu=32 data.use_dynamic_bsz=False data.num_workers=1 \
        model.path="$OUT/model" model.use_remove_padding=False model.enable_gradient_checkpointing=False \
        +model.override_config.attn_implementation=sdpa \
        engine.strategy=fsdp2 engine.use_torch_compile=False engine.seed="$SEED" \
        +engine.mixed_precision.param_dtype=fp32 \
        optim.lr=3e-3 optim.lr_warmup_steps=20 "optim.betas=[0.9,0.98]" \
        trainer.device=cpu trainer.seed="$SEED" trainer.total_epochs=1 \
        trainer.total_training_steps="$WARMUP_STEPS" \
        trainer.project_name=digits trainer.experiment_name=warmup "trainer.logger=[console]" \
        trainer.default_local_dir="$OUT/warmup" "checkpoint.save_contents=[model,optimizer,extra,hf_model]"
}
