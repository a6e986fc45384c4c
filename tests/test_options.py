"""What the choices of a question decide: a letter against a text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo import DataError, compute_score, score_response
from verl_stepgrpo.adapters.batch import score_batch
from verl_stepgrpo.judging.answers.judge import judge_answer
from verl_stepgrpo.judging.answers.options import choices_in, choices_of, parse_choices
from verl_stepgrpo.settings import RewardSettings

COLOURS = {"A": "red", "B": "blue", "C": "dark blue", "D": "12 cm"}

RIGHT = (
    ("B", "blue"),
    ("B", "Blue."),
    ("B", "The answer is blue."),
    ("(B)", "blue"),
    ("B", "(B) blue"),
    ("B", "B"),
    ("B", "blue (B)"),
    ("blue", "B"),
    ("blue", "(B)"),
    ("blue", "The answer is (B)."),
    ("blue", "(B) blue"),
    ("blue", "blue"),
    ("D", "12 cm"),
    ("D", "12"),
    ("12 cm", "D"),
    ("(B) blue", "B"),
    ("(B) blue", "blue"),
)
WRONG = (
    ("B", "red"),
    ("B", "dark blue"),
    ("B", "(A) blue"),
    ("B", "(B) red"),
    ("B", "blue (A)"),
    ("B", "(B) dark blue"),
    ("B", "blue or red"),
    ("B", "not blue"),
    ("B", "green"),
    ("blue", "A"),
    ("blue", "(C)"),
    ("blue", "(A) blue"),
    ("blue", "(B) red"),
    ("blue", "B or C"),
    ("D", "13 cm"),
    ("12 cm", "(B) 12 cm"),
    ("(B) blue", "(A) blue"),
)


@pytest.mark.parametrize(("gold", "answer"), RIGHT)
def test_a_letter_and_its_text_agree(gold: str, answer: str) -> None:
    verdict = judge_answer(answer, gold, choices=COLOURS)
    assert verdict.correct, verdict


@pytest.mark.parametrize(("gold", "answer"), WRONG)
def test_another_choice_is_refused(gold: str, answer: str) -> None:
    verdict = judge_answer(answer, gold, choices=COLOURS)
    assert not verdict.correct, verdict


def test_the_reason_is_said() -> None:
    reasons = {
        ("B", "blue"): "the text of choice B",
        ("blue", "B"): "the letter of that choice: B",
        ("B", "(B) red"): "the letter of one choice, B, with the text of another, A",
    }
    for (gold, answer), reason in reasons.items():
        verdict = judge_answer(answer, gold, choices=COLOURS)
        assert (verdict.layer, verdict.reason) == ("choice", reason)


def test_a_text_that_two_choices_have_decides_nothing() -> None:
    assert not judge_answer("blue", "B", choices={"A": "blue", "B": "blue"}).correct
    assert not judge_answer("B", "A", choices={"A": "B", "B": "C"}).correct
    assert judge_answer("(B) blue", "B", choices={"A": "blue", "B": "blue"}).correct


def test_a_letter_that_is_no_choice_is_judged_as_without() -> None:
    assert not judge_answer("blue", "E", choices=COLOURS).correct
    assert judge_answer("E", "E", choices=COLOURS).correct


QUESTIONS = {
    "Which? (A) red (B) blue (C) green": ("red", "blue", "green"),
    "Which?\nA. red\nB. blue\nAnswer in steps.": ("red", "blue"),
    "Which?\nChoices:\n(A) red\n(B) blue\n\nFirst describe the image.": ("red", "blue"),
    "Which?\nA) 1\nB) 2\nC) 3\nD) 4": ("1", "2", "3", "4"),
    "Which? A. red B. blue": ("red", "blue"),
    "Which?\nA: red\nB: blue": ("red", "blue"),
    "How long? ()\nChoices:\nA:2\nB:√{3}": ("2", "√{3}"),
    "Which?\nOptions: A: red, B: blue": ("red", "blue"),
    "A. red;B. blue; C. green": ("red", "blue", "green"),
    "Example: (A) 1 (B) 2. Now: (A) 3 (B) 4": ("3", "4"),
    "Which? (A) red (C) blue": (),
    "How many apples has A. Smith?": (),
    "Point (A) is at 3.": (),
    "": (),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_choices_are_read_where_a_question_lists_them(question: str) -> None:
    assert tuple(choices_in(question).values()) == QUESTIONS[question]
    assert "".join(choices_in(question)) == "ABCD"[: len(QUESTIONS[question])]


@pytest.mark.parametrize(
    "value",
    [
        ["red", "blue"],
        ["(A) red", "B. blue"],
        np.array(["red", "blue"]),
        {"A": "red", "B": "blue", "C": None},
        {"label": ["A", "B"], "text": ["red", "blue"]},
        '["red", "blue"]',
        "['red', \"blue\"]",
        '{"(a)": "red", "(b)": "blue"}',
        "A. red;B. blue",
    ],
)
def test_a_row_may_have_them_in_several_forms(value: Any) -> None:
    assert parse_choices(value) == {"A": "red", "B": "blue"}
    assert choices_of({"choices": value}, "Which? (A) 1 (B) 2") == {"A": "red", "B": "blue"}


@pytest.mark.parametrize("value", [None, "", [], {}])
def test_none_are_none(value: Any) -> None:
    assert parse_choices(value) == {}


@pytest.mark.parametrize(
    "value",
    [
        "red",
        3,
        {"first": "red"},
        [["red"]],
        {"A": ["red"]},
        {"label": 1, "text": ["red"]},
        {"label": ["A"], "text": None},
    ],
)
def test_another_type_is_refused(value: Any) -> None:
    with pytest.raises(DataError, match=r"extra_info\.choices is .*; expected a list of texts, or an object"):
        parse_choices(value)


@given(st.text(alphabet="ABC().: \nred"))
def test_no_question_raises(question: str) -> None:
    letters = "".join(choices_in(question))
    assert "ABCDEFGHIJ".startswith(letters)
    assert len(letters) != 1


RESPONSE = "### Step 1:\nIt is like the sky.\n### The final answer is: blue"


def test_they_reach_the_reward_by_every_way() -> None:
    question = "Which colour? (A) red (B) blue"
    assert not score_response(RESPONSE, "B").answer.correct
    assert score_response(RESPONSE, "B", choices=["red", "blue"]).answer.correct
    for extra_info in ({"choices": ["red", "blue"]}, {"question": question}):
        assert compute_score("d", RESPONSE, "B", extra_info)["acc"] == 1
        assert compute_score("d", "So the answer is blue.", "B", extra_info)["acc_flexible"] == 1
    settings = RewardSettings(alpha=0)
    for columns in (
        {"choices": [["red", "blue"]]},
        {"extra_info": [{"question": question}]},
        {"prompts": [question]},
        {"prompts": [[{"role": "user", "content": question}]]},
    ):
        (scored,) = score_batch([RESPONSE], {"answer": ["B"], **columns}, settings)
        assert scored.answer.correct, columns
