"""Key steps by rules alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verl_stepgrpo import score_response
from verl_stepgrpo.data.key_steps.equations import MAX_EQUATION_CHARS
from verl_stepgrpo.data.key_steps.rules import MAX_KEY_STEPS, MAX_WORDS, rule_key_steps


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
        ("**6/3 = 2", ["6/3 = 2"]),
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
        ("The gcd(12, 18) = 6.", ["gcd(12, 18) = 6"]),
        (
            "P(first red) = 3/8. P(second red | first red) = 2/7.",
            ["P(first red) = 3/8", "P(second red | first red) = 2/7"],
        ),
        ("So gcd of 12 and 18 is 6.", []),
        ("Thus the modulus of a + bi is √(a² + b²).", []),
        (
            "This is Newton's second law. We see Tom's book is in Ann's.",
            ["Newton's second law", "Tom's book", "Ann"],
        ),
        (
            "Adding them we find $\\mathrm{AB} = 9$ and $\\overline{BC} = 10$.",
            ["\\mathrm{AB} = 9", "\\overline{BC} = 10"],
        ),
        ("We pay $20\\%$ of $45$ = $9$.", ["$20\\%$ of $45$ = $9$"]),
        ("再减10元：160-10=150元。所以200×0.8=160元。", ["160-10=150元", "200×0.8=160元"]),
        ("宽是12÷2=6（厘米）。周长是(12+6)×2=36（厘米）。", ["12÷2=6", "(12+6)×2=36"]),
        ("The angles sum to 180°, so 180° - 50° = 130°.", ["180° - 50° = 130°"]),
        ("So 5! = 120, and 5!/(3!*2!) = 10.", ["5! = 120", "5!/(3!*2!) = 10"]),
        ("Hence 0 < x < 4.", ["0 < x < 4"]),
        ("With y = mx + c, the slope is 3.", ["y = mx + c", "slope is 3"]),
    ],
)
def test_what_is_taken_from_a_step(body: str, found: list[str]) -> None:
    assert [wordings[0] for wordings in rule_key_steps(steps(body))] == found


@pytest.mark.parametrize(
    ("body", "found", "written"),
    [
        ("So P = 3/8 * 2/7 = 6/56 = 3/28.", ["3/8 * 2/7 = 6/56"], "P(both red) = 2/7 * 3/8 = 3/28"),
        ("F = 2 * 3 = 6 N", ["2 * 3 = 6"], "The force is 3 × 2 = 6 newtons."),
        ("F = ma = 2 kg * 3 m/s^2 = 6 N", ["F = ma", "2 kg * 3 m/s^2 = 6"], "F = m*a. Then 2 * 3 = 6."),
        ("so 2∠Q = 180° - 50° = 130°.", ["180° - 50° = 130°"], "180 - 50 = 130"),
        ("f(2) = 3*4 - 4 = 8", ["3*4 - 4 = 8"], "4 * 3 - 4 = 8"),
        ("n(A ∪ B) = 12 + 8 - 5 = 15", ["12 + 8 - 5 = 15"], "There are 8 + 12 - 5 = 15."),
        (r"a = \frac{6}{2} = 3", [r"\frac{6}{2} = 3"], "6/2 = 3"),
        ("5!/(3!*2!) = 120/12 = 10", ["5!/(3!*2!) = 120/12"], r"C(5,3) = \frac{5!}{3! \cdot 2!} = 10"),
        ("C(5,3) = 5!/(3!*2!) = 120/12 = 10", ["5!/(3!*2!) = 120/12"], "5!/(3!*2!) = 10"),
        (
            "P(A) = 1 - P(B) = 1 - 0.3 = 0.7",
            ["P(A) = 1 - P(B)", "1 - 0.3 = 0.7"],
            "P(A) = 1 - P(B). 1 - .3 = 0.7",
        ),
        ("AB = CD = 5", ["CD = 5"], "5 = CD"),
        ("再减10元：160-10=150元。", ["160-10=150元"], "160 - 10 = 150"),
        ("2 + 3 = 5 ≈ 5.1", ["2 + 3 = 5"], "3 + 2 = 5"),
    ],
)
def test_of_a_chain_those_links_are_taken_that_a_response_in_other_words_earns(
    body: str, found: list[str], written: str
) -> None:
    key_steps = rule_key_steps(steps(body))
    assert [wordings[0] for wordings in key_steps] == found
    for text in (body, written):
        assert score_response(steps(text), "1", key_steps).key_step_match == 1.0


NAMES = ["P(first red)", "P(A|B)", "C(5,3)", "gcd(12, 18)", "f(2)", "F", "2∠Q", r"\angle B", r"\frac{a}{b}", "x",
         "n(A ∪ B)", "周长是", "|x|"]  # fmt: skip
SIDES = ["3/8 * 2/7", "12 + 8 - 5", r"\frac{6}{2}", "200×0.8", "5!/(3!*2!)", "2 kg * 3 m/s^2", "180° - 50°", "(12+6)×2",
         r"\sqrt{100}", "$4 + $5", "x^{2} + 1"]  # fmt: skip
RESULTS = [
    "3/28",
    "15",
    "3",
    "160元",
    "10",
    "6 N",
    "130°",
    "36（厘米）",
    "18) apples",
    "[0, 5)",
    "50%",
    r"\text{cm}",
]
BETWEEN = [". ", ", ", "。", "；", ": ", "：", " and ", " of ", " (", ") ", "$", "\n", " so that ",
           "By Newton's second law, ", "**", "} ", "3 red apples", "the slope is 3", 'a sign "No, (x"',
           "by Tom's"]  # fmt: skip
TEXTS = st.lists(
    st.one_of(
        st.builds(
            " = ".join, st.tuples(st.sampled_from(NAMES), st.sampled_from(SIDES), st.sampled_from(RESULTS))
        ),
        st.builds("=".join, st.tuples(st.sampled_from(SIDES), st.sampled_from(RESULTS))),
        st.builds(" is ".join, st.tuples(st.sampled_from(NAMES), st.sampled_from(RESULTS))),
        st.sampled_from([*BETWEEN, *BETWEEN, *NAMES, *RESULTS]),
    ),
    max_size=9,
).map("".join)


@settings(deadline=None)
@given(TEXTS)
def test_no_key_step_is_cut_out_of_its_text(body: str) -> None:
    solution = steps(body)
    for key_step in rule_key_steps(solution):
        text = key_step[0]
        assert text.strip() == text
        assert all(text.count(opening) == text.count(closing) for opening, closing in ("{}", "（）")), text
        assert len(re.findall(r"[(\[]", text)) == len(re.findall(r"[)\]]", text)), text
        assert not re.match(r"[,;:.!?，；：。、)=*/]", text), text
        assert not re.search(r"[,;:.?，；：。、(=*/+-]$|['’]s$", text), text
        for place in (solution, steps(text)):
            assert score_response(place, "1", [key_step]).key_step_match == 1.0, text


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
