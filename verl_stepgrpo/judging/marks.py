r"""The marks by which responses show their answer and their thoughts, in whatever format they are written.

``\boxed{...}``, ``<answer>...</answer>``, a line ``#### 18``, "the answer is ...", "option C is correct", and
``<think>...</think>``. Pure; takes time linear in the text, and never raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from verl_stepgrpo.judging.reading.lexicon import one_of
from verl_stepgrpo.judging.sections import says_something

MAX_LINE_CHARS = 2048
"""Characters of a line that may state an answer; four times as many as an answer has."""

MAX_LINES = 4
"""Lines behind "Answer:" in which the answer is looked for; "\\[" alone says nothing."""

MAX_BOXES = 64
"""Boxes that may be one answer together; as many as a list has elements that are compared."""

_THOUGHT = re.compile(r"<(/?)think(?:ing)?>", re.IGNORECASE)
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
BARE_BOX = re.compile(r"\\(?:boxed|fbox)(?: +|(?=\d))(?P<content>-?(?:\d[\d.,]*\d|\d|[A-Za-z](?![a-zA-Z])))")
r"""A box without braces, which TeX puts around what follows: ``\boxed 12``, ``\boxed5``."""
_BRACE = re.compile(rf"(?P<box>\\(?:boxed|fbox) ?\{{)|(?P<bare>{BARE_BOX.pattern})|\\.|[{{}}]", re.DOTALL)
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

_CONFIRMS = re.compile(
    rf"(?:^|[.:,\n]|\b(?:{one_of('CONCLUSION')}))\s{{0,4}}(?:the )?(?:option|choice) [*_(\"']{{0,4}}(?P<letter>[A-J])"
    r"[*_)\"']{0,4} is (?:the )?(?:correct|right|best)\b(?! (?:if|when|only|or)\b)",
    re.IGNORECASE,
)
"""A sentence that says of a choice that it is the answer, in place of saying what the answer is."""


@dataclass(frozen=True)
class Given:
    """An answer that a response gives.

    Attributes:
        text: The answer.
        start: Where its mark begins, in characters of the response.
        in_prose: Whether it is a line of text, which may say more than the answer.
        is_marked: Whether something says that it is the answer.
    """

    text: str
    start: int
    in_prose: bool = False
    is_marked: bool = True


def without_thoughts(response: str) -> str:
    """Return ``response`` with its thoughts blanked, every offset kept; itself where nothing is said behind them."""
    marks = list(_THOUGHT.finditer(response)) if "<" in response else []
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


def boxes(text: str, begin: int) -> list[Given]:
    """Return the last box that says something, with those before that belong to it, or nothing."""
    opened: list[tuple[bool, int, int]] = []
    closed: list[_Box] = []
    for brace in _BRACE.finditer(text, begin) if "box" in text else ():
        if brace["box"] or brace.group() == "{":
            opened.append((bool(brace["box"]), brace.start(), brace.end()))
        elif brace["bare"]:
            closed.append(_Box(brace.start(), brace.end(), brace["content"]))
        elif brace.group() == "}" and opened:
            is_box, start, inside = opened.pop()
            if is_box and says_something(text[inside : brace.start()]):
                closed.append(_Box(start, brace.end(), text[inside : brace.start()]))
    return _joined(text, closed[-MAX_BOXES:]) if closed else []


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


def tags(text: str, begin: int) -> Iterator[Given]:
    """Return what stands in ``<answer>...</answer>``; the last may lack its end."""
    marks = list(_TAG.finditer(text, begin)) if "<" in text else []
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    for mark, end in zip(marks, ends, strict=False):
        content = text[mark.end() : end]
        if not mark[1] and says_something(content):
            yield Given(content, mark.start())


def hashes(text: str, begin: int) -> Iterator[Given]:
    """Return the numbers that stand alone behind ``####``."""
    if "####" not in text:
        return iter(())
    return (Given(mark[1], mark.start()) for mark in _HASHES.finditer(text, begin))


def statements(text: str, begin: int) -> list[Given]:
    """Return the last statement of an answer, or nothing."""
    for mark in reversed(list(_STATES.finditer(text, begin))):
        line = _line_behind(text, mark.end())
        if line and not _STATES_NOTHING.match(line):
            return [Given(line, mark.start(), in_prose=True)]
    return []


def confirmations(text: str, begin: int) -> Iterator[Given]:
    """Return the letters of choices that are said to be correct: "option C is correct"."""
    if "ption" not in text and "hoice" not in text:
        return iter(())
    return (Given(mark["letter"], mark.start()) for mark in _CONFIRMS.finditer(text, begin))


def _line_behind(text: str, start: int) -> str:
    """Return the rest of the line from ``start``, or the first line behind that says something; else nothing."""
    for line in text[start : start + MAX_LINE_CHARS].split("\n", MAX_LINES)[:MAX_LINES]:
        if line.startswith("#"):
            break
        if says_something(line):
            return line.replace("**", "").strip("*_ \t:：")
    return ""


MARKS = (boxes, tags, hashes, statements, confirmations)
"""What finds the answers that a text marks, each from an offset on."""
