"""How the components of rewards become one advantage: against formulas one group at a time, and figures by hand."""

from __future__ import annotations

import math
import random
import re
import statistics
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo import RunSettings, advantage
from verl_stepgrpo.advantage import as_tensors
from verl_stepgrpo.earned import COMPONENTS, Earned

# (answer right, share of key steps found, valid), in groups.
RESPONSE = st.tuples(st.booleans(), st.sampled_from([0.0, 1 / 3, 2 / 3, 1.0]), st.booleans())
BATCH = st.lists(st.tuples(st.integers(0, 3), RESPONSE), min_size=1, max_size=24)

# Right and all; wrong but valid; right alone; wrong and a key step; wrong, valid, all key steps; right, invalid.
SIX = [(1, 1.0, 1), (0, 1 / 3, 1), (1, 0.0, 0), (0, 1 / 3, 0), (0, 1.0, 1), (1, 2 / 3, 0)]


def run(**node: object) -> RunSettings:
    return RunSettings.from_mapping(node)


def made(responses: list, groups: list[int], settings: RunSettings, **options: object) -> advantage.Combined:
    """Return what the settings make of (right, key steps, valid), one response to a prompt each."""
    reward = settings.reward
    earned = [
        Earned(bool(a), reward.alpha * k, reward.rvr_weight * v, (reward.alpha * k,), (None,))
        for a, k, v in responses
    ]
    scores, _ = as_tensors(earned)
    rewards_B = torch.tensor([e.correct + e.key_step_share + e.validity for e in earned], dtype=torch.float64)
    scale = advantage.Scale.of(settings, **options)  # type: ignore[arg-type]
    return advantage.combined(rewards_B, advantage.group_ids(groups), settings, scale, scores)


def z(values: list[float]) -> list[float]:
    if len(values) < 2 or max(values) == min(values):
        return [0.0] * len(values)
    return [(v - statistics.fmean(values)) / statistics.stdev(values) for v in values]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({}, [1.5959, -0.0340, -0.0849, -1.5620, 0.0679, 0.0170]),
        (
            {"combine": "answer_first", "process_weight": 1.0},
            [2.0659, -0.9129, 0.2823, -0.9129, -0.9129, 0.3904],
        ),
        ({"combine": "answer_first"}, [1.4894, -0.9129, 0.5976, -0.9129, -0.9129, 0.6516]),
    ],
)
def test_six_responses_by_hand(node: dict, expected: list[float]) -> None:
    assert made(SIX, [0] * 6, run(**node)).total_B.tolist() == pytest.approx(expected, abs=1e-4)


def test_components_by_themselves_and_whitened() -> None:
    plain = [1.9358, -0.0550, -0.1376, -1.8808, 0.1101, 0.0275]
    total_B = made(SIX, [0] * 6, run(combine="component")).total_B
    std = statistics.stdev(plain)
    assert total_B.tolist() == pytest.approx([v / std for v in plain], abs=1e-3)


@given(BATCH, st.floats(0, 2), st.floats(0, 2))
def test_component_is_the_sum_of_each_components_own_advantage(batch: list, alpha: float, rvr: float) -> None:
    groups, responses = [g for g, _ in batch], [r for _, r in batch]
    got = made(responses, groups, run(combine="component", alpha=alpha, rvr_weight=rvr))
    plain = [0.0] * len(batch)
    for group in set(groups):
        own = [i for i, g in enumerate(groups) if g == group]
        for part, weight in enumerate((1.0, alpha, rvr)):
            for i, value in zip(own, z([float(responses[i][part]) for i in own]), strict=True):
                plain[i] += weight * value if weight else 0.0
    if len(batch) > 1:
        mean, std = statistics.fmean(plain), statistics.stdev(plain)
        plain = [(v - mean) / (std + 1e-8) for v in plain]
    assert got.total_B.tolist() == pytest.approx(plain, abs=1e-5)


@given(BATCH, st.sampled_from([0.1, 0.5, 1.0, 3.0]), st.sampled_from([0.1, 1.0, 5.0]), st.booleans())
def test_answer_first_pushes_no_wrong_answer_up_or_above_a_right_one(
    batch: list, weight: float, alpha: float, by_std: bool
) -> None:
    groups, responses = [g for g, _ in batch], [r for _, r in batch]
    settings = run(combine="answer_first", process_weight=weight, alpha=alpha)
    total = made(responses, groups, settings, by_std=by_std).total_B.tolist()
    for group in set(groups):
        right = [total[i] for i, g in enumerate(groups) if g == group and responses[i][0]]
        wrong = [total[i] for i, g in enumerate(groups) if g == group and not responses[i][0]]
        if right and wrong:
            assert min(right) >= max(wrong) - 1e-9
            assert max(wrong) < 0


@pytest.mark.parametrize("n", [8, 32, 128])
def test_where_one_right_answer_lacks_all_that_the_others_have_it_stays_level_with_the_wrong_ones(
    n: int,
) -> None:
    half = n // 2
    responses = [(1, 1.0, 1)] * (half - 1) + [(1, 0.0, 0)] + [(0, 1.0, 1)] * half
    total = made(responses, [0] * n, run(combine="answer_first", process_weight=10.0)).total_B.tolist()
    assert total[half - 1] == pytest.approx(total[-1])
    assert total[0] > 0 > total[-1]


def test_in_a_group_without_a_right_answer_key_steps_alone_count_and_by_the_gate() -> None:
    responses = [(0, 1.0, 0), (0, 0.0, 1), (0, 1 / 3, 1)]
    whole = made(responses, [0] * 3, run(combine="answer_first"))
    assert whole.total_B.tolist() == pytest.approx(z([1.0, 0.0, 1 / 3]))
    # The weight of the process does not come into it.
    for weight in (0.0, 0.5, 5.0):
        settings = run(combine="answer_first", outcome_gate=0.25, process_weight=weight)
        gated = made(responses, [0] * 3, settings)
        assert gated.total_B.tolist() == pytest.approx([0.25 * v for v in z([1.0, 0.0, 1 / 3])])


def test_the_gate_acts_before_the_whitening_of_component() -> None:
    """So a batch without any right answer comes to the same whatever the gate is, unless it is 0."""
    responses, groups = [(0, 1.0, 0), (0, 0.0, 1), (0, 1 / 3, 1)] * 2, [0] * 3 + [1] * 3
    whole, gated = (
        made(responses, groups, run(combine="component", outcome_gate=g)).total_B for g in (1.0, 0.1)
    )
    torch.testing.assert_close(gated, whole, atol=1e-5, rtol=1e-5)
    assert not made(responses, groups, run(combine="component", outcome_gate=0.0)).total_B.any()
    # Beside a group with a right answer it makes the others smaller against that one.
    more, places = [*responses, (1, 0.0, 1), (0, 0.0, 1), (0, 0.0, 1)], [*groups, 2, 2, 2]
    whole, gated = (made(more, places, run(combine="component", outcome_gate=g)).total_B for g in (1.0, 0.1))
    assert float((gated[0] / gated[6]) / (whole[0] / whole[6])) == pytest.approx(0.1)


def test_the_floor_holds_for_each_part_by_itself_in_the_units_of_the_page() -> None:
    """``component``: of one unit of a part; ``answer_first``: of what key steps and validity are paid."""
    all_right = [
        (1, 1.0, 1),
        (1, 0.0, 1),
        (1, 0.0, 1),
        (1, 0.0, 1),
    ]  # key steps: std 0.5 of a unit, paid 0.05
    first = made(all_right, [0] * 4, run(combine="answer_first", std_floor=0.2)).total_B.tolist()
    assert first[0] == pytest.approx(0.5 * 0.075 / 0.2)
    all_wrong = [(0, k, v) for _, k, v in all_right]
    sparse = made(all_wrong, [0] * 4, run(combine="answer_first", std_floor=0.2)).total_B.tolist()
    assert sparse[0] == pytest.approx(0.075 / 0.2)
    whole, floored = (
        made(all_right, [0] * 4, run(combine="component", std_floor=floor)).total_B.tolist()
        for floor in (0.0, 0.2)
    )
    assert floored == pytest.approx(whole)


def drawn_groups(n_groups: int) -> tuple[list[Earned], list[int]]:
    """Return groups of 8 with right and wrong answers, 3 steps and 3 key steps each."""
    rng = random.Random(0)
    earned: list[Earned] = []
    while len(earned) < 8 * n_groups:
        chance = rng.choice([0.2, 0.5, 0.8])
        right = [rng.random() < chance for _ in range(8)]
        if len(set(right)) < 2:
            continue
        for a in right:
            found = [rng.randrange(3) if rng.random() < (0.7 if a else 0.35) else None for _ in range(3)]
            shares = [0.1 * found.count(s) / 3 for s in range(3)]
            earned.append(Earned(a, sum(shares), float(rng.random() < 0.6), shares, found))
    return earned, [i // 8 for i in range(8 * n_groups)]


ABOVE = re.compile(r"^\| (`.*?`) \| (.*?) \|$", re.MULTILINE)


def test_how_often_a_token_of_a_wrong_answer_stands_above_one_of_a_right_answer() -> None:
    """Of a response as a whole never; by the table of docs/advantages.md where steps have credit of their own."""
    page = (Path(__file__).resolve().parents[1] / "docs" / "advantages.md").read_text()
    table = page.partition("<!-- above -->\n")[2].partition("<!-- /above -->")[0]
    earned, places = drawn_groups(1000)
    scores, steps = as_tensors(earned)
    rewards_B = torch.tensor([e.correct + e.key_step_share + e.validity for e in earned], dtype=torch.float64)
    groups_B = torch.tensor(places)
    counted = {}
    for words, _ in ABOVE.findall(table):
        node = {
            k: float(v) if v[0].isdigit() else v for k, v in (w.split("=") for w in words.strip("`").split())
        }
        settings = run(combine="answer_first", **node)
        values = advantage.advantages(rewards_B, groups_B, settings, scores=scores, steps=steps).values
        values = values.reshape(1000, -1, values.shape[1])
        right = scores.correct_B.reshape(1000, -1, 1)
        lowest, highest = (
            torch.where(own, values, fill) for own, fill in ((right, torch.inf), (~right, -torch.inf))
        )
        above = highest.flatten(1).amax(1) > lowest.flatten(1).amin(1) + 1e-9
        counted[words] = f"{int(above.sum()):,}"
    assert counted == dict(ABOVE.findall(table))
    assert counted["`credit=trajectory`"] == "0"


def test_where_all_are_right_the_process_counts_at_its_weight() -> None:
    responses = [(1, 1.0, 1), (1, 0.0, 1), (1, 1.0, 0)]
    total = made(responses, [0] * 3, run(combine="answer_first")).total_B.tolist()
    assert total == pytest.approx([0.5 * v for v in z([1.1, 1.0, 0.1])])


@given(BATCH, st.sampled_from(["sum", "component", "answer_first"]), st.randoms())
def test_shuffling_the_batch_shuffles_the_advantages(batch: list, combine: str, rng) -> None:
    order = list(range(len(batch)))
    rng.shuffle(order)
    settings = run(combine=combine, outcome_gate=0.5)
    before = made([r for _, r in batch], [g for g, _ in batch], settings).total_B
    after = made([batch[i][1] for i in order], [batch[i][0] for i in order], settings).total_B
    torch.testing.assert_close(after, before[order], atol=1e-9, rtol=0)


@given(BATCH, st.sampled_from(["sum", "component", "answer_first"]))
def test_the_parts_add_up_and_their_shares_to_one(batch: list, combine: str) -> None:
    groups, responses = [g for g, _ in batch], [r for _, r in batch]
    got = made(responses, groups, run(combine=combine))
    assert got.parts is not None
    assert tuple(got.parts) == COMPONENTS
    whole_B = torch.stack(list(got.parts.values())).sum(0)
    # Whitening takes the batch's mean off, which is 0 but for rounding: each group's is.
    torch.testing.assert_close(whole_B, got.total_B, atol=1e-6, rtol=1e-6)
    real_B = torch.ones(len(batch), dtype=torch.bool)
    found = advantage.shares(got.parts, real_B)
    if got.total_B.abs().max() > 1e-6:
        assert sum(found.values()) == pytest.approx(1.0)
    else:
        assert not found or all(math.isfinite(v) for v in found.values())


def test_shares_by_hand() -> None:
    # Answers vary as 1/4, validity as 1/4, apart from each other: each makes half.
    responses = [(1, 0.0, 1), (1, 0.0, 0), (0, 0.0, 1), (0, 0.0, 0)]
    got = made(responses, [0] * 4, run(alpha=0.0))
    assert got.parts is not None
    assert advantage.shares(got.parts, torch.ones(4, dtype=torch.bool)) == pytest.approx(
        {"answer": 0.5, "key_steps": 0.0, "validity": 0.5}
    )


def test_plain_grpo_whitened_is_component_without_weights() -> None:
    responses = [(1, 1.0, 1), (0, 0.0, 1), (0, 0.0, 0)]
    got = made(responses, [0] * 3, run(combine="component", alpha=0.0, rvr_weight=0.0)).total_B.tolist()
    assert got == pytest.approx(z([1.0, 0.0, 0.0]))


def test_rows_that_only_fill_the_batch_do_not_count_in_the_whitening() -> None:
    earned = [Earned(a, 0.0, 0.0, (), ()) for a in (True, False, False)]
    filling = Earned(True, 0.1, 1.0, (), (), is_real=False)
    settings = run(combine="component")

    def total(rows: list[Earned], groups: list[int]) -> list[float]:
        scores, _ = as_tensors(rows)
        scale = advantage.Scale()
        rewards_B = torch.zeros(len(rows), dtype=torch.float64)
        made = advantage.combined(rewards_B, torch.tensor(groups), settings, scale, scores)
        return made.total_B.tolist()

    assert total([*earned, filling], [0, 0, 0, 1])[:3] == pytest.approx(total(earned, [0, 0, 0]))


def test_what_a_manager_of_ones_own_pays_counts_among_right_answers_too() -> None:
    earned = [Earned(a, 0.0, 1.0, (), ()) for a in (True, True, False, False)]
    scores, _ = as_tensors(earned)
    rewards_B = torch.tensor(
        [2.5, 2.0, 1.5, 1.0], dtype=torch.float64
    )  # half a point for the first and the third
    groups_B = torch.zeros(4, dtype=torch.int64)
    made = advantage.combined(rewards_B, groups_B, run(combine="answer_first"), advantage.Scale(), scores)
    answer = z([1.0, 1.0, 0.0, 0.0])
    own = [0.5 * v for v in z([0.5, 0.0])]
    assert made.total_B.tolist() == pytest.approx([answer[0] + own[0], answer[1] + own[1], *answer[2:]])
