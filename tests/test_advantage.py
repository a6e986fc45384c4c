"""Group-relative advantages, against a slow loop and against verl's own."""

from __future__ import annotations

import math
import random
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo import advantage

REWARDS = st.sampled_from([0.0, 0.1 / 3, 0.1, 1.0, 1.1, 2.0, 2.1])
BATCH = st.lists(st.tuples(REWARDS, st.integers(0, 4)), min_size=1, max_size=24)


def slow(rewards: list[float], uids: list[object]) -> list[float]:
    """The formula of the paper, one response at a time."""
    out = []
    for reward, uid in zip(rewards, uids, strict=True):
        group = [r for r, u in zip(rewards, uids, strict=True) if u == uid]
        varies = len(group) > 1 and max(group) > min(group)
        out.append((reward - statistics.fmean(group)) / statistics.stdev(group) if varies else 0.0)
    return out


def fast(rewards: list[float], uids: list, **options: object) -> list[float]:
    rewards_B = torch.tensor(rewards, dtype=torch.float64)
    return advantage.group_relative(rewards_B, advantage.group_ids(uids), **options).tolist()  # type: ignore[arg-type]


@given(BATCH)
def test_it_equals_the_slow_loop(batch: list[tuple[float, int]]) -> None:
    rewards, uids = map(list, zip(*batch, strict=True))
    assert fast(rewards, uids) == pytest.approx(slow(rewards, uids), abs=1e-9)


@given(BATCH, st.floats(-10, 10))
def test_adding_a_constant_to_the_rewards_changes_nothing(
    batch: list[tuple[float, int]], constant: float
) -> None:
    rewards, uids = map(list, zip(*batch, strict=True))
    shifted = fast([r + constant for r in rewards], uids)
    assert shifted == pytest.approx(fast(rewards, uids), abs=1e-6)


@given(BATCH, st.randoms())
def test_permuting_the_batch_permutes_the_output(batch: list[tuple[float, int]], rng: random.Random) -> None:
    order = list(range(len(batch)))
    rng.shuffle(order)
    rewards, uids = map(list, zip(*batch, strict=True))
    before = fast(rewards, uids)
    after = fast([rewards[i] for i in order], [uids[i] for i in order])
    assert after == pytest.approx([before[i] for i in order], abs=1e-9)


@given(BATCH)
def test_each_group_has_mean_zero_and_unit_std_or_is_zero(batch: list[tuple[float, int]]) -> None:
    rewards, uids = map(list, zip(*batch, strict=True))
    values = fast(rewards, uids)
    for uid in set(uids):
        group = [v for v, u in zip(values, uids, strict=True) if u == uid]
        assert statistics.fmean(group) == pytest.approx(0.0, abs=1e-9)
        assert all(v == 0 for v in group) or statistics.stdev(group) == pytest.approx(1.0)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("reward", [0.0, 0.1, 1.1, 0.1 + 0.2])
def test_a_group_of_equal_rewards_gets_exactly_zero(n: int, reward: float) -> None:
    for dtype in (torch.float32, torch.float64):
        rewards_B = torch.full((n,), reward, dtype=dtype)
        assert advantage.group_relative(rewards_B, advantage.group_ids([0] * n)).tolist() == [0.0] * n


@pytest.mark.parametrize(
    "uids",
    [
        ["b", "a", "b", "a"],
        [7, 3, 7, 3],
        [("x", 1), "x", ("x", 1), "x"],
        np.array(["b", "a", "b", "a"], dtype=object),
        np.array([7, 3, 7, 3]),
        torch.tensor([7, 3, 7, 3]),
    ],
    ids=["str", "int", "mixed", "numpy-object", "numpy-int", "torch"],
)
def test_any_type_and_order_of_uids(uids: object) -> None:
    assert advantage.group_ids(uids).tolist() == [0, 1, 0, 1]  # type: ignore[arg-type]


def test_an_empty_batch_gives_an_empty_result() -> None:
    assert advantage.group_relative(torch.zeros(0), advantage.group_ids([])).shape == (0,)


def test_masked_tokens_get_zero() -> None:
    mask_BT = torch.tensor([[1, 1, 0], [1, 0, 0]])
    out_BT = advantage.to_tokens(torch.tensor([2.0, -1.0]), mask_BT)
    assert out_BT.tolist() == [[2.0, 2.0, 0.0], [-1.0, 0.0, 0.0]]


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_the_mask_is_left_as_it_is(dtype: torch.dtype) -> None:
    mask_BT = torch.tensor([[1, 0]]).to(dtype)
    advantage.to_tokens(torch.tensor([2.0]), mask_BT)
    assert mask_BT.tolist() == [[1, 0]]


def test_without_std_the_rewards_are_centred_only() -> None:
    assert fast([1.0, 3.0], ["a", "a"], divide_by_std=False) == [-1.0, 1.0]


def test_the_epsilon_of_the_authors_code() -> None:
    std = statistics.stdev([1.0, 3.0])
    assert fast([1.0, 3.0], ["a", "a"], epsilon=1e-4) == pytest.approx([-1 / (std + 1e-4), 1 / (std + 1e-4)])


def test_no_reward_makes_a_nan() -> None:
    tiny = [1.0, 1.0 + 1e-15, 1.0]
    assert all(math.isfinite(v) for v in fast(tiny, [0, 0, 0]))


class TestEstimator:
    """The function that verl calls."""

    @pytest.fixture
    def estimate(self):
        from verl_stepgrpo.bridge.estimator import compute_stepgrpo_advantage

        return compute_stepgrpo_advantage

    @pytest.fixture
    def batch(self) -> dict:
        generator = torch.Generator().manual_seed(0)
        rewards_BT = torch.zeros(12, 5)
        mask_BT = torch.ones(12, 5, dtype=torch.int64)
        mask_BT[::2, 3:] = 0
        last_B = mask_BT.sum(dim=1) - 1
        rewards_BT[torch.arange(12), last_B] = torch.randint(0, 4, (12,), generator=generator).float()
        index = np.array([f"u{i % 4}" for i in range(11)] + ["alone"], dtype=object)
        return {"token_level_rewards": rewards_BT, "response_mask": mask_BT, "index": index}

    def test_it_is_registered_under_its_name(self, estimate) -> None:
        from verl.trainer.ppo.core_algos import get_adv_estimator_fn

        assert get_adv_estimator_fn("stepgrpo") is estimate

    def test_it_agrees_with_verls_grpo_but_for_epsilon_and_lone_responses(
        self, estimate, batch: dict
    ) -> None:
        from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage

        ours, returns = estimate(**batch, config={})
        theirs, _ = compute_grpo_outcome_advantage(
            batch["token_level_rewards"].clone(), batch["response_mask"], batch["index"], epsilon=0.0
        )
        # verl leaves a lone response's reward as its advantage.
        lone = batch["index"] == "alone"
        torch.testing.assert_close(ours[~lone].nan_to_num(), theirs[~lone].nan_to_num(), atol=1e-5, rtol=1e-5)
        assert ours[lone].abs().max() == 0
        assert returns is ours

    def test_verls_switch_for_the_std_is_respected(self, estimate, batch: dict) -> None:
        centred, _ = estimate(**batch, config={"norm_adv_by_std_in_grpo": False})
        rewards = batch["token_level_rewards"].sum(dim=1)
        group = torch.tensor(batch["index"] == "u0")
        expected = rewards[group] - rewards[group].mean()
        torch.testing.assert_close(centred[group][:, 0], expected)

    def test_masked_tokens_are_zero_and_rewards_are_left_alone(self, estimate, batch: dict) -> None:
        before = batch["token_level_rewards"].clone()
        ours, _ = estimate(**batch, config={})
        assert ours[batch["response_mask"] == 0].abs().max() == 0
        assert torch.equal(batch["token_level_rewards"], before)
