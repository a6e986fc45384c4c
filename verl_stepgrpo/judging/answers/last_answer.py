r"""Find the last answer that a response gives, whatever format it is in, and judge it.

An answer is marked by

- a section ``### The final answer is:``, of which it is all the text;
- ``\boxed{...}``; boxes with nothing but "," or "and" between them are one answer;
- ``<answer>...</answer>``, up to the end where it is not closed;
- a line ``#### 18``;
- "the answer is ...", "Answer: ...", "the correct option is ...", "答案是...": the rest of the line, or where that says
  nothing the next line that does. What goes on with "not", "based on", "let's" and the like states no answer.

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from verl_stepgrpo.judging.answers.choices import MARKED_CHOICE
from verl_stepgrpo.judging.answers.judge import MAX_ANSWER_CHARS, judge_answer
from verl_stepgrpo.judging.answers.normalise import normalise
from verl_stepgrpo.judging.answers.verdict import Verdict
from verl_stepgrpo.judging.reading.quantities import parse_quantity
from verl_stepgrpo.judging.sections import Section, final_section, parse_sections, says_something

MAX_LINES = 4
"""Lines behind "Answer:" in which the answer is looked for; "\\[" alone says nothing."""

MAX_BOXES = 64
"""Boxes that may be one answer together; as many as a list has elements that are compared."""

_THOUGHT = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_BRACE = re.compile(r"(?P<box>\\(?:boxed|fbox) ?\{)|\\.|[{}]", re.DOTALL)
_BETWEEN_BOXES = re.compile(r"(?:[\s$,;()\[\]{}\\、]|and|or|text|quad|和|或){0,40}")
_HASHES = re.compile(r"^[ \t]*####[ \t]*([-+]?[$€£]?[-+]?\d[\d,./]*(?:[ \t]*%)?)[ \t]*$", re.MULTILINE)
_STATES = re.compile(
    r"(?:\banswer(?: (?:choice|option))?|\b(?:correct|right|best) (?:choice|option)|答案)"
    r"(?: (?:to|for|of) [^\n.:?]{1,80}?)?"
    r"(?:[*_ \t]{0,8}(?:[:：=]|\b(?:is|was|(?:would|should|must|will) be)\b|是|为)|(?<=答案))"
    r"|^[#*_> \t]*(?:the )?(?:final |correct )?answer[*_ \t]*$"
    r"|(?:故选|应选)",
    re.IGNORECASE | re.MULTILINE,
)
_STATES_NOTHING = re.compile(
    r"[^\w\n]*(?:(?:not|wrong|incorrect|based|given (?:by|in|as)|rounded|found (?:by|in)|obtained|calculated|derived"
    r"|determined|let(?:['’]s| us| me)?|we (?:need|can|have to|must|will|first|start)|i (?:will|need|would)|first,"
    r"|since|because|as follows|if|when|whether|already|also|correct(?=\W*$)|in (?:the|terms|an?)"
    r"|to (?:find|solve|determine|answer|calculate|get|compute|the (?:question|problem)))(?!\w)|错误|不)",
    re.IGNORECASE,
)
_COURTESY = re.compile(
    r"(?:^|[.!?]\s{1,4})\W{0,4}(?:i hope|hope (?:this|that|it)|(?:please )?let me know|(?:please )?feel free"
    r"|if you (?:have|need)|is there anything|would you like|do you (?:have|need|want)|thank)",
    re.IGNORECASE,
)
_STEP_HEADER = re.compile(r"\s*#+\s*(?:step\s*\d+)?[\s:.]*", re.IGNORECASE)
_ANSWER_TO_COME = re.compile(r"[#*_>\s]*(?:the )?(?:final |correct )?answer(?: is)?[*_\s:：]*", re.IGNORECASE)
_NUMBER = re.compile(r"[$€£¥]?-?(?:\d[\d,]*(?:\.\d+)?(?:/\d+)?|\.\d+)(?: ?%)?")
_BELONGS_BEFORE = re.compile(
    r"(?:[\w.^_{}\\/*<>]|[-+*/^] |\d:|\d[^\W\d]* ?(?:and|or|to|by|of) |\b(?:than|not|between|from) )$",
    re.IGNORECASE,
)
_BELONGS_BEHIND = re.compile(r" ?[*^_{}!\\+]|/ ?\d|[a-zA-Z](?![a-zA-Z])|(?:st|nd|rd|th)\b|:\d")
_LETTER_IN_BRACKETS = re.compile(r"\(([A-J])\)")
_LETTER_FIRST = re.compile(
    r"\W{0,4}(?:therefore |option )?([A-J])(?:[).:](?! ?(?:or|and|,|/))|(?: ?[,(-]| \()(?!\W*[A-J]\b))"
)


@dataclass(frozen=True)
class Given:
    """An answer that a response gives.

    Attributes:
        text: The answer.
        start: Where its mark begins, in characters of the response.
        in_prose: Whether it is a line of text, which may say more than the answer.
    """

    text: str
    start: int
    in_prose: bool = False


def judge_last_answer(
    response: str,
    sections: Sequence[Section],
    gold: str,
    *,
    strict: Verdict | None = None,
    tolerance: float = 0.0,
) -> Verdict:
    """Return the verdict on the last answer that ``response`` gives.

    Args:
        response: What the model wrote.
        sections: Its sections.
        gold: The reference answer.
        strict: The verdict on its final-answer section, where that is known: it is returned where no other answer
            stands behind the section, so that nothing is judged twice.
        tolerance: As for ``judge_answer``.
    """
    given = find_last_answer(response, sections)
    if given is None:
        return judge_answer(None, gold)
    if strict is not None and _is_same(given, final_section(sections), strict):
        return strict
    verdict = judge_answer(given.text, gold, tolerance=tolerance)
    value = None if verdict.correct or not given.in_prose else _value(given.text, gold)
    return verdict if value is None else judge_answer(value, gold, tolerance=tolerance)


def _is_same(given: Given, section: Section | None, strict: Verdict) -> bool:
    """Whether ``strict``, the verdict on ``section``, is the verdict on ``given``, too."""
    if section is None or not section.start <= given.start < section.end:
        return False
    # An answer that is right as a whole is right, whatever part of it is marked.
    return strict.correct or normalise(given.text) == normalise(section.body)


def find_last_answer(response: str, sections: Sequence[Section]) -> Given | None:
    """Return the last answer that ``response``, of these ``sections``, gives; None where it says nothing."""
    text = _without_thoughts(response)
    section = final_section(sections if text is response else parse_sections(text))
    found = [] if section is None else [Given(section.body, section.start)]
    # The section's own header says "the final answer is".
    begin = 0 if section is None else section.body_start
    for places in (_boxes, _tags, _hashes, _statements):
        found += places(text, begin)
    return max(found, key=lambda given: given.start) if found else _last_line(text)


def _without_thoughts(response: str) -> str:
    """Return ``response`` with its thoughts blanked, every offset kept; itself where nothing is said behind them."""
    marks = list(_THOUGHT.finditer(response))
    if not marks or not says_something(_THOUGHT.sub("", response[marks[-1].end() :])) or not marks[-1][1]:
        return response
    # A chat template may have opened the first thought.
    pieces, opened, behind = [], 0 if marks[0][1] else None, 0
    for mark in marks:
        if not mark[1]:
            opened = mark.start() if opened is None else opened
        elif opened is not None:
            pieces += [response[behind:opened], re.sub(r"[^\n]", " ", response[opened : mark.end()])]
            opened, behind = None, mark.end()
    return "".join((*pieces, response[behind:]))


def _boxes(text: str, begin: int) -> list[Given]:
    """Return the last box that says something, with those before that belong to it, or nothing."""
    opened: list[tuple[bool, int, int]] = []
    boxes: list[_Box] = []
    for brace in _BRACE.finditer(text, begin) if "box" in text else ():
        if brace["box"] or brace.group() == "{":
            opened.append((bool(brace["box"]), brace.start(), brace.end()))
        elif brace.group() == "}" and opened:
            is_box, start, inside = opened.pop()
            if is_box and says_something(text[inside : brace.start()]):
                boxes.append(_Box(start, brace.end(), text[inside : brace.start()]))
    return _joined(text, boxes[-MAX_BOXES:]) if boxes else []


class _Box(NamedTuple):
    start: int
    end: int
    content: str


def _joined(text: str, boxes: Sequence[_Box]) -> list[Given]:
    answer, start = boxes[-1].content, boxes[-1].start
    for box in reversed(boxes[:-1]):
        between = text[box.end : start]
        if box.end > start or not _BETWEEN_BOXES.fullmatch(between):
            break
        answer = box.content + (" or " if "or" in between or "或" in between else ", ") + answer
        start = box.start
    return [Given(answer, start)]


def _tags(text: str, begin: int) -> Iterator[Given]:
    marks = list(_TAG.finditer(text, begin))
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    for mark, end in zip(marks, ends, strict=False):
        content = text[mark.end() : end]
        if not mark[1] and says_something(content):
            yield Given(content, mark.start())


def _hashes(text: str, begin: int) -> Iterator[Given]:
    return (Given(mark[1], mark.start()) for mark in _HASHES.finditer(text, begin))


def _statements(text: str, begin: int) -> list[Given]:
    """Return the last statement of an answer, or nothing."""
    for mark in reversed(list(_STATES.finditer(text, begin))):
        line = _line_behind(text, mark.end())
        if line and not _STATES_NOTHING.match(line):
            return [Given(line, mark.start(), in_prose=True)]
    return []


def _line_behind(text: str, start: int) -> str:
    """Return the rest of the line from ``start``, or the first line behind that says something; else nothing."""
    for line in text[start : start + 4 * MAX_ANSWER_CHARS].split("\n", MAX_LINES)[:MAX_LINES]:
        if line.startswith("#"):
            break
        if says_something(line):
            return line.replace("**", "").strip("*_ \t:：")
    return ""


def _last_line(text: str) -> Given | None:
    end = len(text)
    for line in reversed(text.splitlines(keepends=True)):
        end -= len(line)
        courtesy = _COURTESY.search(line)
        said = line[: courtesy.start() + 1] if courtesy else line
        header = _STEP_HEADER.match(said)
        said = said[header.end() :] if header else said
        if says_something(said) and not _ANSWER_TO_COME.fullmatch(said):
            return Given(said.strip()[-4 * MAX_ANSWER_CHARS :], end, in_prose=True)
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
