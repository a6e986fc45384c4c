"""The letter of a choice and what is said beside it: a text of the choices, or an explanation that names others."""

from __future__ import annotations

import pytest

from verl_stepgrpo import score_response
from verl_stepgrpo.judging.answers.judge import judge_answer

COLOURS = dict(zip("ABCD", ("blue", "red", "green", "yellow"), strict=True))
NUMBERS = dict(zip("ABCD", ("10", "12", "14", "16"), strict=True))
LENGTHS = dict(zip("ABCD", ("10 cm", "12 cm", "12 m", "none of these"), strict=True))

BESIDE = (
    "{letter}\n{text}",
    "{letter}\n\n{text}.",
    "({letter})\n{text}",
    "{letter}.\n{text}",
    "**{letter}**\n\n{text}",
    "The answer is {letter}\n{text}",
    "Option {letter}\n{text}",
    "{letter}\nThe answer is {text}",
    "{letter} is {text}",
    "({letter}) {text}",
    "{letter}. {text}",
    "{text} ({letter})",
    "{text} which is {letter}",
    "{text} because ({letter})!",
    "{text}, so {letter}",
)
SAYS_RED = ("{}. The car is red", "Option {}: the car is red", "{}\n\nThe car is red.", "{} is red")


@pytest.mark.parametrize("answer", BESIDE)
def test_a_letter_and_a_text_have_to_be_of_one_choice(answer: str) -> None:
    for choices, right, wrong in ((COLOURS, "red", "blue"), (NUMBERS, "12", "10")):
        agree = answer.format(letter="B", text=right)
        contradict = answer.format(letter="A", text=right)
        for gold in ("B", right):
            assert judge_answer(agree, gold, choices=choices).correct, (agree, gold)
        for gold in ("A", "B", wrong, right):
            assert not judge_answer(contradict, gold, choices=choices).correct, (contradict, gold)


@pytest.mark.parametrize("answer", SAYS_RED)
def test_a_sentence_beside_a_letter_may_say_the_text(answer: str) -> None:
    assert judge_answer(answer.format("B"), "B", choices=COLOURS).correct
    for gold in ("A", "B", "blue", "red"):
        assert not judge_answer(answer.format("A"), gold, choices=COLOURS).correct


def test_other_texts_beside_a_letter_are_refused() -> None:
    assert not judge_answer("A. blue or red", "A", choices=COLOURS).correct
    assert not judge_answer("A. blue red green", "A", choices=COLOURS).correct
    assert judge_answer("A. blue, not red", "A", choices=COLOURS).correct
    assert not judge_answer("B. 13", "B", choices=NUMBERS).correct
    assert judge_answer("B. 10 + 2 = 12", "B", choices=NUMBERS).correct
    assert judge_answer("B. Like a rose", "B", choices=COLOURS).correct


FORMULAS = {
    "A": "O(1)",
    "B": "O(n^2)",
    "C": "A/(A+B)",
    "D": r"$- j(1 / k \pi)$",
    "E": r"$- j(2 / k \pi)$",
    "F": "([1-9][0-9]*)|0",
}


@pytest.mark.parametrize("letter", FORMULAS)
@pytest.mark.parametrize("other", FORMULAS)
def test_a_formula_beside_a_letter_is_whole(letter: str, other: str) -> None:
    answer = f"({letter}) {FORMULAS[other]}"
    for gold in (letter, FORMULAS[other]):
        assert judge_answer(answer, gold, choices=FORMULAS).correct == (letter == other)


def test_a_number_without_the_unit_that_tells_two_choices_apart_is_neither() -> None:
    for gold in ("B", "C", "12 cm", "12 m"):
        assert not judge_answer("12", gold, choices=LENGTHS).correct
    assert judge_answer("12 m", "C", choices=LENGTHS).correct
    assert judge_answer("12 meters", "C", choices=LENGTHS).correct
    assert judge_answer("10", "A", choices=LENGTHS).correct
    assert judge_answer("B. 12", "B", choices=LENGTHS).correct


EXPLAINED = [
    ("B\n\nThe figure shows that angle C is 40°, so option C is wrong.", "B"),
    ("D\n\nA is too small, B is too large.", "D"),
    ("B\n\nOption B is right, option C is wrong.", "B"),
    ("B\n\nThis is because the triangle has 3 sides.", "B"),
    (r"$\boxed{(A)}$, not $(B)$.", "A"),
    (r"Hence the correct option is $\boxed{(A)}$, not $(B)$.", "A"),
    ("The best answer is (C) green, since (A) red is too warm.", "C"),
    ("(B) since (A) is wrong", "B"),
    ("C and not D", "C"),
    ("C because A and B are excluded.", "C"),
]
ANOTHER = [
    ("B\n\nThe answer is C.", "C"),
    ("B\n\nWait, it is C.", "C"),
    ("B\n\nMaybe C", "C"),
    ("B\nC", "C"),
    ("A\nB\nC\nD", "D"),
    ("B\n\nOption B is wrong, option C is right.", "C"),
    ("B\n\nOption B is wrong.", "C"),
    ("(B) because of x. (C) because of y", "C"),
    ("(B), since it is blue, or (C)", "C"),
]


@pytest.mark.parametrize(("answer", "gold"), EXPLAINED)
def test_an_explanation_may_name_other_choices(answer: str, gold: str) -> None:
    for other in "ABCD":
        assert judge_answer(answer, other).correct is (other == gold)


@pytest.mark.parametrize(("answer", "other"), ANOTHER)
def test_an_explanation_that_takes_another_choice_leaves_none(answer: str, other: str) -> None:
    assert not judge_answer(answer, answer.strip("(")[0]).correct
    assert not judge_answer(answer, other).correct


def test_a_choice_that_a_response_calls_correct_is_its_answer() -> None:
    for response, other in (
        ("It is like the sky.\n\nTherefore, option **C** is correct.", False),
        ("So option (C) is the right one.", False),
        ("The answer is D. Then choice C is best.", False),
        ("I doubt that option C is correct.", True),
        ("Option C is correct if it rains.", True),
        ("Option C is correct. The answer is D.", True),
    ):
        assert score_response(response, "C", (), format="plain").answer.correct is not other, response
