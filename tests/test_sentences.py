"""The index of sentences leaves out none in which a key step stands."""

from __future__ import annotations

import judging
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo.judging.key_steps.match import KeyStepMatch, match_key_steps
from verl_stepgrpo.judging.key_steps.sentences import SentenceIndex
from verl_stepgrpo.judging.sections import parse_sections

CASES = judging.load("key_steps.jsonl")


def matches(step: str, key_steps: list[tuple[str, ...]], *, indexed: bool) -> tuple[KeyStepMatch, ...]:
    sections = parse_sections(f"### Step 1:\n{step.replace('###', '')}")
    with pytest.MonkeyPatch.context() as patch:
        if not indexed:
            patch.setattr(SentenceIndex, "may_hold", lambda self, anchors: self.everywhere)
        return match_key_steps(sections, key_steps, threshold=0.8)


def test_on_the_labelled_set_the_matcher_without_the_index_finds_the_same() -> None:
    for case in CASES:
        wordings = [tuple(case["key_step"])]
        assert matches(case["step"], wordings, indexed=True) == matches(case["step"], wordings, indexed=False)


@given(
    st.lists(st.sampled_from([case["step"] for case in CASES]), min_size=1, max_size=5),
    st.lists(st.sampled_from([tuple(case["key_step"]) for case in CASES]), min_size=1, max_size=5),
)
def test_on_any_mix_of_steps_and_key_steps_too(steps: list[str], key_steps: list[tuple[str, ...]]) -> None:
    text = " ".join(steps)
    assert matches(text, key_steps, indexed=True) == matches(text, key_steps, indexed=False)


def test_a_number_with_letters_in_it_is_looked_for_as_it_stands() -> None:
    assert matches("so A¼AAA = 3", [("A¼AAA = 3",)], indexed=True)[0].matched


@pytest.mark.parametrize(
    "text", [r"1\,000 + 240 = 1\,240", "1{,}000 + 240 = 1,240", "1\u202f000 + 240 = 1\u00a0240"]
)
def test_thousands_are_found_whatever_separates_them(text: str) -> None:
    assert matches(f"So ${text}$.", [("1000 + 240 = 1240",)], indexed=True)[0].matched
