"""Answers and key steps that were once paid wrongly: none of them is."""

from __future__ import annotations

import judging
import pytest

ATTACKS = judging.load("attacks.jsonl")


@pytest.mark.parametrize(
    "case",
    [case for case in ATTACKS if "gold" in case],
    ids=lambda case: f"{case['gold']} <- {case['answer']}",
)
def test_a_wrong_or_hedged_answer_is_refused(case: dict) -> None:
    assert not judging.judges_answer(case)


@pytest.mark.parametrize(
    "case",
    [case for case in ATTACKS if "step" in case],
    ids=lambda case: f"{case['key_step'][0]} <- {case['step'][:40]}",
)
def test_a_key_step_that_is_not_stated_is_not_found(case: dict) -> None:
    assert not judging.matches_key_step(case)
