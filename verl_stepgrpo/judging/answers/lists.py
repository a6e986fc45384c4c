"""Judge lists: tuples, intervals, sets and bare lists.

Pure: no I/O.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from verl_stepgrpo.judging.answers.equations import RELATION
from verl_stepgrpo.judging.answers.numbers import NAME
from verl_stepgrpo.judging.answers.verdict import Answer, Judge, Verdict, decided
from verl_stepgrpo.judging.reading.quantities import parse_quantity

MAX_NESTED_LISTS = 6
"""Brackets in brackets of a list that is compared element by element."""
MAX_ELEMENTS = 64
"""Longest list that is compared element by element."""


@dataclass(frozen=True)
class Elements:
    """A list: its brackets, "" where there are none, its elements as text, and whether "and" joins them."""

    opening: str
    items: tuple[str, ...]
    closing: str
    joined: bool = False

    @property
    def is_set(self) -> bool:
        return self.opening == "{"


def by_list(given: Answer, wanted: Answer, judge: Judge) -> Verdict | None:
    r"""Tuples and intervals agree element by element in order, sets and bare lists of numbers in any order."""
    gold, ours = elements(wanted.folded), elements(given.folded)
    if max(len(gold.items), len(ours.items)) < 2 and not (gold.is_set or ours.is_set):
        return None
    if (
        RELATION.search("".join((*gold.items, *ours.items)))
        or min(len(gold.items), len(ours.items)) > MAX_ELEMENTS
    ):
        return None
    if any(re.search(r"[\[(][^\])]*$", item) for item in (*gold.items, *ours.items)):
        return None
    if len(gold.items) != len(ours.items):
        return decided(False, "list", f"{len(ours.items)} elements against {len(gold.items)}")
    if ours.opening and gold.opening and _brackets(ours) != _brackets(gold):
        return decided(False, "list", "other brackets")
    if max(_depths(given.core), default=0) > MAX_NESTED_LISTS:
        return decided(False, "list", "lists in lists in lists")
    return decided(_same_elements(ours, gold, judge), "list", "element by element")


def _depths(text: str) -> list[int]:
    """Return for each character how many brackets are open behind it."""
    return list(itertools.accumulate((c in "([{") - (c in ")]}") for c in text))


def _same_element(given: str, wanted: str, judge: Judge) -> bool:
    return judge.verdict_on(given, wanted).correct


def _same_elements(ours: Elements, gold: Elements, judge: Judge) -> bool:
    (names, items), (gold_names, golds) = _values(ours.items), _values(gold.items)
    if names and gold_names and names != gold_names:
        return False
    in_order = all(_same_element(item, want, judge) for item, want in zip(items, golds, strict=True))
    if len(set(names or gold_names)) > 1:
        return in_order  # values of different variables
    bare = not gold.opening and not ours.opening and (ours.joined or all(re.search(r"\d", g) for g in golds))
    if in_order or not (gold.is_set or ours.is_set or bare):
        return in_order
    left = list(golds)
    for item in items:
        match = next((want for want in left if _same_element(item, want, judge)), None)
        if match is None:
            return False
        left.remove(match)
    return True


def _values(items: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and values of ``x = 1, y = 2`` in the order of the names; other elements as they are."""
    pairs = [item.partition("=") for item in items]
    if not all(equals and NAME.fullmatch(name.strip()) for name, equals, _ in pairs):
        return (), tuple(items)
    ordered = sorted(pairs, key=lambda pair: pair[0].strip())
    return tuple(name.strip() for name, _, _ in ordered), tuple(value.strip() for _, _, value in ordered)


def _brackets(elements: Elements) -> tuple[str, str]:
    return elements.opening, elements.closing


def elements(text: str) -> Elements:
    r"""Split ``text`` at commas, semicolons, "and", "or" and ``\cup`` outside of brackets."""
    if parse_quantity(text) is not None:
        return Elements("", (text,), "")
    text = text.replace("\\{", "{").replace("\\}", "}")
    name, equals, value = text.partition("=")
    if (
        equals
        and re.fullmatch(r"[a-z]|[a-z ]+|\([a-z](?:, ?[a-z])+\)", name.strip())
        and value.strip()[:1] in ("(", "[", "{")
    ):
        text = value.strip()
    text = re.sub(r"^(?:[a-z]|\\[a-z]+) ?\\in ", "", text)
    point = re.fullmatch(r"[a-z] ?(\([^()]*,[^()]*\))", text)
    text = point[1] if point else text
    text = {"\\emptyset": "{}", "\\mathbb{r}": "(-\\infty,\\infty)"}.get(text.strip(), text)
    unions = _split(text, ("\\cup",))
    if len(unions) > 1:
        return Elements("{", tuple(unions), "}")
    plus_minus = re.fullmatch(r"(?:[a-z] ?= ?)?\\pm ?(.+)", text)
    if plus_minus:
        return Elements("{", (plus_minus[1], f"-{plus_minus[1]}"), "}")
    opening, closing = "", ""
    if text[:1] in ("(", "[", "{") and text[-1:] in (")", "]", "}") and _closes_at_end(text):
        opening, closing, text = text[0], text[-1], text[1:-1].strip()
    items = _split(text, (",", ";", " and ", " or ")) if text else []
    if opening != "{" and len(items) < 2:
        return Elements("", (f"{opening}{text}{closing}",), "")
    return Elements(opening, tuple(items), closing, joined=" and " in text and " then " not in text)


def _split(text: str, separators: tuple[str, ...]) -> list[str]:
    items, start, i = [], 0, 0
    depths = _depths(text)
    while i < len(text):
        separator = next((s for s in separators if depths[i] <= 0 and text.startswith(s, i)), None)
        if separator:
            items.append(text[start:i])
            i += len(separator)
            start = i
        else:
            i += 1
    items.append(text[start:])
    # An empty element comes from ", and".
    return [item.strip() for item in items if item.strip()]


def _closes_at_end(text: str) -> bool:
    """Whether the bracket that opens ``text`` is closed by its last character, not before."""
    depths = _depths(text)
    return 0 in depths and depths.index(0) == len(text) - 1
