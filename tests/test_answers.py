"""Judging the final answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo.judging.answers.judge import judge_answer

RIGHT = [
    ("A. 12", "A", "choice"),
    ("A (12 cm)", "A", "choice"),
    ("Option A", "A", "choice"),
    (r"\boxed{\text{A}}", "A", "text"),
    (r"Each child gets $\boxed{2}$ apples.", "2", "text"),
    ("(1, 2)", "1,2", "list"),
    ("{2, 1}", "{1, 2}", "list"),
    ("2 and 3", "2, 3", "list"),
    ("5 m", "5", "number"),
    ("5", "5 m", "number"),
    ("8", "8", "text"),
    (" 8. ", "8", "text"),
    ("**8**", "8", "text"),
    (r"\boxed{8}", "8", "text"),
    ("Paris", "paris", "text"),
    ("The answer is 8", "8", "text"),
    ("8.0", "8", "number"),
    ("1,234", "1234", "number"),
    ("0.5", "1/2", "number"),
    (r"\frac{1}{2}", "0.5", "number"),
    ("50%", "0.5", "number"),
    ("1e3", "1000", "number"),
    ("−3", "-3", "text"),
    ("$5", "5", "number"),
    ("8 apples", "8", "number"),
    ("8 cm", "8", "number"),
    ("x = 8", "8", "number"),
    ("The sum is 8", "8", "text"),
    ("1/2 cup", "0.5", "number"),
    ("$1,234 dollars", "1234", "number"),
    ("B", "(B)", "choice"),
    ("B. blue", "B", "choice"),
    ("(B) blue", "B", "choice"),
    (r"\sqrt{8}", r"2\sqrt{2}", "symbolic"),
    ("x+1", "1+x", "symbolic"),
]
WRONG = [
    ("(A) (B) (C) (D)", "A"),
    ("(A), (B)", "A"),
    ("(A) and (B)", "A"),
    ("A. B. C. D.", "A"),
    ("A: no wait, B", "A"),
    ("(A) is wrong", "A"),
    ("3!", "3"),
    ("2**3", "23"),
    ("3=2", "2"),
    ("1=2=2", "2"),
    ("5 km", "5 m"),
    ("5 m", "5 cm"),
    ("3:00 pm", "3:00 am"),
    ("2024-01-02", "2021"),
    ("(1,2)", "(2,1)"),
    ("C, A, B", "A, C, B"),
    ("(1, 2)", "[1, 2]"),
    ("1, 2, 3", "1, 2"),
    ("2, 3", "2"),
    ("2 is wrong", "2"),
    ("2 to three", "2"),
    ("at least 2", "2"),
    ("step 2", "2"),
    ("2 apples and three pears", "2"),
    (r"\boxed{2} \boxed{3}", "2"),
    ("9", "8"),
    ("18", "8"),
    ("-8", "8"),
    ("8.01", "8"),
    ("1/3", "0.33"),
    ("A", "B"),
    ("(C) blue", "(B) blue"),
    ("B. blue", "B. red"),
    ("9 apples", "8"),
    ("8x", "8"),
    ("8 million", "8"),
    ("not 8", "8"),
    ("sqrt 8", "8"),
    ("√8", "8"),
    ("3 + 8", "8"),
    ("8 apples and 3 pears", "8"),
    ("7 or 8", "8"),
    ("either A or B", "A"),
    ("London", "Paris"),
    (r"\sqrt{3}", r"\sqrt{2}"),
    ("x+2", "x+1"),
]


@pytest.mark.parametrize(("answer", "gold", "layer"), RIGHT)
def test_an_equivalent_answer_is_right(answer: str, gold: str, layer: str) -> None:
    verdict = judge_answer(answer, gold)
    assert (verdict.correct, verdict.layer) == (True, layer)


@pytest.mark.parametrize(("answer", "gold"), WRONG)
def test_a_different_answer_is_wrong(answer: str, gold: str) -> None:
    verdict = judge_answer(answer, gold)
    assert not verdict.correct
    assert verdict.answered
    assert verdict.reason


@pytest.mark.parametrize("answer", [None, "", "  \n"])
def test_no_answer_is_not_answered(answer: str | None) -> None:
    verdict = judge_answer(answer, "8")
    assert (verdict.correct, verdict.answered) == (False, False)


@pytest.mark.parametrize("gold", ["", " ", "$$", "."])
@pytest.mark.parametrize("answer", ["8", "x", ".", "$$"])
def test_an_empty_reference_matches_nothing(answer: str, gold: str) -> None:
    assert not judge_answer(answer, gold).correct


def test_an_unreadable_expression_is_counted_and_not_passed_off_as_wrong() -> None:
    assert judge_answer("9^9^9^9", "x^2+1").unparseable
    assert not judge_answer("x+2", "x+1").unparseable


@given(st.text(max_size=300), st.text(max_size=50))
def test_nothing_a_model_wrote_raises(answer: str, gold: str) -> None:
    verdict = judge_answer(answer, gold)
    assert isinstance(verdict.correct, bool)


@given(st.integers(-(10**12), 10**12))
def test_an_integer_equals_itself_and_not_its_neighbour(n: int) -> None:
    assert judge_answer(str(n), str(n)).correct
    assert not judge_answer(str(n + 1), str(n)).correct
