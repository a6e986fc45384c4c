"""Judge times of day, dates, and quantities in several units: "3:30 p.m.", "4 July 1776", "5 ft 3 in".

A time of day needs its half of the day, or an hour that tells it: 15:30 is 3:30 PM, and 3:30 may be either. A date
without a year is none with one.

Pure: no I/O. Not covered: time zones, and dates in digits alone but for 1776-07-04.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from verl_stepgrpo.judging.answers.doubts import DENIALS, HEDGE
from verl_stepgrpo.judging.answers.verdict import Answer, Judge, Verdict, decided, shown
from verl_stepgrpo.judging.reading.numbers import NUMERAL, canonical
from verl_stepgrpo.judging.reading.units import KNOWN_UNITS, SYMBOLS, parse_unit

Read = tuple[object, ...]
"""What a text says: the kind, and its numbers."""

MONTHS = {
    month: number
    for number, names in enumerate(
        "january jan,february feb,march mar,april apr,may,june jun,july jul,august aug,september sep sept,"
        "october oct,november nov,december dec".split(","),
        start=1,
    )
    for month in names.split()
}
"""The number of each month, by its name and its short ones."""

_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
_DAY = r"(?P<{}>\d{{1,2}})(?:st|nd|rd|th)?"
_CLOCK = re.compile(
    r"(?<![\d:.])(?P<hour>\d{1,2})(?::(?P<minute>[0-5]\d))?(?::(?P<second>[0-5]\d))?"
    r"(?: ?(?P<half>[ap])\.? ?m\b\.?)?(?![\d:])"
)
_DATE = re.compile(
    rf"(?<![\d-])(?:\b(?P<month>{_MONTH})\b\.? {_DAY.format('day')}"
    rf"|{_DAY.format('first')} (?:of )?(?P<behind>{_MONTH})\b\.?)"
    r"(?:,? (?P<year>\d{4}))?(?!\d)"
    r"|(?<![\d-])(?P<iso>\d{4})-(?P<number>\d\d)-(?P<last>\d\d)(?![\d-])"
)
_UNIT = r"[^\W\d_]+"
_ONE = re.compile(rf"(?P<n>{NUMERAL}) ?(?P<unit>{_UNIT})")
_SEVERAL = re.compile(rf"(?:(?:{NUMERAL}) ?{_UNIT}(?:,? (?:and )?|$)){{2,3}}")


def by_time(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    """A time, a date or a quantity in several units is met by the same one; None where either side is none."""
    reference = _read(wanted.folded)
    if reference is None:
        return None
    read, gold = reference
    ours = read(given.folded) or _in_a_sentence(given.full.casefold(), read)
    if ours is None:
        return None
    same = ours == gold
    return decided(same, "number", f"{shown(given.core)} {'is' if same else 'is not'} {shown(wanted.core)}")


@functools.lru_cache(maxsize=4096)
def _read(text: str) -> tuple[Callable[[str], Read | None], Read] | None:
    """Return what a reference says, with its reader."""
    for read in (_time, _date, _in_several_units):
        said = read(text)
        if said is not None:
            return read, said
    return None


def _in_a_sentence(text: str, read: Callable[[str], Read | None]) -> Read | None:
    """Return the one time or date that a sentence says, where it has no other number, and does not deny it."""
    if read is _in_several_units:
        return None
    found = list((_CLOCK if read is _time else _DATE).finditer(text))
    if len(found) != 1 or re.search(r"\d", text[: found[0].start()] + text[found[0].end() :]):
        return None
    return None if DENIALS.search(text) or HEDGE.search(text) else read(found[0].group().strip())


def _time(text: str) -> Read | None:
    match = _CLOCK.fullmatch(text)
    if not match or not (match["half"] or match["minute"]):
        return None
    hour, half = int(match["hour"]), match["half"]
    if hour > (12 if half else 23) or (not half and 0 < hour < 13):
        return None
    if half:
        hour = hour % 12 + 12 * (half == "p")
    return "time", hour, int(match["minute"] or 0), int(match["second"] or 0)


def _date(text: str) -> Read | None:
    match = _DATE.fullmatch(text)
    if not match:
        return None
    if match["iso"]:
        return "date", int(match["iso"]), int(match["number"]), int(match["last"])
    month, day = match["month"] or match["behind"], match["day"] or match["first"]
    return "date", int(match["year"]) if match["year"] else None, MONTHS[month], int(day)


def _in_several_units(text: str) -> Read | None:
    if not _SEVERAL.fullmatch(text):
        return None
    parts = [
        (canonical(part["n"]), SYMBOLS.get(part["unit"]) or parse_unit(part["unit"]))
        for part in _ONE.finditer(text)
    ]
    units = {unit for _, unit in parts}
    return tuple(parts) if len(units) == len(parts) and units <= KNOWN_UNITS else None
