"""Key steps by rules alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo import score_response
from verl_stepgrpo.data.key_steps.rules import MAX_EQUATION_CHARS, MAX_KEY_STEPS, MAX_WORDS, rule_key_steps


def steps(*bodies: str) -> str:
    return "".join(f"### Step {i}:\n{body}\n" for i, body in enumerate(bodies, start=1))


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("So 6 divided by 3 equals 2.", ["6 divided by 3 equals 2"]),
        ("Hence \\( \\frac{6}{3} = 2 \\).", ["\\frac{6}{3} = 2"]),
        ("Since ∠ABC = 90°, x + 2y < 10 and so y > 3.", ["∠ABC = 90°", "x + 2y < 10", "y > 3"]),
        ("There are 3 children and 6 red apples.", ["3 children", "6 red apples"]),
        ("This is the Pythagorean Theorem.", ["Pythagorean Theorem"]),
        ('The bar labelled "New York" is the tallest.', ["New York"]),
        ("The value is 3.5 metres, not more.", ["3.5 metres"]),
        ("Nothing of note here.", []),
        ("Calculate angle 2 = 90° - angle 1.", []),
        ("Angle 1 = 32° and ∠2 = 58°, so x = -3.", ["∠2 = 58°", "x = -3"]),
        ("The total * 3 = 12 of them.", []),
        ("- 6/3 = 2", ["6/3 = 2"]),
        ("So the first digit is 3.", ["first digit is 3"]),
        (
            "The slope is -2, and its radius equals 5 cm since it is round.",
            ["slope is -2", "radius equals 5 cm"],
        ),
        ("Thus the median is $24$ and the mean is \\(7.5\\).", ["median is $24$", "mean is \\(7.5\\)"]),
        ("We see slope is 2.", ["slope is 2"]),
        ("As it lies between 300 and 399, the first digit is 3.", ["first digit is 3"]),
        ("The probability of drawing a spade is 0.25. The level in this test is 0.05.", []),
        ("The sum of its interior angles is 900°.", ["900°"]),
        ("The count is 5! and the ratio is 2:3.", []),
        ("The card is a 4. The unknown is one and a half.", []),
        ("So $\\text{mean} = 14$.", []),
        ("The yearly rainfall is 1200 mm.", ["1200 mm"]),
        ("The sum of the digits is 12.", []),
        ("The area of the circle is 9.", []),
        ("The answer is 3.", []),
        ("It is 3.", []),
        ("The ratio is 3 to 1, the sum is 3 or 4.", []),
        ("The total is 12 apples.", ["12 apples"]),
        ("The first digit is not 3.", []),
        ("The mean is 3 + x.", []),
        ("The left blue bar is 3.", []),
        ("The mean is 3 and 1/2.", []),
    ],
)
def test_what_is_taken_from_a_step(body: str, found: list[str]) -> None:
    assert [wordings[0] for wordings in rule_key_steps(steps(body))] == found


def test_equations_come_first_and_nothing_comes_twice() -> None:
    solution = steps("There are 3 children.", "There are 3 children. 6/3 = 2", "Again 6/3=2 for 3 children.")
    assert rule_key_steps(solution) == [("6/3 = 2",), ("3 children",)]


def test_only_the_steps_are_read() -> None:
    text = "### Image Description:\n3 children\n### Rationales:\n6/3 = 2\n### The final answer is: 2 + 2 = 4"
    assert rule_key_steps(text) == []


@pytest.mark.parametrize(
    ("solution", "found"),
    [
        ("Each box has 4 apples. 3 * 4 = 12. So he has 12 apples.", ["3 * 4 = 12", "4 apples", "12 apples"]),
        ("<think>\nAs 2 + 3 = 5, x = 5.\n</think>\n<answer>5 = 5</answer>", ["2 + 3 = 5", "x = 5"]),
        (
            "**Step 1:** 3 * 3 = 9\n**Step 2:** 9 + 1 = 10\n**Final answer:** y = 10",
            ["3 * 3 = 9", "9 + 1 = 10"],
        ),
        ("#### Thoughts\n6/3 = 2\n\\boxed{2}", ["6/3 = 2"]),
    ],
)
def test_a_solution_without_section_headers_has_steps_too(solution: str, found: list[str]) -> None:
    assert [wordings[0] for wordings in rule_key_steps(solution)] == found


def test_the_solution_itself_has_all_of_them() -> None:
    solution = steps(
        "There are 12 eggs in 3 boxes.", "12/3 = 4 eggs a box, so x = 4.", "In total 4 * 5 = 20."
    )
    solution += "### The final answer is: 20"
    assert score_response(solution, "20", rule_key_steps(solution)).key_step_match == 1.0


@given(st.lists(st.text(max_size=120), max_size=4))
def test_any_text_keeps_to_the_wording_rules(bodies: list[str]) -> None:
    solution = steps(*bodies)
    key_steps = rule_key_steps(solution)
    assert len(key_steps) <= MAX_KEY_STEPS
    for (wording,) in key_steps:
        assert wording in solution
        assert len(wording.split()) <= MAX_WORDS or len(wording) <= MAX_EQUATION_CHARS


def test_the_published_table_is_what_the_benchmark_gives() -> None:
    import contextlib
    import io
    import re

    import key_step_rules

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        key_step_rules.main()
    page = (Path(key_step_rules.__file__).parent / "README.md").read_text()
    assert re.findall(r"<!-- rules -->\n(.*?)<!-- /rules -->", page, re.DOTALL) == [printed.getvalue()]
    assert "0 break a wording rule" in page
