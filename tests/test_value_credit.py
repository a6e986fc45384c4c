"""``credit=value``: the outcome's credit step by step, against a slow loop over sets and figures by hand."""

from __future__ import annotations

import random
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo import RunSettings, advantage, score_response
from verl_stepgrpo.advantage import as_tensors
from verl_stepgrpo.advantage.credit import outcome_to_go
from verl_stepgrpo.earned import Earned

MAX_STEPS, KEY_STEPS = 3, 3
RESPONSE = st.integers(0, MAX_STEPS).flatmap(
    lambda n: st.tuples(
        st.booleans(),
        st.just(n),
        st.lists(
            st.sampled_from([None, *range(n)]) if n else st.none(), min_size=KEY_STEPS, max_size=KEY_STEPS
        ),
    )
)
BATCH = st.lists(st.tuples(st.integers(0, 2), RESPONSE), min_size=1, max_size=24)


def earned(right: bool, n_steps: int, found: list[int | None], alpha: float = 0.1) -> Earned:
    shares = [alpha * found.count(s) / max(1, len(found)) for s in range(n_steps)]
    return Earned(right, sum(shares), 0.0, shares, found)


def to_go(batch: list, value_lambda: float = 1.0) -> torch.Tensor:
    scores, steps = as_tensors([earned(*response) for _, response in batch])
    groups_B = advantage.group_ids([group for group, _ in batch])
    return outcome_to_go(scores.correct_B, groups_B, steps, value_lambda)


def state(found: list[int | None], done: int) -> set[int]:
    """What was found by then: of a response that has ended before, all that it found."""
    return {k for k, step in enumerate(found) if step is not None and step < done}


def slow(batch: list, i: int) -> list[float]:
    """The definition, for one response: before each of its steps, and before its answer."""
    group, (right, n_steps, found) = batch[i]
    own = [j for j, (g, _) in enumerate(batch) if g == group]
    out = [float(right) - statistics.fmean(float(batch[j][1][0]) for j in own)]
    for done in range(1, n_steps + 1):
        passing = [
            float(theirs)
            for theirs, _, their_found in (batch[j][1] for j in own if j != i)
            if state(their_found, done) == state(found, done)
        ]
        ahead = (len(own) - 1) / len(own) * (float(right) - statistics.fmean(passing)) if passing else out[-1]
        out.append(ahead)
    return out


@given(BATCH)
def test_it_equals_the_definition_one_response_at_a_time(batch: list) -> None:
    got = to_go(batch)
    for i, (_, (_, n_steps, _)) in enumerate(batch):
        expected = slow(batch, i)
        assert [*got[i, :n_steps].tolist(), float(got[i, -1])] == pytest.approx(expected, abs=1e-9)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, MAX_STEPS)), min_size=1, max_size=24),
    st.floats(0, 1),
)
def test_without_key_steps_found_all_of_it_is_the_trajectorys_however_many_steps_each_has(
    answers: list, value_lambda: float
) -> None:
    batch = [(group, (right, n, [None] * KEY_STEPS)) for group, right, n in answers]
    whole = [
        float(right) - statistics.fmean(float(other) for g, other, _ in answers if g == group)
        for group, right, _ in answers
    ]
    got, decayed = to_go(batch), to_go(batch, value_lambda)
    for i, (advantage_of_whole, (_, _, n)) in enumerate(zip(whole, answers, strict=True)):
        assert got[i].tolist() == pytest.approx([advantage_of_whole] * got.shape[1], abs=1e-12)
        # The other form has it in the answer's tokens alone, and less of it the more steps lie before them.
        expected = [value_lambda ** (n - s) * advantage_of_whole for s in range(n)]
        assert decayed[i, :n].tolist() == pytest.approx(expected, abs=1e-9)
        assert float(decayed[i, -1]) == pytest.approx(advantage_of_whole)


def test_wrong_answers_with_a_step_more_are_no_less_wrong() -> None:
    """What was 0 for the wrong ones' last tokens: no right one has a third step, so none was in their last state."""
    head = "### Image Description:\nx\n### Rationales:\ny\n### Let's think step by step.\n"
    texts = [
        head
        + "".join(f"### Step {i + 1}:\nSo it goes on.\n" for i in range(n))
        + f"### The final answer is: {a}"
        for n, a in ((2, 2), (2, 2), (3, 5), (3, 5))
    ]
    scored = [score_response(text, "2", ["7 apples"]) for text in texts]
    scores, steps = as_tensors([Earned.by(one) for one in scored])
    rewards_B = torch.tensor([one.total for one in scored], dtype=torch.float64)
    settings = RunSettings.from_mapping({"credit": "value"})
    groups_B = torch.zeros(4, dtype=torch.int64)
    found = advantage.advantages(rewards_B, groups_B, settings, scores=scores, steps=steps)
    assert found.values[:2].flatten().tolist() == pytest.approx([0.8660] * 8, abs=1e-4)
    assert found.values[2:].flatten().tolist() == pytest.approx([-0.8660] * 8, abs=1e-4)


def test_a_response_that_has_ended_stays_in_its_last_state() -> None:
    """By hand: three found the key step in the first step, of whom the right one is done behind it."""
    batch = [(0, (True, 1, [0])), (0, (False, 2, [0])), (0, (False, 2, [0])), (0, (True, 2, [None]))]
    got = to_go(batch)
    # Of the two others in the second's state one is right, behind its first step and behind its second.
    assert got[1].tolist() == pytest.approx([-1 / 2, -3 / 4 / 2, -3 / 4 / 2])
    # The first's answer is held against its own last state, (1, found), as the third column says.
    assert got[0].tolist() == pytest.approx([1 / 2, 3 / 4, 3 / 4])
    # In the fourth's state is no other: it keeps the group's mean.
    assert got[3].tolist() == pytest.approx([1 / 2] * 3)


def test_a_later_list_takes_back_what_an_earlier_step_found_as_the_page_says() -> None:
    def found(last: str) -> list[int | None]:
        text = f"### Step 1:\nx = 2\n### Step 2:\nSo it is.\n### Step 3:\n{last}\n### The final answer is: 2"
        return list(Earned.by(score_response(text, "2", ["x = 2"])).found)

    assert found("Done.") == [0]
    assert found(", ".join(f"x = {i}" for i in range(1, 7))) == [None]


@given(BATCH, st.lists(st.integers(0, 2), min_size=1, max_size=6))
def test_what_others_find_behind_a_responses_end_does_not_change_its_credit(batch: list, more: list) -> None:
    """One group: the first has ended behind one step; what the others do from the second on is no matter of its own."""
    batch = [(0, (True, 1, [0, None, None]))] + [(0, one) for _, one in batch]
    later = [
        (0, (right, n + 2, [(n + 1 if k in more and f is None else f) for k, f in enumerate(found)]))
        if n >= 1
        else (0, (right, n, found))
        for _, (right, n, found) in batch[1:]
    ]
    assert to_go(batch)[0, :2].tolist() == pytest.approx(to_go([batch[0], *later])[0, :2].tolist(), abs=1e-12)
    assert float(to_go(batch)[0, -1]) == pytest.approx(float(to_go([batch[0], *later])[0, -1]), abs=1e-12)


@given(BATCH)
def test_what_single_steps_gained_adds_up_to_the_trajectorys(batch: list) -> None:
    got = to_go(batch, 0.0)
    for i, (group, (right, n, _)) in enumerate(batch):
        mean = statistics.fmean(float(r[0]) for g, r in batch if g == group)
        assert float(got[i, :n].sum() + got[i, -1]) == pytest.approx(float(right) - mean, abs=1e-9)


@given(BATCH, st.floats(0, 1), st.randoms())
def test_shuffling_the_batch_shuffles_the_credit(
    batch: list, value_lambda: float, rng: random.Random
) -> None:
    order = list(range(len(batch)))
    rng.shuffle(order)
    torch.testing.assert_close(
        to_go([batch[i] for i in order], value_lambda), to_go(batch, value_lambda)[order], atol=1e-9, rtol=0
    )


def test_more_key_steps_than_one_number_holds_are_told_apart() -> None:
    n = 70
    first, last = [None] * n, [None] * n
    first[0], last[n - 1] = 0, 0  # type: ignore[call-overload]
    batch = [(0, (i % 2 == 0, 1, found)) for found in (first, last) for i in range(4)]
    batch[0] = (0, (False, 1, first))
    got = to_go(batch)
    # Of the other three of the first four one is right, of those of the last four one or two.
    assert float(got[0, 1]) == pytest.approx(7 / 8 * (0 - 1 / 3))
    assert float(got[4, 1]) == pytest.approx(7 / 8 * (1 - 1 / 3))


# All find the first key step; half find the second, of whom three of four are right, as one of the others is.
EIGHT = [(True, [0, 1])] * 3 + [(False, [0, 1])] + [(True, [0, None])] + [(False, [0, None])] * 3


def advantages(**node: object) -> torch.Tensor:
    settings = RunSettings.from_mapping({"credit": "value", **node})
    rows = [earned(right, 2, found, settings.reward.alpha) for right, found in EIGHT]
    scores, steps = as_tensors(rows)
    rewards_B = torch.tensor([e.correct + e.key_step_share for e in rows], dtype=torch.float64)
    return advantage.advantages(
        rewards_B, torch.zeros(8, dtype=torch.int64), settings, scores=scores, steps=steps
    ).values


def test_the_step_that_changes_the_chances_is_told_from_the_others() -> None:
    values = advantages(alpha=0)
    std = statistics.stdev([float(right) for right, _ in EIGHT])
    # Before step 2 all have found the first key step, and half of them come out right: as before step 1.
    assert (std * values[:, 0]).tolist() == pytest.approx([0.5] * 3 + [-0.5, 0.5] + [-0.5] * 3)
    torch.testing.assert_close(values[:, 1], values[:, 0])
    # Behind it a right answer was to be expected of the first four, and a wrong one of the last four.
    expected = [7 / 8 * (1 - 2 / 3)] * 3 + [-7 / 8, 7 / 8] + [-7 / 8 / 3] * 3
    assert (std * values[:, 2]).tolist() == pytest.approx(expected)


def test_the_gains_alone_credit_the_step_that_changed_the_chances() -> None:
    values, whole = advantages(alpha=0, value_lambda=0), advantages(alpha=0)
    assert values[:, 0].abs().max() < 1e-9  # all found the first key step there
    torch.testing.assert_close(values[:, 1], whole[:, 1] - whole[:, 2])
    assert (values[:4, 1] > 0).all()
    assert (values[4:, 1] < 0).all()


def test_it_composes_with_how_components_are_combined() -> None:
    for combine in ("sum", "component", "answer_first"):
        values = advantages(combine=combine)
        trajectory = advantages(combine=combine, credit="trajectory")
        torch.testing.assert_close(values[:, :1], trajectory)
        assert not torch.allclose(values[:, -1], values[:, 0])
