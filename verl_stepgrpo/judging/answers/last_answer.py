r"""Find the last answer that a response gives, whatever format it is in, and judge it.

An answer is marked by

- a section ``### The final answer is:``, of which it is all the text;
- ``\boxed{...}``; boxes with nothing but "," or "and" between them are one answer;
- ``<answer>...</answer>``, up to the end where it is not closed;
- a line ``#### 18``;
- "the answer is ...", "Answer: ...", "the correct option is ...", "答案是...": the rest of the line, or where that says
  nothing the next line that does. What goes on with "not", "based on", "let's" and the like states no answer;
- "option C is correct".

The mark that begins last counts, so that "the answer is \boxed{2}" is the box. Where nothing is marked, the last line
that says something is the answer, courtesies ("I hope this helps") aside. Such a line, and one behind "the answer is",
may say more than the answer. Where the whole of it is not the reference, a value in it is judged: against a reference
that is a number the number behind the last "=", or without one the last number; against one that is a choice the one
choice letter.

What stands in ``<think>...</think>`` counts only where nothing is said behind it.

A measurement that no reward pays. Finding is pure, takes time linear in the response and never raises; what is found is
judged as any answer is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from verl_stepgrpo.judging.answers.choices import MARKED_CHOICE
from verl_stepgrpo.judging.answers.judge import judge_answer
from verl_stepgrpo.judging.answers.normalise import normalise
from verl_stepgrpo.judging.answers.verdict import Verdict
from verl_stepgrpo.judging.marks import MARKS, MAX_LINE_CHARS, Given, without_thoughts
from verl_stepgrpo.judging.reading.numbers import NUMERAL
from verl_stepgrpo.judging.reading.quantities import parse_quantity
from verl_stepgrpo.judging.reading.units import CURRENCY_SIGNS
from verl_stepgrpo.judging.sections import Section, final_section, says_something

_COURTESY = re.compile(
    r"(^|[.!?](?=\s))\s{0,4}\W{0,4}(?:i hope|hope (?:this|that|it)|(?:please )?let me know|(?:please )?feel free"
    r"|if you (?:have|need)|is there anything|would you like|do you (?:have|need|want)|thank)",
    re.IGNORECASE,
)
_STEP_HEADER = re.compile(r"\s*#+\s*(?:step\s*\d+)?[\s:.]*", re.IGNORECASE)
_ANSWER_TO_COME = re.compile(r"[#*_>\s]*(?:the )?(?:final |correct )?answer(?: is)?[*_\s:：]*", re.IGNORECASE)
_NUMBER = re.compile(rf"[{CURRENCY_SIGNS}]?-?(?:{NUMERAL})(?:/\d+)?(?: ?%)?")
_BELONGS_BEFORE = re.compile(
    r"(?:[\w.^_{}\\/*<>]|[-+*/^] |\d:|\d[^\W\d]* ?(?:and|or|to|by|of) |\b(?:than|not|between|from) )$",
    re.IGNORECASE,
)
_BELONGS_BEHIND = re.compile(r" ?[*^_{}!\\+]|/ ?\d|[a-zA-Z](?![a-zA-Z])|(?:st|nd|rd|th)\b|:\d")
_LETTER_IN_BRACKETS = re.compile(r"\(([A-J])\)")
_LETTER_FIRST = re.compile(
    r"\W{0,4}(?:therefore |option )?([A-J])(?:[).:](?! ?(?:or|and|,|/))|(?: ?[,(-]| \()(?!\W*[A-J]\b))"
)


def judge_last_answer(
    response: str,
    sections: Sequence[Section],
    gold: str,
    *,
    strict: Verdict | None = None,
    tolerance: float = 0.0,
    choices: Mapping[str, str] | None = None,
) -> Verdict:
    """Return the verdict on the last answer that ``response`` gives.

    Args:
        response: What the model wrote.
        sections: Its sections.
        gold: The reference answer.
        strict: The verdict on its final-answer section, where that is known: it is returned where no other answer
            stands behind the section, so that nothing is judged twice.
        tolerance: As for ``judge_answer``.
        choices: As for ``judge_answer``.
    """
    given = find_last_answer(response, sections)
    if given is None:
        return judge_answer(None, gold)
    if strict is not None and _is_same(given, final_section(sections), strict):
        return strict
    verdict = judge_answer(given.text, gold, tolerance=tolerance, choices=choices)
    value = None if verdict.correct or not given.in_prose else _value(given.text, gold)
    return verdict if value is None else judge_answer(value, gold, tolerance=tolerance, choices=choices)


def _is_same(given: Given, section: Section | None, strict: Verdict) -> bool:
    """Whether ``strict``, the verdict on ``section``, is the verdict on ``given``, too."""
    if section is None or not section.start <= given.start < section.end:
        return False
    # An answer that is right as a whole is right, whatever part of it is marked.
    return strict.correct or normalise(given.text) == normalise(section.body)


def find_last_answer(response: str, sections: Sequence[Section]) -> Given | None:
    """Return the last answer that ``response``, of these ``sections``, gives; None where it says nothing."""
    text = without_thoughts(response)
    if text is not response:  # what a thought drafts is blank in the text
        sections = [section for section in sections if text[section.start : section.end].strip()]
    section = final_section(sections)
    found = [] if section is None else [Given(section.body, section.start)]
    # The section's own header says "the final answer is".
    begin = 0 if section is None else section.body_start
    for places in MARKS:
        found += places(text, begin)
    return max(found, key=lambda given: given.start) if found else _last_line(text)


def _last_line(text: str) -> Given | None:
    end = len(text)
    for line in reversed(text.splitlines(keepends=True)):
        end -= len(line)
        courtesy = _COURTESY.search(line)
        said = line[: courtesy.end(1)] if courtesy else line
        header = _STEP_HEADER.match(said)
        said = said[header.end() :] if header else said
        if says_something(said) and not _ANSWER_TO_COME.fullmatch(said):
            return Given(said.strip()[-MAX_LINE_CHARS:], end, in_prose=True, is_marked=False)
    return None


def _value(text: str, gold: str) -> str | None:
    """Return the value that a line states last, of the kind that ``gold`` is; None where that is not clear."""
    text, wanted = normalise(text), normalise(gold)
    if MARKED_CHOICE.match(wanted):
        letters = set(_LETTER_IN_BRACKETS.findall(text)) or set(_LETTER_FIRST.findall(text)[:1])
        return f"({letters.pop()})" if len(letters) == 1 else None
    if parse_quantity(wanted) is None:
        return None
    number = _last_number(text)
    if number is None or _BELONGS_BEHIND.match(text, number.end()):
        return None
    before = text[max(0, number.start() - 12) : number.start()]
    return None if _BELONGS_BEFORE.search(before) else number.group()


def _last_number(text: str) -> re.Match[str] | None:
    """Return the number behind the last "=", or without one the last number."""
    numbers = list(_NUMBER.finditer(text, text.rfind("=") + 1))
    return (numbers[0] if "=" in text else numbers[-1]) if numbers else None
