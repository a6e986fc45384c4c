"""Whether the equations that steps state are true."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo import ConfigError, RewardSettings, score_response
from verl_stepgrpo.judging.key_steps.calculations import Equation, equations_of
from verl_stepgrpo.judging.key_steps.calculations.values import shown
from verl_stepgrpo.judging.key_steps.explain import explain_missed
from verl_stepgrpo.judging.sections import parse_sections

ROOT = Path(__file__).resolve().parents[1]

TRUE = (
    "3 + 5 = 8",
    "20 - 5 = 15",
    "$2 - $.50 = $1.50",
    "1000 trees + 240 trees = 1240 trees",
    "5 hours * 9 km/h = 45 km",
    "40% of 60 = 24",
    "15/60 = 25%",
    "15/60 * 100 = 25%",
    "100% - 20% = 80",
    "1/3 = 0.33",
    "1/3 = .3",
    "2/3 = 0.66",
    "20 / 3 = 7",
    "2/3 ≈ 0.7",
    "3127 * 2 ≈ 6,000",
    "100 / 12 = 8.333333333333334",
    "6 divided by 3 equals 2.",
    "6 divided by 3 is 2.",
    "2(3+4) = 14",
    "1 1/2 + 1/2 = 2",
    "8 / 2 * (2 + 2) = 16",
    "3² + 4² = 5²",
    r"\frac{1}{2} + \frac{1}{3} = \frac{5}{6}",
    r"\sqrt{16} + 2 = 6",
    r"\sqrt{2} = 1.41",
    "4! = 24",
    "78 * 2 = 156kgs",
    "54-33=21 more",
    "x = 3 + 5 = 8",
    "He has a total of 43*3 = $129.",
    "Find the total: 22 messages + 66 messages = 88 messages.",
)
FALSE = (
    "3 + 5 = 9",
    "20 - 5 = 16",
    "$2 - $.50 = $1.40",
    "1000 trees + 240 trees = 1340 trees",
    "5 hours * 9 km/h = 46 km",
    "40% of 60 = 25",
    "15/60 * 100 = 26%",
    "20% * 40% = 80%",
    "1/3 = 0.34",
    "20 / 3 = 8",
    "2/3 ≈ 0.5",
    "6 divided by 3 equals 3.",
    "2(3+4) = 15",
    "3² + 4² = 26",
    r"\frac{1}{2} + \frac{1}{3} = \frac{2}{5}",
    "62 toys - 110 toys = 48 bouncy balls",
    "x = 3 + 5 = 9",
    "If so, 3 + 5 = 9.",
    "He has a total of 3 + 5 = 9 apples.",
)
NOT_CHECKED = (
    "x = 5",
    "8 = 8",
    "2x + 3 = 9",
    "3 + 5",
    "It is not true that 3 + 5 = 9.",
    "3 + 5 = 9. That is wrong.",
    "Is 3 + 5 = 9?",
    "If 3 + 5 = 9 then we are done.",
    "5 + 3 = 8 * 2",
    "2 hours + 30 minutes = 150 minutes",
    "3 feet * 12 = 3 yards",
    "12 feet * 2 = 2 feet",
    "9 + 3 = 1:00",
    "3,5 * 2 = 7",
    "5 * 2 = 3,5",
    "10 000 + 5 = 10 005",
    "3 * 500,000 = 1.5 million",
    "3 * 8 = 2 dozen",
    "He has 12 (4 * 3) = 12.",
    "8 / 2(2+2) = 16",
    "twice 5 + 3 = 13",
    "DJ's 8 guns + RJ's 1 gun + Richard's 5 guns = 24 guns",
    "He has 40 pieces of $1 bills x $0.50 = $20.",
    "July 19 - December 31 = 92 days",
    "He reads pages 5-10 = 6 pages.",
    "17 + 4 = 9 mod 12",
    "In 2010 it is $20000 - $4200.",
    "The price in 2010 is $20000 - $4200 = $15800, so 1/4 of the people is 15 / 4.",
    "There are 2 cats per dog = 60/2.",
    "100 pages / 2 pages/1.5 minutes = 50 pages",
    "He will be - 8 years + 3 years = -5 years old.",
    "101_2 + 1 = 110_2",
    "2^99999 = 7 + 1",
    "1/0 = 7",
)
UNREAD = {"The price in 2010 is $20000 - $4200 = $15800, so 1/4 of the people is 15 / 4.": [True]}
"""Texts of ``NOT_CHECKED`` that state another equation, too, and whether it is true."""


def found(text: str) -> tuple[Equation, ...]:
    return equations_of(parse_sections(f"### Step 1:\n{text}"))


def verdicts(text: str) -> list[bool]:
    return [equation.is_true for equation in found(text)]


@pytest.mark.parametrize("text", TRUE)
def test_a_true_equation_is_true(text: str) -> None:
    assert verdicts(text) == [True]


@pytest.mark.parametrize("text", FALSE)
def test_a_false_equation_is_false(text: str) -> None:
    assert verdicts(text) == [False]


@pytest.mark.parametrize("text", NOT_CHECKED)
def test_what_may_be_true_in_another_way_is_not_checked(text: str) -> None:
    assert verdicts(text) == UNREAD.get(text, [])


def test_a_chain_is_its_links_and_a_running_total_none() -> None:
    assert verdicts("2 * 3 + 1 = 6 + 1 = 8") == [True, False]
    assert verdicts("5 + 3 = 8 * 2 = 16") == [True]


def test_a_number_that_was_rounded_before_counts_as_any_that_rounds_to_it() -> None:
    assert verdicts("200/3 = 66.67, so 66.67 * 3 = 200") == [True, True]
    assert verdicts("Then 66.67 * 3 = 199.9.") == [False]
    steps = "### Step 1:\n0.333 * 30000 = 10000\n### Step 2:\n1/3 = 0.333\n### Step 3:\n0.333 * 30000 = 10000"
    assert [e.is_true for e in equations_of(parse_sections(steps))] == [False, True]


def test_the_page_says_what_is_done() -> None:
    page = (ROOT / "docs" / "rewards.md").read_text().partition("### Whether the equations are true")[2]
    page = page.partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (yes|no) \| (yes|no|) \| [^|]*\|$", page, re.MULTILINE)
    assert len(rows) > 12
    for text, is_checked, is_true in rows:
        own = verdicts(text)
        assert ("yes" if own else "no", {True: "yes", False: "no"}[all(own)] if own else "") == (
            is_checked,
            is_true,
        ), text


@given(st.integers(0, 10**6), st.integers(1, 10**4), st.sampled_from("+-*/"), st.integers(0, 4))
def test_what_is_computed_and_rounded_is_true(a: int, b: int, operator: str, decimals: int) -> None:
    exact = {"+": Fraction(a + b), "-": Fraction(a - b), "*": Fraction(a * b), "/": Fraction(a, b)}[operator]
    rounded = f"{float(round(exact, decimals)):.{decimals}f}"
    assert verdicts(f"So {a} {operator} {b} = {rounded}.") == [True]


@given(st.text(alphabet="0123456789.,+-*/^()=≈%$ x√!{}\\\n" + "abc"))
def test_no_text_raises(text: str) -> None:
    for equation in found(text):
        assert equation.start < equation.end


def test_hostile_numbers_are_cheap() -> None:
    found("1 + " * 5000 + "is")
    found("9^64" * 2000 + " = 1")
    found("9" + "!" * 9000 + " = 1")
    found("-" * 9000 + "9 = 1 + 1")
    found("((((9^64)^64)^64)^64) = 1 + 1")
    found("9" * 20_000 + " * 2 = 7")
    found("1+" * 9000 + "1 = 7")


def test_a_value_is_shown_as_one_writes_it() -> None:
    values = (Fraction(8), Fraction(1, 2), Fraction(1, 3), Fraction(10**40), Fraction(-5, 4))
    assert [shown(value) for value in values] == ["8", "0.5", "about 0.3333", "a long number", "-1.25"]


RESPONSE = (
    "### Step 1:\n3 + 5 = 9, for there are 7 boys.\n### Step 2:\n2 * 2 = 4, and again 2 * 2 = 4.\n"
    "### Step 3:\nSo 3 + 5 = 9.\n### The final answer is: 9"
)


def test_a_repeated_equation_counts_once_and_each_step_with_a_false_one() -> None:
    components = score_response(RESPONSE, "9").components()
    assert (components["equations"], components["false_equations"]) == (2, 2 / 3)
    assert score_response("The answer is 9.", "9").components()["false_equations"] == 0


class TestTrueSteps:
    KEY_STEPS = ("7 boys", "2 * 2 = 4", "3 + 5 = 9")
    SETTINGS = RewardSettings(true_steps=True)

    def test_no_key_step_is_paid_in_a_step_with_a_false_equation(self) -> None:
        free = score_response(RESPONSE, "9", self.KEY_STEPS)
        bound = score_response(RESPONSE, "9", self.KEY_STEPS, self.SETTINGS)
        assert [match.matched for match in free.key_steps] == [True, True, True]
        assert [match.matched for match in bound.key_steps] == [False, True, False]
        assert bound.key_step_share == pytest.approx(0.1 / 3)
        assert bound.step_shares == (0, pytest.approx(0.1 / 3), 0)

    def test_one_that_stands_in_a_true_step_too_is_paid_there(self) -> None:
        again = RESPONSE.replace("2 * 2 = 4,", "7 boys, and 2 * 2 = 4,", 1)
        (match,) = score_response(again, "9", ["7 boys"], self.SETTINGS).key_steps
        assert (match.matched, match.step) == (True, 1)

    def test_the_reason_is_said(self) -> None:
        scored = score_response(RESPONSE, "9", ["7 boys"], self.SETTINGS)
        (miss,) = explain_missed(scored.sections, scored.key_steps, threshold=0.8, left_out={0, 2})
        assert str(miss) == "its step states a false equation, nearest place '7 boys'"

    @pytest.mark.parametrize("value", ["yes", 1, None])
    def test_another_value_is_refused(self, value: object) -> None:
        with pytest.raises(ConfigError, match=r"true_steps=.* is out of range: it must be True or False"):
            RewardSettings.from_mapping({"true_steps": value})

    def test_the_authors_rules_have_none(self) -> None:
        with pytest.raises(ConfigError, match="Set one of them"):
            RewardSettings(mode="reference", true_steps=True)
