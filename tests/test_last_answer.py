"""The last answer of a response, in whatever format it is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo import score_response
from verl_stepgrpo.judging.answers import last_answer
from verl_stepgrpo.judging.answers.last_answer import find_last_answer
from verl_stepgrpo.judging.answers.verdict import Verdict
from verl_stepgrpo.judging.sections import parse_sections
from verl_stepgrpo.settings import RewardSettings

CASES = [
    json.loads(line)
    for line in (Path(__file__).parent / "data" / "last_answers.jsonl").open(encoding="utf-8")
]
HEADER = "### The final answer is: "


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['format']}: {case['response'][-30:]!r}")
def test_an_answer_counts_in_whatever_format_it_is_given(case: dict) -> None:
    assert score_response(case["response"], case["gold"]).last_answer.correct == case["right"]


def test_the_answer_is_the_same_under_either_mode() -> None:
    for case in CASES:
        found = score_response(case["response"], case["gold"], settings=RewardSettings(mode="reference"))
        assert found.last_answer.correct == case["right"], case


def judged(monkeypatch: pytest.MonkeyPatch, response: str, gold: str) -> tuple[bool, bool, list[str]]:
    """Return acc, acc_flexible, and what was judged beside the text of the final-answer section."""
    asked: list[str] = []
    judge = last_answer.judge_answer

    def noted(answer: str | None, wanted: str) -> Verdict:
        asked.append(str(answer))
        return judge(answer, wanted)

    monkeypatch.setattr(last_answer, "judge_answer", noted)
    found = score_response(response, gold)
    return found.answer.correct, found.last_answer.correct, asked


@pytest.mark.parametrize(
    "body", ["8", "9", "$\\boxed{8}$", "\\boxed{9}", "<answer>9</answer>", "The answer is 9"]
)
def test_where_the_strict_answer_is_the_last_nothing_is_judged_twice(
    monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    strict, flexible, asked = judged(monkeypatch, f"### Step 1:\nThe answer is 7.\n{HEADER}{body}", "8")
    assert (strict, asked) == (flexible, [])


@pytest.mark.parametrize("gold", ["8", "(B) 8", "x + 1", "{1, 2}", "blue"])
@given(behind=st.text(alphabet="8 B(){},.\n*$\\boxedanswr:is", max_size=30))
def test_a_right_strict_answer_is_right_whatever_its_section_goes_on_with(gold: str, behind: str) -> None:
    found = score_response(f"{HEADER}{gold}{behind}", gold)
    assert found.last_answer.correct or not found.answer.correct


@pytest.mark.parametrize("mode", ["paper", "reference"])
def test_it_is_paid_by_no_reward(mode: str) -> None:
    found = score_response(
        "The answer is <answer>eight</answer>", "eight", settings=RewardSettings(mode=mode)
    )
    assert (found.components()["acc_flexible"], found.components()["acc"], found.total) == (1.0, 0.0, 0.0)


PARTS = (
    "the answer is ", "answer to ", "Answer:\n", "答案", "\\boxed{", "\\boxed{5}", "\\boxed{5}, ", "{", "}", "\\",
    "<think>", "</think>", "<think>a</think>", "<answer>", "</answer>", "<answer>5</answer>", "#### 5\n",
    "####" + 90 * " ", "#", "*", ". ", "\n", " ", "5", "5 ", "1,", "5 = ", "$", "- ", "I hope. ", "(A) ", HEADER,
    "### Step 1:\n", "not ", "or ",
)  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=30), st.sampled_from(["5", "(A)", "x^2", "blue"]))
def test_any_mix_of_marks_gets_a_verdict(parts: list[str], gold: str) -> None:
    assert score_response("".join(parts), gold).last_answer.reason


@given(st.text(max_size=200))
def test_any_text_gets_a_verdict(text: str) -> None:
    assert score_response(text, "5").last_answer.reason
    found = find_last_answer(text, parse_sections(text))
    assert found is None or 0 <= found.start < len(text)
