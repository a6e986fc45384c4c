"""Say where what vLLM sampled is not what the actor would sample.

Both have the same weights, so that each gives a sampled token about the same probability. Where they do not, the
rollout is another model, or is shown something else: it is paid for what the actor does not do, and training goes on
without an error and learns little. verl logs how the two correlate, where
``actor_rollout_ref.rollout.calculate_log_probs`` is True; nobody has to look at it.
"""

from __future__ import annotations

from collections.abc import Mapping

CORRELATION = "training/rollout_actor_probs_pearson_corr"
"""verl's metric (0.9.1, utils/debug/metrics.py): Pearson's correlation of both probabilities over a step's tokens."""

LEAST = 0.99
"""Lowest correlation that rounding explains: 0.9998 in bfloat16 on a GPU and 1.0000 in float32, of the digits' model.
Where vLLM saw noise for its images that had 0.70, and 0.98 as long as it had learnt little from them."""


def gap(metrics: Mapping[str, float], step: int) -> str | None:
    """Return what to say of a training step where rollout and actor are apart; None where they are not, or unknown."""
    correlation = metrics.get(CORRELATION)
    if correlation is None or not correlation < LEAST:
        return None
    return (
        f"Step {step}: vLLM and the actor give the sampled tokens probabilities that correlate by {correlation:.4f}; "
        f"one model in two engines has nearly 1. WHAT IS PAID FOR IS NOT WHAT IS TRAINED: the rollout has other "
        "weights, another precision, or other images. docs/troubleshooting.md says where to look."
    )
