"""Group-relative advantages, against a slow loop and against verl's own."""

from __future__ import annotations

import math
import random
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from verl_stepgrpo import RunSettings, advantage
from verl_stepgrpo.bridge import conf
from verl_stepgrpo.settings import AdvantageSettings

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
    scale = advantage.Scale(**options)  # type: ignore[arg-type]
    return advantage.group_relative(rewards_B, advantage.group_ids(uids), scale).tolist()


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
    assert fast([1.0, 3.0], ["a", "a"], by_std=False) == [-1.0, 1.0]


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
        raw = (batch["token_level_rewards"].sum(dim=1, keepdim=True) * batch["response_mask"])[lone]
        assert raw.abs().max() > 0
        torch.testing.assert_close(theirs[lone], raw)
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


STEP = RunSettings(advantage=AdvantageSettings(credit="step"))


def by_step(rewards_B: torch.Tensor, shares_BS: torch.Tensor, groups_B: torch.Tensor) -> torch.Tensor:
    """The advantages of steps whose key steps were paid ``shares_BS``, by credit=step."""
    no_B = torch.zeros(len(rewards_B), dtype=torch.bool)
    scores = advantage.Scores(no_B, shares_BS.sum(1), torch.zeros_like(rewards_B), ~no_B)
    found_BK, count_B = torch.full((len(rewards_B), 1), -1), torch.full((len(rewards_B),), shares_BS.shape[1])
    steps = advantage.Steps(shares_BS, found_BK, count_B)
    return advantage.advantages(rewards_B, groups_B, STEP, scores=scores, steps=steps).values


class TestStepCredit:
    """``credit=step``: A(s) = [(o - mean o) + (K(s) - mean K(s))] / std(r)."""

    STEPPED = st.lists(
        st.tuples(
            st.sampled_from([0.0, 1.0, 2.0]),  # outcome
            st.lists(st.sampled_from([0.0, 0.05, 0.1]), max_size=4),  # share paid in each step
            st.integers(0, 2),  # group
        ),
        min_size=1,
        max_size=12,
    )

    @staticmethod
    def tensors(batch: list) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        shares_BS = torch.zeros(len(batch), 4, dtype=torch.float64)
        for row, (_, shares, _) in zip(shares_BS, batch, strict=True):
            row[: len(shares)] = torch.tensor(shares)
        outcomes = torch.tensor([outcome for outcome, _, _ in batch], dtype=torch.float64)
        groups = advantage.group_ids([group for _, _, group in batch])
        return outcomes + shares_BS.sum(1), shares_BS, groups

    @given(STEPPED)
    def test_it_equals_the_formula_one_response_at_a_time(self, batch: list) -> None:
        rewards_B, shares_BS, groups_B = self.tensors(batch)
        got = by_step(rewards_B, shares_BS, groups_B)
        for i, (outcome, shares, group) in enumerate(batch):
            own = [j for j, (_, _, g) in enumerate(batch) if g == group]
            totals = [float(rewards_B[j]) for j in own]
            for s in range(5):
                if len(set(totals)) == 1:
                    assert got[i, s] == 0
                    continue
                to_go = statistics.fmean(sum(batch[j][1][s:]) for j in own)
                centred = outcome - statistics.fmean(batch[j][0] for j in own) + sum(shares[s:]) - to_go
                assert float(got[i, s]) == pytest.approx(centred / statistics.stdev(totals), abs=1e-6)

    @given(STEPPED)
    def test_the_first_step_has_exactly_the_advantage_of_the_whole_response(self, batch: list) -> None:
        rewards_B, shares_BS, groups_B = self.tensors(batch)
        got = by_step(rewards_B, shares_BS, groups_B)
        assert torch.equal(got[:, 0], advantage.group_relative(rewards_B, groups_B))

    @given(STEPPED)
    def test_the_answer_has_the_outcome_part_alone(self, batch: list) -> None:
        rewards_B, shares_BS, groups_B = self.tensors(batch)
        got = by_step(rewards_B, shares_BS, groups_B)[:, -1]
        for changed in (
            shares_BS.flip(1),
            shares_BS.sum(1, keepdim=True),
        ):  # where it was paid is the same to it
            other = by_step(rewards_B, changed, groups_B)[:, -1]
            torch.testing.assert_close(got, other, atol=1e-9, rtol=0)

    @given(STEPPED, st.randoms())
    def test_shuffling_the_batch_shuffles_the_output(self, batch: list, rng: random.Random) -> None:
        order = list(range(len(batch)))
        rng.shuffle(order)
        before = by_step(*self.tensors(batch))
        after = by_step(*self.tensors([batch[i] for i in order]))
        torch.testing.assert_close(after, before[order], atol=1e-9, rtol=0)

    def test_tokens_get_their_steps_advantage(self) -> None:
        advantage_BS = torch.tensor([[3.0, 2.0, 1.0], [6.0, 5.0, 4.0], [9.0, 8.0, 7.0]])
        mask_BT = torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [1, 1, 1, 1, 1]])
        ends = [[2, 4], [3], []]  # two steps, one, none
        assert advantage.steps_to_tokens(advantage_BS, ends, mask_BT).tolist() == [
            [3.0, 3.0, 2.0, 2.0, 1.0],
            [6.0, 0.0, 6.0, 4.0, 0.0],
            [9.0, 9.0, 9.0, 9.0, 9.0],
        ]

    def test_ends_beyond_the_response_or_out_of_order_do_no_harm(self) -> None:
        advantage_BS = torch.tensor([[3.0, 2.0, 1.0]])
        mask_BT = torch.ones(1, 3, dtype=torch.int64)
        assert advantage.steps_to_tokens(advantage_BS, [[2, 9]], mask_BT).tolist() == [[3.0, 3.0, 2.0]]
        assert advantage.steps_to_tokens(advantage_BS, [[2, 1]], mask_BT).tolist() == [[3.0, 3.0, 1.0]]


class TestGuards:
    def test_the_floor_of_the_std_bounds_what_a_small_difference_is_blown_up_to(self) -> None:
        rewards = [0.0, 0.0, 0.0, 0.025]
        assert max(fast(rewards, [0] * 4)) == pytest.approx(1.5)
        assert max(fast(rewards, [0] * 4, std_floor=0.1)) == pytest.approx(0.1875)
        assert fast([0.0, 2.0], [0] * 2, std_floor=0.1) == fast([0.0, 2.0], [0] * 2)
        assert fast([1.0, 1.0], [0] * 2, std_floor=0.1) == [0.0, 0.0]

    @pytest.mark.parametrize(
        "settings", [{"outcome_gate": 0.5}, {"combine": "component"}, {"credit": "step"}, {"credit": "value"}]
    )
    def test_settings_that_need_components_are_refused_without(self, settings: dict) -> None:
        run = RunSettings(advantage=AdvantageSettings(**settings))
        with pytest.raises(ValueError, match="need scores"):
            advantage.advantages(torch.tensor([1.0, 0.0]), torch.tensor([0, 0]), run)

    def test_a_group_is_all_wrong_if_no_response_is_right(self) -> None:
        correct_B = torch.tensor([False, False, True, False])
        assert advantage.all_wrong(correct_B, torch.tensor([0, 0, 1, 1])).tolist() == [
            True,
            True,
            False,
            False,
        ]


class TestEstimatorWithComponents:
    """The estimator with what the trainer hook hands it: right but invalid, and wrong but valid, have equal totals."""

    @staticmethod
    def judged(key: str, acc: float, shares: list[float], ends: list[int]):
        from verl_stepgrpo.bridge.judged import Judged
        from verl_stepgrpo.traces.rows import Decision, Judgement, StepSpan

        components = {"acc": acc, "score": 0.0}
        judgement = Judgement(
            components=components,
            key_step_share=sum(shares),
            answer=Decision("", "none", ""),
            key_steps=(),
            steps=tuple(
                StepSpan(i, 0, 0, end, shares[i] if i < len(shares) else 0.0) for i, end in enumerate(ends)
            ),
        )
        return Judged(key, components, judgement)

    @pytest.fixture
    def batch(self) -> tuple[list, dict]:
        rows = [
            self.judged("a_0_0", 0.0, [0.05, 0.0], [2, 4]),
            self.judged("a_1_0", 0.0, [0.0, 0.05], [1, 4]),
            self.judged("a_2_0", 0.0, [0.0], [3]),
            self.judged("b_0_0", 1.0, [], [2]),
            self.judged("b_1_0", 0.0, [], []),
        ]
        rewards_BT = torch.zeros(5, 6)
        rewards_BT[:, -1] = torch.tensor([0.05, 0.05, 1.0, 1.0, 0.0])
        index = np.array(list("aaabb"), dtype=object)
        arguments = {
            "token_level_rewards": rewards_BT,
            "response_mask": torch.ones(5, 6, dtype=torch.int64),
            "index": index,
        }
        return rows, arguments

    def estimate(self, batch: tuple[list, dict], **node: object) -> torch.Tensor:
        from verl_stepgrpo.bridge.estimator import compute_stepgrpo_advantage
        from verl_stepgrpo.bridge.judged import provided

        rows, arguments = batch
        with provided(rows):
            return compute_stepgrpo_advantage(**arguments, config={"stepgrpo": node})[0]

    def test_step_credit_starts_as_the_trajectory_and_falls_where_a_key_step_is_behind(self, batch) -> None:
        whole, by_step = self.estimate(batch), self.estimate(batch, credit="step")
        torch.testing.assert_close(by_step[:, 0], whole[:, 0])
        first = by_step[
            0
        ]  # its key step was in step 1: from step 2 on it has less to come than the second one
        assert first[0] == first[1] > first[2] == first[3]
        second = by_step[1]
        assert second[0] < second[1] == second[3] > second[4] == second[5]
        torch.testing.assert_close(first[4], second[4])  # equal outcomes
        assert torch.equal(by_step[3:], whole[3:])  # no key step was paid for in that group

    def test_the_gate_scales_only_groups_without_a_right_answer(self, batch) -> None:
        for credit in ("trajectory", "step"):
            whole = self.estimate(batch, credit=credit)
            gated = self.estimate(batch, credit=credit, outcome_gate=0.25)
            torch.testing.assert_close(gated[:3], 0.25 * whole[:3])
            assert torch.equal(gated[3:], whole[3:])

    def test_the_recommended_settings_are_plain_grpo_where_the_answer_alone_is_paid(self) -> None:
        """So a recipe's baseline differs from it by alpha=0 and rvr_weight=0, and by nothing else."""
        right = [1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0]
        rows = [self.judged(f"u_{i}_0", acc, [0.0, 0.0], [2, 4]) for i, acc in enumerate(right)]
        rewards_BT = torch.zeros(7, 6)
        rewards_BT[:, -1] = torch.tensor(right)
        batch = (
            rows,
            {
                "token_level_rewards": rewards_BT,
                "response_mask": torch.ones(7, 6, dtype=torch.int64),
                "index": np.array(list("aaabbcc"), dtype=object),
            },
        )
        group = Path(conf.__path__[0]) / "stepgrpo" / "recommended.yaml"
        node = OmegaConf.load(group).algorithm.stepgrpo
        baseline = self.estimate(batch, **{**node, "alpha": 0.0, "rvr_weight": 0.0})
        assert baseline.abs().sum() > 0
        torch.testing.assert_close(baseline, self.estimate(batch, alpha=0.0, rvr_weight=0.0))

    def test_an_earlier_output_of_a_session_has_the_whole_credit_throughout(self, batch) -> None:
        import dataclasses

        rows, arguments = batch
        rows[0] = dataclasses.replace(rows[0], is_final=False)
        by_step = self.estimate((rows, arguments), credit="step")
        assert by_step[0].unique().numel() == 1

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
    @pytest.mark.parametrize("by_step", [{}, {"credit": "step"}, {"credit": "value", "value_lambda": 0.5}])
    @pytest.mark.parametrize("combine", ["sum", "component", "answer_first"])
    def test_a_gpus_tensors_give_what_the_cpus_give(self, batch, combine: str, by_step: dict) -> None:
        node = {"combine": combine, "outcome_gate": 0.5, **by_step}
        rows, arguments = batch
        on_gpu = {key: value.cuda() if torch.is_tensor(value) else value for key, value in arguments.items()}
        found = self.estimate((rows, on_gpu), **node)
        assert found.is_cuda
        torch.testing.assert_close(found.cpu(), self.estimate(batch, **node))

    def test_without_the_components_it_says_what_is_missing(self, batch) -> None:
        from verl_stepgrpo import ConfigError
        from verl_stepgrpo.bridge.estimator import compute_stepgrpo_advantage

        with pytest.raises(ConfigError, match=r"reward\.reward_manager\.name=stepgrpo"):
            compute_stepgrpo_advantage(**batch[1], config={"stepgrpo": {"credit": "step"}})
