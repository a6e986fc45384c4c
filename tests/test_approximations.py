"""An answer that says its value twice, exactly and rounded, is one answer where both are one value."""

from __future__ import annotations

import pytest

from verl_stepgrpo.judging.answers.judge import judge_answer

ONE_VALUE = [
    (r"\sqrt{2} \approx 1.41", r"\sqrt{2}", "1.41"),
    (r"The distance is $\sqrt{13} \approx 3.61$.", r"\sqrt{13}", "3.61"),
    (r"x = \frac{20}{3} \approx 6.67", "20/3", "6.67"),
    (r"\sqrt{2} ≈ 1.41421 ≈ 1.41", r"\sqrt{2}", "1.41"),
    (r"20/3 = 6.67 ≈ 6.7", "6.67", "6.7"),
    ("2/3 ≈ 0.667", "2/3", "0.667"),
    ("5/9 ≈ 55.6%", "5/9", "55.6%"),
    ("5.567 ≈ 5.57", "5.567", "5.57"),
    ("7.07 ≈ 7", "7.07", "7"),
    ("12.566 cm ≈ 12.57 cm", "12.566 cm", "12.57 cm"),
    (r"36\pi cm^2 \approx 113.1 cm^2", r"36\pi cm^2", "113.1 cm^2"),
    ("1,234,567 ≈ 1.23 million", "1234567", "1.23 million"),
    ("6.022 * 10^{23} ≈ 6.02 * 10^{23}", "6.022 * 10^{23}", "6.02 * 10^{23}"),
    ("1/3 (0.333)", "1/3", "0.333"),
    ("1/3 (about 0.33)", "1/3", "0.33"),
    (r"\sqrt{2} cm (approximately 1.41 cm)", r"\sqrt{2} cm", "1.41"),
    (r"The ratio is $\frac{2}{3}$ (≈ 0.667).", "2/3", "0.667"),
]
TWO_VALUES = [
    ("42 ≈ 43", "42", "43"),
    ("21 ≈ 20", "21", "20"),
    ("41 ≈ 42 ≈ 43", "41", "42", "43"),
    ("3 = 7.07 ≈ 7", "3", "7.07", "7"),
    ("1900 ≈ 1990", "1900", "1990"),
    ("$20 ≈ $21", "$20", "$21"),
    ("50% ≈ 52%", "50%", "52%"),
    (r"\boxed{20 \approx 21}", "20", "21"),
    ("5 cm ≈ 5 m", "5 cm", "5 m"),
    ("3/4 ≈ 0.78", "3/4", "0.78"),
    ("3+4 ≈ 9", "7", "9"),
    ("2*6 ≈ 17", "12", "17"),
    (r"\sqrt{49} ≈ 9", "7", "9"),
    (r"\sqrt{2} \approx 17", r"\sqrt{2}", "17"),
    (r"2\pi \approx 6.29", r"2\pi", "6.29"),
    ("(1,2) ≈ (3,4)", "(1,2)", "(3,4)"),
    ("3:4 ≈ 4:3", "3:4", "4:3"),
    ("10-20 ≈ 20-30", "10-20", "20-30"),
    ("3:30 PM ≈ 4:30 PM", "3:30 PM", "4:30 PM"),
    ("July 4 ≈ July 5", "July 4", "July 5"),
    (r"no \approx yes", "no", "yes"),
    ("cat ≈ dog", "cat", "dog"),
    ("1/3 (0.4)", "1/3", "0.4"),
    ("5 cm (5.0 m)", "5 cm", "5.0 m"),
    ("12 ≈ A", "12", "A"),
    ("not ≈ 12", "12"),
]


@pytest.mark.parametrize(("answer", "exact", "rounded"), ONE_VALUE)
def test_either_side_is_the_answer(answer: str, exact: str, rounded: str) -> None:
    assert judge_answer(answer, exact).correct
    assert judge_answer(answer, rounded).correct


@pytest.mark.parametrize("case", TWO_VALUES, ids=lambda case: case[0])
def test_two_values_are_no_answer(case: tuple[str, ...]) -> None:
    answer, *golds = case
    assert not any(judge_answer(answer, gold).correct for gold in golds)


def test_a_name_in_front_is_none_of_the_sides() -> None:
    for answer in (r"x \approx 1.73", "AB ≈ 1.73", "The height of it, h, ≈ 1.73", "≈ 1.73"):
        assert judge_answer(answer, "1.73").correct


def test_an_exact_side_without_a_value_here_is_the_answer_by_itself() -> None:
    assert judge_answer(r"\ln 2 \approx 0.693", r"\ln 2").correct
    assert not judge_answer(r"\ln 7 \approx 12", "12").correct
    assert not judge_answer(r"\ln 2 \approx 0.693 \approx 12", r"\ln 2").correct


@pytest.mark.parametrize(
    "remark", ["rounded", "approx.", "approximately", "exact", "rounded to the nearest cm"]
)
def test_how_precise_an_answer_is_may_stand_behind_it(remark: str) -> None:
    assert judge_answer(f"5 cm ({remark})", "5 cm").correct
    assert not judge_answer(f"6 cm ({remark})", "5 cm").correct


@pytest.mark.parametrize("word", ["maybe", "wrong", "dozen", "guess"])
def test_another_word_behind_it_is_no_such_remark(word: str) -> None:
    assert not judge_answer(f"5 cm ({word})", "5 cm").correct
