"""Judge lists: tuples, intervals, sets and bare lists.

Pure: no I/O.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from verl_stepgrpo.judging.answers.equations import RELATION, is_symbolic
from verl_stepgrpo.judging.answers.numbers import NAME
from verl_stepgrpo.judging.answers.verdict import Answer, Judge, Verdict, decided, shown
from verl_stepgrpo.judging.reading.quantities import parse_quantity

MAX_NESTED_LISTS = 6
"""Brackets in brackets of a list that is compared element by element."""
_LABEL = re.compile(r"[a-z]{1,3}_?\{?\d+\}?|\(?\d+\)|\(?[a-z]\)?")
"""An element that names something: "v1", "(2)", "b"."""

MAX_SOLUTIONS = 3
"""Longest bare list of plain numbers that may be solutions; longer ones are more often put into an order."""

MAX_ELEMENTS = 64
"""Longest list that is compared element by element."""


_VECTOR = re.compile(r"\\begin\{pmatrix\}(?P<rows>.*?)\\end\{pmatrix\}", re.DOTALL)
_NOT_BOTH = re.compile(r",|;|\d\.\d|%")
"""Where a sign of plus or minus joins no two solutions: in a list, and before the error of a measurement."""


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
    gold, ours = (
        elements(_as_tuple(wanted.folded, given.folded)),
        elements(_as_tuple(given.folded, wanted.folded)),
    )
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
        return decided(False, "list", f"{len(ours.items)} elements, the reference has {len(gold.items)}")
    if ours.opening and gold.opening and _brackets(ours) != _brackets(gold):
        return decided(
            False, "list", f"the brackets differ: {''.join(_brackets(ours))}, {''.join(_brackets(gold))}"
        )
    if max(_depths(given.core), default=0) > MAX_NESTED_LISTS:
        return decided(False, "list", "lists in lists in lists: not compared")
    difference = _difference(ours, gold, judge)
    return decided(not difference, "list", difference or f"the elements agree, {len(gold.items)} of them")


def _as_tuple(text: str, other: str) -> str:
    """Return a column as a tuple, where the other side is no matrix."""
    if "matrix" not in text:
        return text
    vector = None if "matrix" in other else _VECTOR.fullmatch(text.strip())
    if vector is None or "&" in vector["rows"]:
        return text
    rows = vector["rows"].strip().removesuffix("\\\\")
    return f"({', '.join(row.strip() for row in rows.split(chr(92) * 2))})"


def _depths(text: str) -> list[int]:
    """Return for each character how many brackets are open behind it."""
    return list(itertools.accumulate((c in "([{") - (c in ")]}") for c in text))


def _same_element(given: str, wanted: str, judge: Judge) -> bool:
    return judge.verdict_on(given, wanted).correct


def _difference(ours: Elements, gold: Elements, judge: Judge) -> str:
    """Return, in words, where two lists of one length differ; "" where they do not."""
    (names, items), (gold_names, golds) = _values(ours.items), _values(gold.items)
    if names and gold_names:
        if sorted(names) != sorted(gold_names):
            return f"the names differ: {', '.join(names)}; {', '.join(gold_names)}"
        if len(set(names)) == len(names):  # in the order of the reference's names
            items = tuple(items[names.index(name)] for name in gold_names)
    pairs = zip(items, golds, strict=True)
    other = next(((item, want) for item, want in pairs if not _same_element(item, want, judge)), None)
    if other is None:
        return ""
    differs = f"an element differs: {shown(other[0])}, {shown(other[1])}"
    if len(set(names or gold_names)) > 1:
        return differs  # values of different variables
    bare = not gold.opening and not ours.opening and _is_solution_set(gold, ours, golds)
    if not (gold.is_set or ours.is_set or bare):
        return differs
    return _difference_as_sets(items, golds, judge)


def _difference_as_sets(items: Sequence[str], golds: Sequence[str], judge: Judge) -> str:
    left = list(golds)
    for item in items:
        match = next((want for want in left if _same_element(item, want, judge)), None)
        if match is None:
            return f"an element that the reference has not: {shown(item)}"
        left.remove(match)
    return ""


def _is_solution_set(gold: Elements, ours: Elements, items: Sequence[str]) -> bool:
    """Whether the order of a bare list means nothing: "-1, 2" may be solutions, "2, 1, 3" and "V2, V1" are in an order.

    At most ``MAX_SOLUTIONS`` numbers in ascending order, two numbers of which one is negative, points, expressions,
    and words that "and" joins.
    """
    quantities = [parse_quantity(item) for item in items]
    numbers = [quantity.plain for quantity in quantities if quantity is not None]
    if len(numbers) == len(items):
        roots = len(numbers) == 2 and min(numbers) < 0
        few = len(numbers) <= MAX_SOLUTIONS and numbers == sorted(numbers)
        return gold.joined or roots or few
    if any(_LABEL.fullmatch(item) for item in items):
        return False
    if all(is_symbolic(item) for item in items):
        return True
    return (gold.joined or ours.joined) and not any(re.search(r"\d", item) for item in items)


def _values(items: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names and values of ``x = 1, y = 2``; of other elements no names."""
    pairs = [item.partition("=") for item in items]
    if not all(equals and NAME.fullmatch(name.strip()) for name, equals, _ in pairs):
        return (), tuple(items)
    return tuple(name.strip() for name, _, _ in pairs), tuple(value.strip() for _, _, value in pairs)


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
    if text.count("\\pm") == 1 and not _NOT_BOTH.search(text):
        return Elements("{", (text.replace("\\pm", "+"), text.replace("\\pm", "-")), "}")
    opening, closing = "", ""
    if text[:1] in ("(", "[", "{") and text[-1:] in (")", "]", "}") and _closes_at_end(text):
        opening, closing, text = text[0], text[-1], text[1:-1].strip()
    items = _split(text, (",", ";", " and ", " or ")) if text else []
    if opening != "{" and len(items) < 2:
        return Elements("", (f"{opening}{text}{closing}",), "")
    return Elements(opening, tuple(items), closing, joined=" and " in text and " then " not in text)


def _split(text: str, separators: tuple[str, ...]) -> list[str]:
    if not any(separator in text for separator in separators):
        return [text.strip()] if text.strip() else []
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
