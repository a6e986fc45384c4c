"""What vLLM samples is what the actor would: buffers of a model that is loaded with random weights, and the warning."""

from __future__ import annotations

import pytest
from processes import python

from verl_stepgrpo.bridge.hooks.rollout_gap import CORRELATION, gap

LOADED = """
{first}
import torch
from vllm.config import LoadConfig
from vllm.model_executor.model_loader.dummy_loader import DummyModelLoader


class Normalised(torch.nn.Module):
    '''As vLLM's Qwen2-VL: weights, a buffer that no checkpoint has, and one that none would have.'''

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor([3.0, 5.0]))
        self.register_buffer("places", torch.tensor([7.0]), persistent=False)
        self.linear = torch.nn.Linear(2, 2)


model = torch.nn.Sequential(Normalised())
before = model[0].linear.weight.clone()
with torch.no_grad():
    DummyModelLoader(LoadConfig(load_format="dummy")).load_weights(model, None)
assert not torch.equal(model[0].linear.weight, before)  # the weights are random ones
print(model[0].scale.tolist(), model[0].places.tolist())
"""


def test_a_model_with_random_weights_keeps_its_buffers() -> None:
    done = python(LOADED.format(first="import verl"), VERL_PLATFORM="cpu")
    assert done.stdout.endswith("[3.0, 5.0] [7.0]\n"), done.stderr[-2000:]


def test_vllm_alone_draws_them_still() -> None:
    """Where this fails, a newer vLLM needs ``dummy_weights`` no more."""
    done = python(LOADED.format(first=""))
    assert done.returncode == 0, done.stderr[-2000:]
    assert not done.stdout.endswith("[3.0, 5.0] [7.0]\n")


@pytest.mark.parametrize("correlation", [0.7024, 0.9899, -0.5])
def test_engines_that_are_apart_are_told_with_step_and_figure(correlation: float) -> None:
    said = gap({CORRELATION: correlation}, 3)
    assert said is not None
    assert said.startswith(
        f"Step 3: vLLM and the actor give the sampled tokens probabilities that correlate by {correlation:.4f}"
    )


@pytest.mark.parametrize(
    "metrics", [{CORRELATION: 0.9998}, {CORRELATION: 1.0}, {CORRELATION: float("nan")}, {}]
)
def test_nothing_is_said_of_what_rounding_explains_or_nobody_measured(metrics: dict) -> None:
    assert gap(metrics, 3) is None


def test_verl_logs_it_under_that_name() -> None:
    from verl_contract import check_source

    check_source("verl.utils.debug.metrics:calculate_debug_metrics", f'"{CORRELATION}"')
