"""An answer that says several values, or one value of several units, is none; one value said twice is one."""

from __future__ import annotations

import pytest

from verl_stepgrpo.judging.answers.judge import judge_answer

SEVERAL = [
    ("5 cm or 5 m", "5 cm", "5 m", "5"),
    ("$5 or €5", "$5", "€5", "5"),
    ("5 cm (5 m)", "5 cm", "5 m"),
    ("5 cm | 5 m", "5 cm", "5 m"),
    (r"5 cm \\ 5 m", "5 cm", "5 m"),
    ("5 m/5 cm/", "5 cm", "5 m"),
    ("5 g 7 kg", "5 g", "5 kg", "7 kg"),
    ("5 cm, otherwise 7 cm", "5 cm", "7 cm"),
    ("1 | 2 | 3 | 4", "1", "2", "3", "4"),
    ("12|14", "12", "14"),
    ("x = 2 or x = 3", "2", "3"),
    ("either x = 2 or x = 3", "2", "3"),
    (r"\boxed{x = 2 \text{ or } x = 3}", "2", "3"),
    ("cost = $5 or cost = $7", "$5", "$7"),
    ("x = 5 but x = 7", "5", "7"),
    ("answer = 5 or answer = 7", "5", "7"),
    ("12 = x = 14", "12", "14"),
    ("Option A; option B; option C", "A", "B", "C"),
]
ONE = [
    ("5 cm or 5", "5 cm"),
    ("1/2 or 0.5", "0.5"),
    ("$5 or 5 dollars", "$5"),
    ("2|x|", "|2x|"),
    ("|x| + |y|", "|y| + |x|"),
    ("5 m, as the ruler shows", "5 m"),
    ("x = 2 or x = 3", "2, 3"),
    ("x = y = 14", "14"),
    ("12 + 5 = 17 and 17 + 3 = 20", "20"),
    ("area = 2 * 6 = 12 and so the area = 12", "12"),
    ("She has 3 * 4 = 12 apples and Tom has 12 + 2 = 14 apples", "14"),
]


@pytest.mark.parametrize("case", SEVERAL, ids=lambda case: case[0])
def test_several_values_are_no_answer(case: tuple[str, ...]) -> None:
    answer, *golds = case
    assert not any(judge_answer(answer, gold).correct for gold in golds)


@pytest.mark.parametrize(("answer", "gold"), ONE)
def test_one_value_is_an_answer(answer: str, gold: str) -> None:
    assert judge_answer(answer, gold).correct
