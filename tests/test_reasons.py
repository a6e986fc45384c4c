"""Every verdict on an answer says why, in one line for a person."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from verl_stepgrpo.judging.answers.judge import judge_answer

DATA = Path(__file__).parent / "data"
MAX_CHARS = 220
REASONS = [
    ("B", "(C) blue", "the letters differ: C, B"),
    ("B", "(B) No", "the letters agree: B"),
    ("(B) blue", "(B) red", "the letters agree, the texts differ: red, blue"),
    ("ACD", "A, C", "the letters differ: AC, ACD"),
    ("B", "(B) or (C)", "the answer names more than one choice, or takes it back"),
    ("2", "2 or 3", "the answer leaves a choice ('or')"),
    ("5 kg", "5 m", "the units differ: m, kg"),
    ("5 kg", "6", "6 does not equal 5 kg"),
    ("17", "There are 25 - 8 = 17 nice oranges.", "17 equals 17"),
    ("18", "There are 25 - 8 = 17 nice oranges.", "17 does not equal 18"),
    ("10-20", "20-30", "the ranges differ: 20-30, 10-20"),
    ("10-20", "15", "the reference is a range, the answer none"),
    ("3:2", "4:3", "the ratios differ: 4:3, 3:2"),
    ("24 cm × 16 cm", "12 cm × 32 cm", "the factors differ: 12 cm * 32 cm, 24 cm * 16 cm"),
    ("(1, 2)", "(1, 3)", "an element differs: 3, 2"),
    ("{1, 2}", "{1, 3}", "an element that the reference has not: 3"),
    ("(1, 2)", "(1, 2, 3)", "3 elements, the reference has 2"),
    ("[0, 1)", "[0, 1]", "the brackets differ: [], [)"),
    ("yes", "no", "it says no, the reference yes"),
    ("yes", "yes, but only if n is even", "yes under a condition only"),
    ("blue", "dark blue", "the texts differ: dark blue, blue"),
    ("x > 2", "x = 2", "an inequality is not a value"),
    ("x + 1", "x + 2", "different by algebra: x + 2, x + 1"),
    ("x + 1", "a tree", "the answer is no expression: a tree"),
    ("2", "3 = 2", "the sides of the equation differ"),
    ("2", "", "no final answer was given"),
]


@pytest.mark.parametrize(("gold", "answer", "reason"), REASONS)
def test_the_reason_names_what_agrees_or_differs(gold: str, answer: str, reason: str) -> None:
    assert judge_answer(answer, gold).reason == reason


def test_every_reason_is_one_short_line() -> None:
    cases = [json.loads(line) for file in ("answers.jsonl", "attacks.jsonl") for line in (DATA / file).open()]
    reasons = {judge_answer(case["answer"], case["gold"]).reason for case in cases if "answer" in case}
    assert len(reasons) > 500
    assert all(0 < len(reason) <= MAX_CHARS and "\n" not in reason for reason in reasons)


def test_the_reason_of_a_long_answer_is_short() -> None:
    verdict = judge_answer("The long story of the tree\n" * 15, "blue")
    assert len(verdict.reason) <= MAX_CHARS
    assert "\n" not in verdict.reason
