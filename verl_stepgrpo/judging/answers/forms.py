r"""Judge an answer in another form than the reference's: without its name, with a decimal behind it, as an interval.

``|AB| = 1`` is met by ``1``, ``\frac{\pi}{3}`` by ``\frac{\pi}{3} \approx 1.047``, ``-2 \le x \le 7`` by ``[-2, 7]``.

Pure: no I/O.
"""

from __future__ import annotations

import re
from dataclasses import replace

from verl_stepgrpo.judging.answers.approximations import by_approximation
from verl_stepgrpo.judging.answers.numbers import NAME
from verl_stepgrpo.judging.answers.verdict import Answer, Judge, Verdict

_INEQUALITY = re.compile(r"<|>|\\[lg]e(?![a-z])")
_LESS = r" ?(?P<{}><|\\le(?![a-z])) ?"
_BETWEEN = re.compile(
    rf"(?P<low>[^<>=]+?){_LESS.format('first')}(?P<name>\\?[a-zA-Z]+){_LESS.format('second')}(?P<high>[^<>=]+)"
)
_FROM = re.compile(r"(?P<name>\\?[a-zA-Z]+) ?(?P<sign><|>|\\[lg]e(?![a-z])) ?(?P<bound>[^<>=]+)")
_INTERVALS = re.compile(r"[\[(][^\[\]()]*,[^\[\]()]*[\])](?: ?\\cup ?[\[(][^\[\]()]*,[^\[\]()]*[\])])*")
_MEMBER = re.compile(r"^\\?[a-zA-Z]+ ?\\in ?")


def by_form(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    """An answer that states the reference's value in another form; None where the forms are the same."""
    verdict = (
        by_approximation(given, wanted, judge)
        or _by_named_value(given, wanted, judge)
        or _by_intervals(given, wanted, judge)
    )
    return None if verdict is None else replace(verdict, layer="form")


def _by_named_value(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    name, equals, value = wanted.core.partition("=")
    if not equals or "=" in value or re.search(r"[=<>]", given.core) or not value.strip():
        return None
    if not NAME.fullmatch(name.strip().casefold()):
        return None
    verdict = judge.compare(given, Answer(value.strip(), value.strip()))
    return verdict if verdict.correct else None


def _by_intervals(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    if bool(_INEQUALITY.search(given.core)) == bool(_INEQUALITY.search(wanted.core)):
        return None
    ours, gold = as_intervals(given.core), as_intervals(wanted.core)
    if ours is None or gold is None or _INEQUALITY.search(ours + gold):
        return None
    return judge.compare(Answer(ours, ours), Answer(gold, gold))


def as_intervals(text: str) -> str | None:
    r"""Return an inequality of one name, or several with "or", as a union of intervals; intervals as they are."""
    text = _MEMBER.sub("", text)
    if _INTERVALS.fullmatch(text):
        return text
    parts = [_interval(part.strip()) for part in re.split(r"(?:,| )? ?\bor\b ?", text)]
    return None if None in parts else " \\cup ".join(part for part in parts if part)


def _interval(text: str) -> str | None:
    between = _BETWEEN.fullmatch(text)
    if between:
        opening = "(" if between["first"] == "<" else "["
        closing = ")" if between["second"] == "<" else "]"
        return f"{opening}{between['low'].strip()},{between['high'].strip()}{closing}"
    bounded = _FROM.fullmatch(text)
    if not bounded:
        return None
    bound, sign = bounded["bound"].strip(), bounded["sign"]
    if sign in ("<", "\\le"):
        return f"(-\\infty,{bound}{')' if sign == '<' else ']'}"
    return f"{'(' if sign == '>' else '['}{bound},\\infty)"
