"""Finding key steps in the reasoning steps."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo import DataError, parse_key_steps
from verl_stepgrpo.judging.key_steps.match import KeyStepMatch, match_key_steps
from verl_stepgrpo.judging.sections import parse_sections

FOUND = [
    ("6 of the apples", "6 apples"),
    ("6 very red apples", "6 apples"),
    ("6 sports cars", "6 cars"),
    ("AB = 5 cm", "AB = 5"),
    (r"so \pi = 3", "π = 3"),
    ("It is not easy. But 6/3 = 2", "6/3 = 2"),
    ("so 6 divided by 3 equals 2.", "6/3 = 2"),
    (r"so $\frac{6}{3} = 2$.", "6/3 = 2"),
    ("so 6/3=2", r"\frac{6}{3} = 2"),
    ("x² = 9", "x^2 = 9"),
    ("x^{2} = 9", "x² = 9"),
    ("area 12 × 4 = 48 cm", "12*4=48"),
    ("the angle is 90°", r"90^\circ".replace("^", "")),
    ("The first digits is 3.", "first digit is 3"),
    ("the bars are the tallest", "tallest bar"),
    ("1,234 people", "1234 people"),
    ("13 + 5 = 18, 3 + 5 = 8", "3+5=8"),
    ("- 3 + 5 = 8", "3 + 5 = 8"),
    ("12/6 = 6/3 = 2", "6/3 = 2"),
    ("a = 4", "a = 4"),
]
NOT_FOUND = [
    ("6 baskets of apples", "6 apples"),
    ("6 kg of apples", "6 apples"),
    ("6 people ate apples", "6 apples"),
    ("6 children with apples", "6 apples"),
    ("6 men picked apples", "6 apples"),
    ("6 women picked apples", "6 apples"),
    ("The dog is chased by the cat", "dog chases the cat"),
    ("2x = 3", "x = 3"),
    ("x = 3y", "x = 3"),
    ("x = 3y + 2", "x = 3"),
    ("x = 3(y+1)", "x = 3"),
    (r"x = 3\sqrt{2}", "x = 3"),
    ("x = 3!", "x = 3"),
    ("x = 3 %", "x = 3"),
    (r"x = 3\%", "x = 3"),
    ("x = 3 percent", "x = 3"),
    (r"\sin x = 3", "x = 3"),
    ("CAB = 5", "AB = 5"),
    ("x3 + 5 = 8", "3 + 5 = 8"),
    ("2x", "2"),
    ("There are not 3 children", "3 children"),
    ("we would not get 6/3 = 2", "6/3 = 2"),
    ("6/3 = 2 is wrong", "6/3 = 2"),
    ("an irrational number", "rational number"),
    ("it is impossible", "it is possible"),
    ("3 adults", "3 children"),
    ("so 12 apples", "2"),
    ("so 6/3 = 3", "6/3 = 2"),
    ("2 * 3 + 5 = 8", "3 + 5 = 8"),
    ("3 + 5 = 8 + 1", "3 + 5 = 8"),
    ("3 + 5 = 80", "3 + 5 = 8"),
    ("3 + 5 = 8.5", "3 + 5 = 8"),
    ("x = -3", "x = 3"),
    ("y = 3", "x = 3"),
    ("it is 50%", "50"),
    ("The right angle is 30", "left angle is 30"),
    ("The first digit is not 3.", "first digit is 3"),
    ("The second digit is 3.", "first digit is 3"),
    ("The first is red. The digit is 3.", "first digit is 3"),
    ("", "first digit is 3"),
]


def match(body: str, *wordings: str) -> KeyStepMatch:
    sections = parse_sections(f"### Step 1:\n{body}\n### The final answer is: 3")
    return match_key_steps(sections, [wordings], threshold=0.8)[0]


@pytest.mark.parametrize(("body", "wording"), FOUND)
def test_an_equivalent_wording_is_found(body: str, wording: str) -> None:
    assert match(body, wording).matched


@pytest.mark.parametrize(("body", "wording"), NOT_FOUND)
def test_a_different_step_is_not_found(body: str, wording: str) -> None:
    assert not match(body, wording).matched


def test_one_wording_of_several_is_enough() -> None:
    found = match("The left digit is 3", "first digit is 3", "left digit is 3")
    assert (found.matched, found.wording) == (True, "left digit is 3")


def test_the_match_says_where_it_is() -> None:
    text = "### Step 1:\nx\n### Step 2:\r\n  so \\frac{6}{3} = 2 holds"
    found = match_key_steps(parse_sections(text), [("6/3 = 2",)], threshold=0.8)[0]
    assert found.step == 1
    assert text[found.start : found.end] == "\\frac{6}{3} = 2"


@pytest.mark.parametrize("header", ["### Image Description:", "### Rationales:", "### The final answer is:"])
def test_only_reasoning_steps_are_searched(header: str) -> None:
    sections = parse_sections(f"{header}\nfirst digit is 3\n### Step 1:\nnothing")
    assert not match_key_steps(sections, [("first digit is 3",)], threshold=0.8)[0].matched


def test_one_stretch_of_text_serves_one_key_step_only() -> None:
    sections = parse_sections("### Step 1:\nthe digit is 3")
    once = match_key_steps(sections, [("digit is 3",), ("digit is 3",)], threshold=0.8)
    assert [m.matched for m in once] == [True, False]


def test_a_short_key_step_does_not_take_the_words_of_a_long_one() -> None:
    sections = parse_sections("### Step 1:\n3 big dogs and 3 cats")
    matches = match_key_steps(sections, [("3",), ("3 big dogs",)], threshold=0.8)
    assert [m.matched for m in matches] == [True, True]


@given(st.integers(2, 6))
def test_repeating_a_step_earns_nothing(times: int) -> None:
    sections = parse_sections("\n".join(f"### Step {i}:\nthe digit is 3" for i in range(1, times + 1)))
    matches = match_key_steps(sections, [("digit is 3",), ("digit is 5",)], threshold=0.8)
    assert [m.matched for m in matches] == [True, False]


def test_a_lower_threshold_never_finds_less() -> None:
    sections = parse_sections("### Step 1:\nthe frist digti is 3")
    found = [
        match_key_steps(sections, [("first digit is 3",)], threshold=t)[0].matched for t in (0.5, 0.7, 0.9)
    ]
    assert found == [True, True, False]


@given(st.text(max_size=200), st.lists(st.text(min_size=1, max_size=30), max_size=3))
def test_nothing_a_model_wrote_raises(body: str, wordings: list[str]) -> None:
    key_steps = parse_key_steps([wordings])
    matches = match_key_steps(parse_sections(f"### Step 1:\n{body}"), key_steps, threshold=0.8)
    assert len(matches) == len(key_steps)
    assert all(0.0 <= m.similarity <= 1.0 for m in matches)


STEPS = [["a", "b"], ["c"]]


@pytest.mark.parametrize(
    "value",
    [
        STEPS,
        [["a", "b"], "c"],
        {"Steps": STEPS},
        {"Steps": [["a", "b"], "c"], "Other": 1},
        json.dumps(STEPS),
        json.dumps({"Steps": STEPS}),
        np.array([np.array(["a", "b"], dtype=object), np.array(["c"], dtype=object)], dtype=object),
        [["a", "b", " "], ["c"], [], [""]],
    ],
    ids=["lists", "mixed", "object", "object-mixed", "json", "json-object", "numpy", "blanks"],
)
def test_every_form_of_key_steps_is_read(value: object) -> None:
    assert parse_key_steps(value) == (("a", "b"), ("c",))


@pytest.mark.parametrize("value", [None, [], "", "[]", {"Steps": []}, np.array([])])
def test_no_key_steps_are_none(value: object) -> None:
    assert parse_key_steps(value) == ()


@pytest.mark.parametrize(
    "value", [3, "not json", {"steps": []}, [3], [[3]], [["a"], {"b": 1}], '"a"', "[" * 100_000]
)
def test_key_steps_of_a_wrong_type_are_a_mistake_in_the_data(value: object) -> None:
    with pytest.raises(DataError, match="key"):
        parse_key_steps(value)
