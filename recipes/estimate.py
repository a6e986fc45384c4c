"""Estimate the GPU memory and the time of the recipes, by a rule from their own settings. Nothing here is measured.

    python recipes/estimate.py

Memory of one GPU, in GiB (P parameters, A of adapters, N GPUs):

- state: weights and two Adam moments in float32, sharded: 12 P / N bytes; with LoRA the base in float32, 4 P / N, and
  12 A / N; the reference policy waits in the host's memory, and adapters need none;
- update: state; gradients in float32, 4 bytes for each parameter that is trained; one micro-batch's activations with
  checkpointing (2 bytes x layers x tokens x hidden size) and within the layer at work (10 bytes x tokens x
  intermediate size); and the head: gathered weights and gradients of both embeddings (8 bytes x vocabulary x hidden
  size), and the logits, their softmax and their gradient (24 bytes x vocabulary) of 512 tokens at a time, which is
  what fused kernels take. The pass for old probabilities computes entropy by the same kernels and needs less, and a
  step of the warm-up needs as much;
- sampling: state, and the share of the card that vLLM reserves (rollout.gpu_memory_utilization), whatever it needs.

A recipe fits a card where update and sampling each leave 7 GiB of it (two CUDA contexts, buffers of NCCL, weights on
their way to vLLM in pieces of 2 GiB, CUDA graphs, fragments), and where vLLM's share holds the weights in bfloat16, the
keys and values of one sequence at full length, without which it does not start, and 4 GiB of activations.

Time of a step, on H100s (3.35 TB/s, 989 TFLOP/s in bfloat16): sampling reads the weights once a token at half of the
bandwidth, to full length; the two forward passes for probabilities and the update cost 2 + 2 + 8 operations a
parameter and token, at 30% of the peak; and 5 s for all else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

try:
    import verl  # noqa: F401  loads the plugin, which makes the groups known to Hydra
    from hydra import compose, initialize_config_module
    from omegaconf import DictConfig

    import verl_stepgrpo  # noqa: F401
except ModuleNotFoundError as error:
    raise SystemExit(
        f"The recipes are read as verl composes them, and {error.name} is not installed here. Run this where verl and "
        "verl-stepgrpo are: pip install '.[gpu]', or without a GPU: source examples/setup_cpu.sh"
    ) from None

ROWS = 10_000
"""Rows of R1-VL-10K."""
GIB = 2**30
CARDS = {24: 22, 40: 39, 48: 44, 80: 79, 141: 139}
"""By its gigabytes on paper, what a card has in GiB behind error correction (A10, A100, L40S, H100, H200)."""
FUSED_TOKENS = 512
"""Tokens whose logits verl's fused kernels hold at a time."""
OTHER_GIB, VLLM_GIB = 7, 4
BANDWIDTH, BANDWIDTH_SHARE = 3.35e12, 0.5
FLOPS, FLOPS_SHARE = 989e12, 0.3
OTHER_SECONDS = 5.0


@dataclass(frozen=True)
class Model:
    """What the rule needs of a model, from its config.json and the size of its weights."""

    parameters: float
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    query: int
    """Query heads times their dimension."""
    key_value: int
    """Key-value heads times their dimension."""

    def adapters(self, rank: int) -> int:
        """Return the parameters of adapters of ``rank`` on all linear layers of the language model."""
        attention = 2 * (self.hidden + self.query) + 2 * (self.hidden + self.key_value)
        return rank * self.layers * (attention + 3 * (self.hidden + self.intermediate))

    def cache(self, tokens: float) -> float:
        """Return the bytes of the keys and values of ``tokens``, in bfloat16."""
        return tokens * self.layers * 2 * self.key_value * 2


MODELS = {
    "Qwen/Qwen2-VL-2B-Instruct": Model(2.2e9, 28, 1536, 8960, 151936, 12 * 128, 2 * 128),
    "Qwen/Qwen2-VL-7B-Instruct": Model(8.3e9, 28, 3584, 18944, 152064, 28 * 128, 4 * 128),
    "Qwen/Qwen2.5-VL-3B-Instruct": Model(3.8e9, 36, 2048, 11008, 151936, 16 * 128, 2 * 128),
    "Qwen/Qwen2.5-VL-7B-Instruct": Model(8.3e9, 28, 3584, 18944, 152064, 28 * 128, 4 * 128),
    "Qwen/Qwen3-VL-8B-Instruct": Model(8.8e9, 36, 4096, 12288, 151936, 32 * 128, 8 * 128),
}


@dataclass(frozen=True)
class Estimate:
    """What a recipe takes. Memory is of one GPU, in GiB, without what every job takes beside it.

    Attributes:
        gpus: Of all machines.
        state: What stays between steps.
        update: At the update.
        share: What vLLM reserves while it samples, of the card.
        vllm: The least that this has to be.
        responses: Of a step.
        seconds: Of a step.
        steps: Of one pass over R1-VL-10K.
    """

    gpus: int
    state: float
    update: float
    share: float
    vllm: float
    responses: int
    seconds: float
    steps: int

    def sampling(self, card: float) -> float:
        """Return what sampling takes on a card of so many GiB."""
        return self.state + self.share * card

    @property
    def card(self) -> int:
        """The smallest card, in gigabytes on paper, that all of it fits.

        Raises:
            StopIteration: None does.
        """
        return next(name for name, gib in CARDS.items() if self._fits(gib))

    def _fits(self, gib: float) -> bool:
        most = max(self.update, self.sampling(gib)) + OTHER_GIB
        return most <= gib and self.vllm <= self.share * gib


def estimated(config: DictConfig) -> Estimate:
    """Return what a run of ``verl.trainer.main_ppo`` with this configuration takes."""
    worker, data = config.actor_rollout_ref, config.data
    model = MODELS[worker.model.path]
    gpus = config.trainer.nnodes * config.trainer.n_gpus_per_node
    responses = data.train_batch_size * worker.rollout.n
    length = data.max_prompt_length + data.max_response_length
    rank = worker.model.lora_rank
    trained = model.adapters(rank) if rank else model.parameters
    state = ((4 * model.parameters if rank else 0) + 12 * trained) / gpus
    tokens = min(worker.actor.ppo_max_token_len_per_gpu, responses * length / gpus)
    at_once = min(tokens, FUSED_TOKENS) if worker.model.use_fused_kernels else tokens
    activations = tokens * (2 * model.layers * model.hidden + 10 * model.intermediate)
    head = model.vocabulary * (8 * model.hidden + 24 * at_once)
    weights = 2 * model.parameters / worker.rollout.tensor_model_parallel_size
    decoding = data.max_response_length * weights / (BANDWIDTH * BANDWIDTH_SHARE)
    passes = 12 * model.parameters * responses * length / (FLOPS * FLOPS_SHARE * gpus)
    return Estimate(
        gpus=gpus,
        state=state / GIB,
        update=(state + 4 * trained / gpus + activations + head) / GIB,
        share=worker.rollout.gpu_memory_utilization,
        vllm=(weights + model.cache(worker.rollout.max_model_len)) / GIB + VLLM_GIB,
        responses=responses,
        seconds=decoding + passes + OTHER_SECONDS,
        steps=ROWS // data.train_batch_size,
    )


def of_recipes() -> dict[str, Estimate]:
    """Return the estimate of each recipe, by its name."""
    with initialize_config_module("verl.trainer.config", version_base=None):
        return {
            script.parent.name: estimated(compose("ppo_trainer", [f"+stepgrpo={script.parent.name}"]))
            for script in sorted(Path(__file__).parent.glob("*/train.sh"))
        }


def row(recipe: str, it: Estimate) -> str:
    sampling = it.sampling(CARDS[it.card])
    return (
        f"| `{recipe}` | {it.gpus} | {it.card} GB | {it.state:.0f} | {it.update:.0f} | {sampling:.0f} "
        f"| {it.responses} | {it.seconds:.0f} | {it.steps:,} | {it.steps * it.seconds / 3600:.1f} |"
    )


def main() -> None:
    print(
        "| recipe | GPUs | smallest card | state GiB | update GiB | sampling GiB "
        "| responses a step | s a step | steps | hours |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for recipe, it in of_recipes().items():
        print(row(recipe, it))


if __name__ == "__main__":
    main()
