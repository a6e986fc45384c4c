"""Every key step that was missed has one line that says why."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import judging
import pytest

from verl_stepgrpo import score_response
from verl_stepgrpo.judging.key_steps.explain import NOTHING_NEAR, Miss, explain_missed
from verl_stepgrpo.judging.key_steps.match import match_key_steps
from verl_stepgrpo.judging.sections import parse_sections

WHY = [
    ("3 + 5 = 8", "3 + 5 = 9", "another value", "9"),
    ("3 + 5 = 8", "so 4 + 5 = 8", "another number", ""),
    ("3 + 5 = 8", "8 - 3 = 5", "another operation", ""),
    ("3 + 5 = 8", "3 + 5 = 8 dozen", "ends later", "dozen"),
    ("3 + 5 = 8", "twice apples + 3 + 5 = 8", "begins earlier", "+"),
    ("3 + 5 = 8", "It is not true that 3 + 5 = 8.", "denied", "not true that"),
    ("3 + 5 = 8", "Perhaps 3 + 5 = 8.", "doubted", "Perhaps"),
    ("3 + 5 = 8", "3 + 5 = 8 is wrong.", "taken back", "is wrong"),
    ("3 m + 5 m = 8 m", "3 cm + 5 cm = 8 cm", "another unit", ""),
    ("3 + 5 = 8", "; ".join(f"{i} + 5 = 8" for i in range(9)), "one of a list of values", ""),
    ("3 + 5 = 8", "nothing of it", NOTHING_NEAR, "no step has 3"),
    ("3 children", "There are 4 children.", "another number", "4"),
    ("3 children", "There are 3 adults.", "a word is missing", "children"),
    ("3 children", "Those 3 are fewer children.", "compared", "fewer"),
    ("3 children", "There are 3 apples and children.", "joined with another", "and"),
    ("2 eggs", "There are 2 dozen eggs.", "ends later", "dozen"),
    ("12 eggs", "There are 12 egg cartons.", "describes another noun", "egg cartons"),
    ("every square is a rectangle", "Every rectangle is a square.", "another order", ""),
]


def why(key_steps: list[tuple[str, ...]], step: str) -> tuple[Miss | None, ...]:
    sections = parse_sections(f"### Step 1:\n{step}\n### The final answer is: 0")
    return explain_missed(sections, match_key_steps(sections, key_steps, threshold=0.8), threshold=0.8)


@pytest.mark.parametrize(("key_step", "step", "rule", "words"), WHY)
def test_a_miss_names_the_rule_and_the_words_that_made_it(
    key_step: str, step: str, rule: str, words: str
) -> None:
    (miss,) = why([(key_step,)], step)
    assert miss is not None
    assert (miss.rule, miss.words) == (rule, words)
    assert "\n" not in str(miss)


def test_the_nearest_place_is_told_where_it_stands() -> None:
    response = (
        "### Step 1:\nSo 2 + 2 = 4.\n### Step 2:\nIt is not true that 3 + 5 = 8.\n### The final answer is: 8"
    )
    scored = score_response(response, "8", ["3 + 5 = 8"])
    (miss,) = explain_missed(scored.sections, scored.key_steps, threshold=0.8)
    assert miss is not None
    assert miss.step == 1
    assert response[miss.start : miss.end] == miss.near == "not true that 3 + 5 = 8"


def test_two_key_steps_that_say_the_same_need_two_places() -> None:
    first, second = why([("3 + 5 = 8",), ("5 + 3 = 8",)], "3 + 5 = 8")
    assert [first, second and second.rule] == [None, "the place serves another key step"]


def test_what_was_found_has_no_reason_and_what_was_missed_has_one() -> None:
    for case in judging.load("key_steps.jsonl"):
        sections = parse_sections(judging.RESPONSE.format(step=case["step"].replace("###", "##"), answer="x"))
        matches = match_key_steps(sections, [tuple(case["key_step"])], threshold=0.8)
        (miss,) = explain_missed(sections, matches, threshold=0.8)
        assert (miss is None) == matches[0].matched


def test_the_documented_example_prints_what_the_page_says() -> None:
    page = (Path(__file__).parents[1] / "docs" / "rewards.md").read_text()
    example = re.search(r"```python\n([^`]*explain_missed.*?)```\n\n```text\n(.*?)```", page, re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(example[1], {})
    assert printed.getvalue() == example[2]


def test_without_steps_there_is_nothing_near() -> None:
    matches = match_key_steps((), [("3",), ("",)], threshold=0.8)
    assert [miss and str(miss) for miss in explain_missed((), matches, threshold=0.8)] == [
        f"{NOTHING_NEAR}: the response has no steps"
    ] * 2
