"""The rules of the authors' code where they depart from the paper, for ``mode=reference``.

Written from a description of the rules of GitHub ``jingyi0000/R1-VL`` at commit 679be5c, to compare with:
presence of four strings instead of sections, any wording of a key step as a lower-case substring of the
joined steps (so ``2`` matches ``12``), and math-verify over the whole response before exact text.

Pure: no I/O, no torch, no verl.
"""

from __future__ import annotations

from collections.abc import Sequence

from verl_stepgrpo import answers
from verl_stepgrpo.answers import Verdict
from verl_stepgrpo.key_steps import KeyStep, KeyStepMatch
from verl_stepgrpo.sections import Kind, Section

STD_EPSILON = 1e-4
"""The authors' code divides by std + 1e-4; the paper by std."""

REQUIRED_STRINGS = (
    "### Image Description:",
    "### Rationales:",
    "### Step 1:",
    "### The final answer is:",
)
FINAL_ANSWER_HEADER = "### The final answer is:"

MAX_CHARS = 16_384
"""Longer responses are judged by their text alone: math-verify searches the whole of it."""


def judge_answer(response: str, gold: str) -> Verdict:
    """Return the verdict by math-verify over the whole response, else by exact text behind the header."""
    text = response.rpartition(FINAL_ANSWER_HEADER)[2].strip() if FINAL_ANSWER_HEADER in response else ""
    answered = bool(text)
    if gold.strip() and text == gold.strip():
        return Verdict(True, answered, "text", "the same text behind the header", text)
    if len(response) > MAX_CHARS or not answers.is_finite_work(text):
        return Verdict(False, answered, "symbolic", "too much work", text, unparseable=True)
    equal = answers.symbolically_equal(text or response[-answers.MAX_SYMBOLIC_CHARS :], gold)
    return Verdict(bool(equal), answered, "symbolic", "by math-verify", text, unparseable=equal is None)


def match_key_steps(
    response: str, sections: Sequence[Section], key_steps: Sequence[KeyStep]
) -> tuple[KeyStepMatch, ...]:
    """Return for each key step whether any wording is a lower-case substring of the joined steps."""
    steps = [section for section in sections if section.kind is Kind.STEP]
    return tuple(_substring_match(response, steps, key_step) for key_step in key_steps)


def is_complete(response: str) -> bool:
    """Return whether the four required strings stand anywhere in the response."""
    return all(text in response for text in REQUIRED_STRINGS)


def is_ordered(sections: Sequence[Section]) -> bool:
    """Return whether steps are numbered 1 to n and a final answer stands after the last; no more."""
    steps = [i for i, section in enumerate(sections) if section.kind is Kind.STEP]
    finals = [i for i, section in enumerate(sections) if section.kind is Kind.FINAL_ANSWER]
    numbers = [sections[i].number for i in steps]
    return bool(steps and finals) and numbers == list(range(1, len(steps) + 1)) and finals[-1] > steps[-1]


def _substring_match(response: str, steps: Sequence[Section], key_step: KeyStep) -> KeyStepMatch:
    for wording in key_step:
        for index, step in enumerate(steps):
            at = response.lower().find(wording.lower(), step.body_start, step.end)
            if at >= 0:
                return KeyStepMatch(key_step, True, wording, 1.0, index, at, at + len(wording))
    return KeyStepMatch.missed(key_step)
