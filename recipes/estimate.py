"""Estimate the GPU memory and the time of the recipes, by a rule from their own settings. Nothing here is measured.

    python recipes/estimate.py

Memory of one GPU, in GiB (P parameters, N GPUs):

- state: weights, gradients and two Adam moments in float32, sharded: 16 P / N bytes; with LoRA the base in bfloat16,
  2 P / N, and 16 bytes for each parameter of the adapters (2% of P);
- update: state, one micro-batch's activations with checkpointing (2 bytes x layers x tokens x hidden size) and its
  logits (10 bytes x tokens x vocabulary: bfloat16, float32 and their gradient);
- sampling: state, the weights in bfloat16, and the keys and values of all responses of a step at full length.

Time of a step, on H100s (3.35 TB/s, 989 TFLOP/s in bfloat16): sampling reads the weights once a token at half of the
bandwidth, to full length; the two forward passes for probabilities and the update cost 2 + 2 + 8 operations a
parameter and token, at 30% of the peak; and 5 s for all else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import verl  # noqa: F401  loads the plugin, which makes the groups known to Hydra
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

ROWS = 10_000
"""Rows of R1-VL-10K."""
GIB = 2**30
BANDWIDTH, BANDWIDTH_SHARE = 3.35e12, 0.5
FLOPS, FLOPS_SHARE = 989e12, 0.3
OTHER_SECONDS = 5.0
ADAPTER_SHARE = 0.02


@dataclass(frozen=True)
class Model:
    """What the rule needs of a model, from its config.json and the size of its weights."""

    parameters: float
    layers: int
    hidden: int
    vocabulary: int
    key_value: int
    """Key-value heads times their dimension."""


MODELS = {
    "Qwen/Qwen2-VL-2B-Instruct": Model(2.2e9, 28, 1536, 151936, 2 * 128),
    "Qwen/Qwen2-VL-7B-Instruct": Model(8.3e9, 28, 3584, 152064, 4 * 128),
    "Qwen/Qwen2.5-VL-3B-Instruct": Model(3.8e9, 36, 2048, 151936, 2 * 128),
    "Qwen/Qwen2.5-VL-7B-Instruct": Model(8.3e9, 28, 3584, 152064, 4 * 128),
    "Qwen/Qwen3-VL-8B-Instruct": Model(8.8e9, 36, 4096, 151936, 8 * 128),
}


def row(recipe: str, config: DictConfig) -> str:
    worker, data = config.actor_rollout_ref, config.data
    model = MODELS[worker.model.path]
    n_gpus = config.trainer.nnodes * config.trainer.n_gpus_per_node
    responses = data.train_batch_size * worker.rollout.n
    length = data.max_prompt_length + data.max_response_length

    if worker.model.lora_rank:
        state = (2 + 16 * ADAPTER_SHARE) * model.parameters / n_gpus
    else:
        state = 16 * model.parameters / n_gpus
    tokens = min(worker.actor.ppo_max_token_len_per_gpu, responses * length / n_gpus)
    update = state + tokens * (2 * model.layers * model.hidden + 10 * model.vocabulary)
    cache = responses / n_gpus * length * model.layers * 2 * model.key_value * 2
    sampling = state + 2 * model.parameters / worker.rollout.tensor_model_parallel_size + cache

    decoding = data.max_response_length * 2 * model.parameters / (BANDWIDTH * BANDWIDTH_SHARE)
    passes = 12 * model.parameters * responses * length / (FLOPS * FLOPS_SHARE * n_gpus)
    seconds = decoding + passes + OTHER_SECONDS
    steps = ROWS // data.train_batch_size
    return (
        f"| `{recipe}` | {n_gpus} | {state / GIB:.0f} | {update / GIB:.0f} | {sampling / GIB:.0f} "
        f"| {responses} | {seconds:.0f} | {steps:,} | {steps * seconds / 3600:.1f} |"
    )


def main() -> None:
    print(
        "| recipe | GPUs | state GiB | update GiB | sampling GiB | responses a step | s a step | steps | hours |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with initialize_config_module("verl.trainer.config", version_base=None):
        for script in sorted(Path(__file__).parent.glob("*/train.sh")):
            recipe = script.parent.name
            print(row(recipe, compose("ppo_trainer", overrides=[f"+stepgrpo={recipe}"])))


if __name__ == "__main__":
    main()
