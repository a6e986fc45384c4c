r"""Where the end of a line ends what is said: between "3x = 15" and "x = 5", but not between "3 + 5" and "= 8".

A line goes on with the one before it where that one cannot end as it does ("There are", "3 +", a comma), where it
cannot begin a statement itself ("= 8", "children left", "(rejected)"), or where a display stands in a sentence. The
rows of TeX's environments are lines too: ``3x &= 15 \\ x &= 5``; those of a matrix are none.

Pure: no I/O. Nothing here raises on text.
"""

from __future__ import annotations

import functools
import re

from verl_stepgrpo.judging.reading.lexicon import ANSWERS, FUNCTION_WORDS
from verl_stepgrpo.judging.reading.tokens import FUNCTIONS

MIN_WRAPPED_CHARS = 40
"""Shortest line that may be broken within a sentence for want of space; in a list of values lines are shorter."""

MAX_LETTERS = 3
"""Longest run of small letters that may be a product of variables."""

_REACH = 100
"""Characters before the end of a line, and behind it, that are looked at."""

_END = r"[\n\r]|(?<!\\)\\\\(?=\s|[&\d\[]|\\[a-zA-Z]|\Z)(?:\[ ?-?[\d.]+ ?\w\w ?\])?|\\item(?![a-zA-Z])"
_SILENT_COMMANDS = "quad|qquad|left|displaystyle|hline|noindent|centering"
_SAYS_NOTHING = (
    r"\s|[$&]|\\[()\[\],;:!]|\\(?:begin|end) ?\{[a-zA-Z]+\*?\}(?:\{[^{}\n]{0,9}\})?|\*\*|__|`+(?:\w*(?=\n))?|\{\}"
    rf"|\\(?:{_SILENT_COMMANDS})(?![a-zA-Z])|\\(?:text(?:bf|it|rm)?|mathrm|mathbf)\{{"
)
_LINE_END = re.compile(rf"(?:{_END})(?:{_SAYS_NOTHING}|{_END})*")
"""The end of a line, with all up to what the next one says."""
_ENDS = re.compile(_END)
_CLOSES = re.compile(r"(?:[\s$&`]|\\[\])]|\\end ?\{[a-zA-Z]+\*?\}|\*\*|__|\\q?quad)+\Z")

SIGNS = (
    "times|cdot|div|le|leq|leqslant|ge|geq|geqslant|ne|neq|lt|gt|approx|equiv|sim|cong|pm|over|parallel|perp|in|cup|"
    "cap"
)
"""TeX commands of operators and relations."""
_AWAITS = re.compile(rf"(?:(?<![-=])=|[+/^<≤≥≠≈×÷·,:;(\[{{]|(?<=\s)[-−–*>]|\\(?:{SIGNS}))\Z", re.ASCII)
"""How a line ends that goes on: an operator, a relation, an open bracket, a comma."""
_FOLLOWS = re.compile(
    rf"={{1,2}}(?![=>])|<(?![a-zA-Z/])|>=|[≤≥≠≈×÷·/^)\]}}%,;]|\\(?:{SIGNS}|right)(?![a-zA-Z])|x\s+\d"
    r"|\((?:[a-z]{2,}|[A-Z][a-z]+)(?![\w(^_]|\s*[-+*/=])"
)
"""How a line begins that goes on: an operator, a relation, a closing bracket, an aside in words."""
_OPERATOR = re.compile(r"[-+*>−]")
_STOPS = frozenset(".?!。")
_BULLET = re.compile(r"[-*+•◦▪–—>|#]|\(?(?:\d{1,2}|[a-z])[.)]\s")
_LABEL = re.compile(r"[a-z][\w'’ -]{0,40}(?:\([^()\n]*\)\s?)?(?:\s?[=:^\\]|\s[-+*/<>]\s)")
_WORD = re.compile(r"(?:a\s+)?([a-zß-ÿ]{2,})(?![\w(^_])")
_LAST_WORD = re.compile(r"(?<![\w\\}])([A-Za-zß-ÿ][a-zß-ÿ]*)\Z")
_PROSE = re.compile(r"[a-zß-ÿ]{3,}\Z")
_OPENS_DISPLAY = re.compile(r"\\\[|\$\$|\\begin")
_CLOSES_DISPLAY = re.compile(r"\\\]|\\end|\$\$.*\$\$", re.S)

AWAITING = frozenset(
    "the a an equals equal plus minus times gives give get makes yields than or but not".split()
)
"""Words with which no statement ends, besides most function words."""
_AWAITS_WORD = AWAITING | FUNCTION_WORDS - frozenset("it this there".split())
_CONCLUDES = ANSWERS["CONCLUSION"].words

_MATRIX = re.compile(r"\\begin ?\{(\w*matrix|tabular)\*?\}.{0,2000}?\\end ?\{\1", re.S)
_COLUMN = re.compile(
    rf"(?<=[\d)}}]|\b[a-zA-Z])\s*&(?!\s*(?:[-+*/=<>≤≥≠≈×&−]|\\(?:{SIGNS})(?![a-zA-Z])|\\\\))"
)
"""Where a row of TeX goes on with a column of its own: "x + 1 & x > 0", but not "3x &= 15"."""


@functools.lru_cache(maxsize=256)  # key steps and equations are looked for in the same text
def settled(text: str) -> str:
    """Return ``text`` with a line feed where a line ends what it says, and blanks for all other ends of lines.

    Every offset is kept.
    """
    if "\n" not in text and "\r" not in text and ("\\" not in text or not _ENDS.search(text)):
        return text
    whole = [m.span() for m in _MATRIX.finditer(text)] if "\\begin" in text else []

    def is_whole(match: re.Match[str]) -> bool:
        return any(start < match.start() < end for start, end in whole)

    if "&" in text:
        text = _COLUMN.sub(lambda m: m[0] if is_whole(m) else m[0].replace("&", ","), text)
    parts: list[str] = []
    start = 0
    for end in _LINE_END.finditer(text):
        parts.append(text[start : end.start()])
        parts.append(_written(end[0], ends=not is_whole(end) and _ends(text, end)))
        start = end.end()
    return "".join([*parts, text[start:]])


def _written(gap: str, *, ends: bool) -> str:
    """Return what stands between two lines with blanks for their ends, the first a line feed where one ``ends``."""
    blank = _ENDS.sub(lambda m: " " * len(m[0]), gap)
    return "\n" + blank[1:] if ends else blank


def _ends(text: str, end: re.Match[str]) -> bool:
    """Whether the line before ``end`` ends what it says."""
    start, stop = end.span()
    if text[start - 1 : start] in _STOPS and start:
        return stop < len(text)
    before = _CLOSES.sub("", text[max(0, start - _REACH) : start])
    behind = text[stop : stop + _REACH]
    if not before.strip() or not behind:
        return False
    if before[-1] in _STOPS:
        return True
    if _AWAITS.search(before):
        return False
    aligned = "&" in end[0]
    if _FOLLOWS.match(behind) or (aligned and _OPERATOR.match(behind)):
        return False
    if _BULLET.match(behind):
        return True
    last = _LAST_WORD.search(before)
    if last and last[1].lower() in _AWAITS_WORD:
        return False
    is_full = len(before) - before.rfind("\n") > MIN_WRAPPED_CHARS
    return not (_goes_on_in_words(behind, is_full) or _stands_in_a_sentence(before, behind, end[0], is_full))


def _goes_on_in_words(behind: str, is_full: bool) -> bool:
    """Whether a line begins with a word within a sentence: "children left", but not "sin x" or "cubes = 2".

    Behind a line that is full a name may be broken: "4 miles an hour * 2" and "hours = 8 miles".
    """
    word = _WORD.match(behind)
    if word is None or word[1] in _CONCLUDES or word[1] in FUNCTIONS:
        return False
    return not _LABEL.match(behind) or (is_full and len(word[1]) > MAX_LETTERS)


def _stands_in_a_sentence(before: str, behind: str, gap: str, is_full: bool) -> bool:
    """Whether mathematics behind a word goes on with its sentence: a display, or a line that was full."""
    if not _PROSE.search(before) or behind[0].isupper():
        return False
    return is_full or (_OPENS_DISPLAY.search(gap) is not None and not _CLOSES_DISPLAY.search(gap))
