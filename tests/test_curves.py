"""What a training step is summed up in."""

from __future__ import annotations

import pytest

from verl_stepgrpo import SCORE_KEYS, RewardSettings, compute_score, score_response
from verl_stepgrpo.curves import Outcome, Reasoned, curves, decoy_rate
from verl_stepgrpo.rewards import defined


def outcome(uid: str, score: float, acc: float, weight: float) -> Outcome:
    return Outcome(uid, {"score": score, "acc": acc, "complete": 1.0}, weight)


OUTCOMES = [
    outcome("right", 2.0, 1.0, 1.0),
    outcome("right", 0.0, 0.0, 1.0),
    outcome("wrong", 1.1, 0.0, 0.5),
    outcome("wrong", 1.0, 0.0, 1.5),
    outcome("equal", 1.0, 0.0, 0.0),
    outcome("equal", 1.0, 0.0, 0.0),
]


def test_groups_are_told_apart() -> None:
    metrics = curves(OUTCOMES)
    assert metrics["stepgrpo/groups_without_variance/mean"] == pytest.approx(1 / 3)
    assert metrics["stepgrpo/groups_all_wrong/mean"] == pytest.approx(2 / 3)
    assert metrics["stepgrpo/groups_all_wrong_moving/mean"] == pytest.approx(1 / 3)
    assert metrics["stepgrpo/advantage_from_all_wrong/mean"] == pytest.approx(0.5)
    assert metrics["stepgrpo/acc/mean"] == pytest.approx(1 / 6)


def test_every_component_but_the_total_has_a_curve() -> None:
    scored = compute_score("d", "### Step 1:\nx\n### The final answer is: 2", "2", {"key_steps": ["x"]})
    metrics = curves([Outcome("u", scored, 0.0)])
    names = {name.split("/")[1] for name in metrics}
    assert set(SCORE_KEYS) - {"score"} <= names
    assert metrics["stepgrpo/key_step_match/mean"] == 1.0
    assert metrics["stepgrpo/advantage_from_all_wrong/mean"] == 0.0


def test_a_prompt_without_key_steps_is_in_no_mean_of_their_match() -> None:
    response = "### Step 1:\nx\n### The final answer is: 2"
    scored = score_response(response, "2", ["x"]), score_response(response, "2")
    outcomes = [
        Outcome("u", defined(one.components(), has_key_steps=bool(one.key_steps)), 0.0) for one in scored
    ]
    metrics = curves(outcomes)
    assert metrics["stepgrpo/key_step_match/mean"] == 1.0
    assert metrics["stepgrpo/with_key_steps/mean"] == 0.5
    assert "stepgrpo/key_step_match/mean" not in curves(outcomes[1:])


def test_no_name_is_one_that_verl_aggregates_otherwise() -> None:
    for name in curves(OUTCOMES):
        assert not any(word in name for word in ("min", "max", "sum", "total")), name


def test_a_reward_without_components_gives_no_curve() -> None:
    assert curves([Outcome("u", {}, 1.0)]) == {}
    assert curves([]) == {}


class TestDecoys:
    A, B = [("3 + 5 = 8",), ("first digit is 3",)], [("2 + 2 = 4",), ("first digit is 2",)]

    def rate(self, *responses: tuple[str, str, list]) -> float | None:
        return decoy_rate(
            [Reasoned(u, f"### Step 1:\n{r}", k) for u, r, k in responses],
            RewardSettings(match_threshold=0.8),
        )

    def test_an_honest_response_has_none_and_a_pasting_one_all(self) -> None:
        honest = ("a", "The first digit is 3. So 3 + 5 = 8.", self.A)
        pasting = ("b", "The first digit is 2. The first digit is 3. 2 + 2 = 4. 3 + 5 = 8.", self.B)
        assert self.rate(honest, pasting) == 0.5
        assert self.rate(honest, ("b", "2 + 2 = 4", self.B)) == 0.0

    def test_key_steps_that_both_prompts_have_are_no_decoys(self) -> None:
        both = ("a", "3 + 5 = 8", self.A), ("b", "3 + 5 = 8", self.A[:1])
        assert self.rate(*both) == 0.0

    def test_one_prompt_alone_has_no_decoys(self) -> None:
        assert self.rate(("a", "3 + 5 = 8", self.A)) is None
