"""The rules of the authors' code where they depart from the paper, for ``mode=reference``.

Written from a description of the rules of GitHub ``jingyi0000/R1-VL`` at commit 679be5c, to compare with:
presence of four strings instead of sections, any wording of a key step as a lower-case substring of a step
(so ``2`` matches ``12``), and math-verify over the whole response before exact text behind the header.

Departure: math-verify gets the last ``MAX_CHARS`` characters of the response, in a process with a time
limit. No torch, no verl.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from verl_stepgrpo.judging.answers import symbolic
from verl_stepgrpo.judging.answers.symbolic import Equality, VerifierFailedError
from verl_stepgrpo.judging.answers.verdict import Verdict, failed_verdict, symbolic_verdict
from verl_stepgrpo.judging.key_steps.match import KeyStepMatch
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.judging.sections import Kind, Section

REQUIRED_STRINGS = (
    "### Image Description:",
    "### Rationales:",
    "### Step 1:",
    "### The final answer is:",
)
FINAL_ANSWER_HEADER = "### The final answer is:"

MAX_CHARS = 8192
"""Characters of a response that math-verify searches for an answer."""


def judge_answer(response: str, gold: str) -> Verdict:
    """Return the verdict by math-verify over the whole response, else by exact text behind the header."""
    text = response.rpartition(FINAL_ANSWER_HEADER)[2].strip() if FINAL_ANSWER_HEADER in response else ""
    answered = bool(text)
    try:
        outcome = (
            symbolic.verify_plainly(response[-MAX_CHARS:], gold) if gold.strip() else Equality.UNREADABLE
        )
        verdict = symbolic_verdict(outcome, answered=answered, text=text)
    except VerifierFailedError as error:
        verdict = failed_verdict(error, answered=answered, text=text)
    if not verdict.correct and answered and text == gold.strip():
        return Verdict(True, True, "text", "the same text behind the header", text)
    return verdict


def match_key_steps(
    response: str, sections: Sequence[Section], key_steps: Sequence[KeyStep]
) -> tuple[KeyStepMatch, ...]:
    """Return for each key step whether any wording is a lower-case substring of a step."""
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
        pattern = re.compile(re.escape(wording), re.IGNORECASE)
        for index, step in enumerate(steps):
            found = pattern.search(response, step.body_start, step.end)
            if found:
                return KeyStepMatch(key_step, True, wording, 1.0, index, found.start(), found.end())
    return KeyStepMatch.missed(key_step)
