"""Details behind a value, times, dates and quantities in several units."""

from __future__ import annotations

import pytest

from verl_stepgrpo.judging.answers.judge import judge_answer

RIGHT = [
    ("China (45%)", "China"),
    ("New York (12)", "New York"),
    ("China, with 1.4 billion people", "China"),
    ("China has the highest value.", "China"),
    ("China is the largest.", "China"),
    ("The blue bar has the largest value.", "blue"),
    ("4 objects: 3 cubes and 1 sphere", "4"),
    ("4 (3 cubes and one sphere)", "4"),
    ("45 in 2015", "45"),
    ("45% in 2015", "45%"),
    ("2015 (45%)", "2015"),
    ("In 1776", "1776"),
    ("Smith in 2015", "2015"),
    ("3:30 PM", "3:30 p.m."),
    ("03:30 PM", "3:30 PM"),
    ("15:30", "3:30 PM"),
    ("12:30 AM", "0:30"),
    ("7:00 pm", "7 p.m."),
    ("The train leaves at 3:30 PM.", "3:30 p.m."),
    ("July 4th, 1776", "July 4, 1776"),
    ("4 July 1776", "July 4, 1776"),
    ("1776-07-04", "July 4, 1776"),
    ("4 July", "July 4"),
    ("4th of July", "July 4"),
    ("It was on July 4th, 1776.", "July 4, 1776"),
    ("2 hr 30 min", "2 hours 30 minutes"),
    ("2h 30min", "2 hours 30 minutes"),
    ("2 hours and 30 minutes", "2 hours 30 minutes"),
    ("5 ft 3 in", "5 feet 3 inches"),
    ("between 2010 and 2015", "2010-2015"),
]
WRONG = [
    ("China (45%)", "45%"),
    ("China (India)", "China"),
    ("China, with India", "China"),
    ("India has the highest value.", "China"),
    ("China has the highest value after India.", "China"),
    ("China is not the largest.", "China"),
    ("China is the second largest", "China"),
    ("4 objects: 3 cubes and 1 sphere", "3"),
    ("4 objects: 3 cubes and 2 spheres", "4"),
    ("45 in 2015", "2015"),
    ("5 in 2015 and 7 in 2016", "5"),
    ("2015 (45%)", "45%"),
    ("2015 (45%)", "45"),
    ("12 (14)", "12"),
    ("0.5 (40%)", "0.5"),
    ("3:30 AM", "3:30 PM"),
    ("3:30", "3:30 PM"),
    ("7 p.m.", "7 a.m."),
    ("13:30 PM", "1:30 PM"),
    ("3:30 PM or 4:30 PM", "3:30 PM"),
    ("It is not 3:30 PM.", "3:30 PM"),
    ("July 5", "July 4"),
    ("June 4", "July 4"),
    ("July 4, 1776", "July 4"),
    ("4", "July 4"),
    ("2 hr 40 min", "2 hours 30 minutes"),
    ("2 min 30 s", "2 hours 30 minutes"),
    ("5 ft 4 in", "5 feet 3 inches"),
    ("between 2010 and 2016", "2010-2015"),
]


@pytest.mark.parametrize(("answer", "gold"), RIGHT)
def test_the_same_value_is_right(answer: str, gold: str) -> None:
    assert judge_answer(answer, gold).correct


@pytest.mark.parametrize(("answer", "gold"), WRONG)
def test_another_value_is_wrong(answer: str, gold: str) -> None:
    assert not judge_answer(answer, gold).correct
