"""Judge an answer with a detail behind it: "China (45%)", "China has the highest value", "45 in 2015".

A detail is of another kind than the value, or is what the value is made of: "4 objects: 3 cubes and 1 sphere". Another
value of the same kind, "12 (14)", is none.

Pure: no I/O.
"""

from __future__ import annotations

import re
from dataclasses import replace

from verl_stepgrpo.judging.answers.in_words import CLASS_NOUNS, OPPOSITES
from verl_stepgrpo.judging.answers.numbers import compare_quantities
from verl_stepgrpo.judging.answers.verdict import Answer, Judge, Verdict, decided, shown
from verl_stepgrpo.judging.reading.lexicon import one_of
from verl_stepgrpo.judging.reading.numbers import NUMERAL, SMALL_NUMBERS, joined
from verl_stepgrpo.judging.reading.quantities import parse_quantity

NOTHING = frozenset(("0", "none", "zero"))
"""References that say that there are none of something."""
_NONE_OF_IT = re.compile(
    r"0|zero|none|no (?!(?:answer|idea|clue|way|one|solution)s?\b)[a-z]{2,}(?: [a-z]+){0,2}"
)
_SIGNS = (" in ", "(", ":", " of ")
"""One of them stands in every quantity with a detail; to look for them is cheap."""
_OUT_OF = re.compile(r"(\d{1,12}) out of (\d{1,12})")
_WORDS = re.compile(r"[^\W\d_]{2,}(?:[ '-][^\W\d_]+)*")
_BEHIND_WORDS = re.compile(
    r" \([-+$€£]?[\d.,]+ ?(?:%|[^\W\d_]+)?\)|, with [^,;]*\d[^,;]*"
    rf"|(?P<noun> [a-z]+)? (?:{one_of('COPULA')}|ha[sd]|have) the (?:[a-z]+est|most)\b[^,;.]*"
)
"""A number in parentheses, one behind "with", and what something is or has the most of."""

_TAKES_AWAY = re.compile(rf"\b(?:{one_of('NEGATION', 'HEDGE', also='after except')})\b|n't")
_IN_A_YEAR = re.compile(r"(?P<value>.+?) in (?:1\d|20)\d\d", re.DOTALL)
_WITH_A_SHARE = re.compile(r"(?P<value>[^()%]+?) ?\([\d.,]+ ?%\)")
_WITH_PARTS = re.compile(r"(?P<value>[^():]+?)(?:: (?P<parts>[^():]+)| \((?P<inside>[^():]+)\))")
_PART = re.compile(rf"{NUMERAL}|\b(?:{'|'.join(SMALL_NUMBERS)})\b", re.IGNORECASE)


def by_detail(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    """A reference in words, or a quantity, is met by an answer with a detail behind it; None where there is none."""
    if len(given.full) <= len(wanted.core) and wanted.folded not in NOTHING:
        return None
    if _WORDS.fullmatch(wanted.core) and wanted.folded not in NOTHING:
        is_met = wanted.folded not in OPPOSITES and _is_met_in_words(given.full.casefold(), wanted.folded)
        return decided(True, "text", "it states it, with a detail") if is_met else None
    if wanted.folded in NOTHING and _NONE_OF_IT.fullmatch(given.folded):
        return decided(True, "number", f"{shown(given.core)} is {shown(wanted.core)}")
    if not any(sign in given.full for sign in _SIGNS) or (gold := parse_quantity(wanted.core)) is None:
        return None
    out_of = _OUT_OF.fullmatch(given.core) if re.search(r"/|\\frac", wanted.core) else None
    value = "/".join(out_of.groups()) if out_of else None
    value = value or _value_with_detail(given.full) or _value_with_detail(given.core)
    quantity = parse_quantity(value) if value else None
    if value is None or quantity is None:
        return None
    verdict = compare_quantities(quantity, gold, value, wanted.core, judge.tolerance)
    return verdict if out_of else replace(verdict, reason=f"{verdict.reason}, and a detail")


def _is_met_in_words(text: str, gold: str) -> bool:
    text, gold = text.removeprefix("the "), gold.removeprefix("the ")
    rest = text[len(gold) :] if text.startswith(gold) else ""
    detail = _BEHIND_WORDS.fullmatch(rest) if rest else None
    if detail is None or _TAKES_AWAY.search(rest):
        return False
    return detail["noun"] is None or detail["noun"].strip() in CLASS_NOUNS


def _value_with_detail(text: str) -> str | None:
    """Return the value in front of a year, a share or the parts that it is the sum of."""
    in_a_year = _IN_A_YEAR.fullmatch(text)
    if in_a_year:
        return in_a_year["value"]
    with_a_share = _WITH_A_SHARE.fullmatch(text)
    if with_a_share:
        whole = parse_quantity(with_a_share["value"])
        return with_a_share["value"] if whole is not None and whole.value > 1 else None
    with_parts = _WITH_PARTS.fullmatch(text)
    if with_parts is None:
        return None
    whole = parse_quantity(with_parts["value"])
    parts = [_number(part.group()) for part in _PART.finditer(with_parts["parts"] or with_parts["inside"])]
    return with_parts["value"] if whole and len(parts) > 1 and sum(parts) == whole.value else None


def _number(text: str) -> float:
    return SMALL_NUMBERS[text.casefold()] if text.isalpha() else float(joined(text))
