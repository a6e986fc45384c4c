"""Give an expression one form for all orders of its terms and factors: ``5 + 2 * 3`` and ``3 * 2 + 5`` are the same.

Nestings with the same value are the same too: ``8 - (3 + 2)`` is ``8 - 3 - 2``, ``6 / (2 * 3)`` is ``6 / 2 / 3``.
Nothing is calculated and nothing cancelled: ``2 * 3`` is not ``6``, and ``1 * x`` not ``x``.

Pure: no I/O. What cannot be read gives None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from verl_stepgrpo.judging.reading.numbers import share

MAX_DEPTH = 12
"""Parentheses, powers and functions in each other that are read."""

FACTORS = frozenset("abcdeijklmnorstuvwxyz")
"""Letters that multiply a sum or product in parentheses behind them; the rest, before one name any, are functions'."""


class Item(NamedTuple):
    """One part of an expression.

    Attributes:
        kind: n(umber), v(ariable), f(unction), one of ``+-*/^_()``, ``·`` (product without a sign), ``~`` (the sign
            of a negative), ``%``, ``!`` or ``′`` behind an operand, ``=`` for any relation.
        text: The spelling of its token.
        first: Index of its first token.
        last: Index of its last token.
    """

    kind: str
    text: str
    first: int
    last: int


new_item: Callable[[type[Item], tuple], Item] = tuple.__new__
"""Make an item of all its fields, without the cost of the arguments' names: ``new_item(Item, (...))``."""

Node = str | tuple
"""A leaf, or a tuple of an operation and its operands; of a sum and a product each operand has its sign before it."""


def form(items: Sequence[Item], *, number: Callable[[str], str] = str) -> str | None:
    """Return the form of the expression that ``items`` are, all of them; None where they are none.

    Args:
        items: As they stand.
        number: Spells the numbers; ``lambda _: "#"`` gives the form of all expressions with other numbers.
    """
    if len(items) == 1 and items[0].kind in "nv":
        return number(items[0].text) if items[0].kind == "n" else items[0].text
    if len(items) == 3 and items[0].kind == items[2].kind == "n" and items[1].kind in "+-*/":
        return _of_two(number(items[0].text), items[1].kind, number(items[2].text))
    node = read(items, number=number)
    return None if node is None else _written(node)


def read(items: Sequence[Item], *, number: Callable[[str], str] = str) -> Node | None:
    """Return the expression that ``items`` are, all of them, as operations; None where they are none."""
    reader = _Reader(items, number)
    try:
        node = reader.sum_()
    except _UnreadableError:
        return None
    return node if reader.position == len(items) else None


def _of_two(a: str, operator: str, b: str) -> str:
    """Return the form of an operation with two numbers, as ``_written`` gives it."""
    signed = operator + b if operator in "-/" else b
    first, second = (a, signed) if a < signed else (signed, a)
    return f"({first}+{second})" if operator in "+-" else f"[{first}*{second}]"


class _UnreadableError(Exception):
    pass


class _Reader:
    """A reader by recursive descent."""

    def __init__(self, items: Sequence[Item], number: Callable[[str], str]) -> None:
        self.items = items
        self.number = number
        self.position = 0
        self.depth = 0

    def next_kind(self) -> str:
        return self.items[self.position].kind if self.position < len(self.items) else ""

    def take(self) -> Item:
        if self.position >= len(self.items):
            raise _UnreadableError
        self.position += 1
        return self.items[self.position - 1]

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _UnreadableError

    def sum_(self) -> Node:
        self._deeper()
        terms = [(1, self.product())]
        while self.next_kind() in ("+", "-"):
            terms.append((1 if self.take().kind == "+" else -1, self.product()))
        self.depth -= 1
        return _sum_of(terms)

    def product(self) -> Node:
        factors = [(1, self.signed())]
        while self.next_kind() in ("*", "/"):
            factors.append((1 if self.take().kind == "*" else -1, self.signed()))
        return _product_of(factors)

    def signed(self) -> Node:
        if self.next_kind() != "~":
            return self.tight()
        self.take()
        return _sum_of([(-1, self.tight())])

    def tight(self) -> Node:
        """Read a product without signs, which binds more tightly: ``x / 2y`` is ``x / (2y)``."""
        factors = [(1, self.power())]
        while self.next_kind() == "·":
            self.take()
            factors.append((1, self.power()))
        return _product_of(factors)

    def power(self) -> Node:
        base, depth = self.postfixed(), self.depth
        while self.next_kind() in ("^", "_"):  # each is around the one before
            self._deeper()
            operator = self.take().kind
            exponent = _sum_of([(-1, self._exponent())]) if self.next_kind() == "~" else self.postfixed()
            base = (operator, base, exponent)
        self.depth = depth
        return base

    def _exponent(self) -> Node:
        self.take()
        return self.postfixed()

    def postfixed(self) -> Node:
        node, depth = self.primary(), self.depth
        while self.next_kind() in ("!", "′"):
            self._deeper()
            node = (self.take().kind, node)
        self.depth = depth
        return node

    def primary(self) -> Node:
        item = self.take()
        if item.kind == "n":
            if self.next_kind() == "%":
                self.take()
                return self.number(share(item.text))
            return self.number(item.text)
        if item.kind == "v":
            return self._applied(item.text) if self._is_call() else item.text
        if item.kind == "f":
            return self._applied_function(item.text)
        if item.kind != "(":
            raise _UnreadableError
        return self._inside()

    def _inside(self) -> Node:
        node = self.sum_()
        if self.take().kind != ")":
            raise _UnreadableError
        return node

    def _is_call(self) -> bool:
        return self.next_kind() == "·" and self.items[self.position + 1 : self.position + 2][0].kind == "("

    def _applied(self, name: str) -> Node:
        """Read ``f(x)``, and ``x(x - 3)``, which is a product."""
        self.position += 2
        inside = self._inside()
        is_product = name in FACTORS and not isinstance(inside, str)
        return _product_of([(1, name), (1, inside)]) if is_product else ("of", name, inside)

    def _applied_function(self, name: str) -> Node:
        self._deeper()
        node = ("of", name, self.tight() if name.isalpha() else self.power())
        self.depth -= 1
        return node


def _sum_of(terms: list[tuple[int, Node]]) -> Node:
    flat: list[tuple[int, Node]] = []
    for sign, node in terms:
        if node[0] == "+" and not isinstance(node, str):
            flat += [(sign * inner, term) for inner, term in node[1]]
        else:
            flat.append((sign, node))
    if len(flat) == 1 and flat[0][0] > 0:
        return flat[0][1]
    return ("+", flat)


def _product_of(factors: list[tuple[int, Node]]) -> Node:
    if len(factors) == 1:
        return factors[0][1]
    flat: list[tuple[int, Node]] = []
    sign = 1
    for power, factor in factors:
        node = factor
        if not isinstance(node, str) and node[0] == "+" and len(node[1]) == 1:  # -a
            sign, node = -sign, node[1][0][1]
        if not isinstance(node, str) and node[0] == "*":
            flat += [(power * inner, part) for inner, part in node[1]]
        else:
            flat.append((power, node))
    product = ("*", flat)
    return product if sign > 0 else _sum_of([(-1, product)])


def _written(node: Node) -> str:
    if isinstance(node, str):
        return node
    if node[0] == "+":
        return f"({'+'.join(sorted(('' if sign > 0 else '-') + _written(term) for sign, term in node[1]))})"
    if node[0] == "*":
        return f"[{'*'.join(sorted(('' if power > 0 else '/') + _written(part) for power, part in node[1]))}]"
    return f"{{{node[0]} {' '.join(map(_written, node[1:]))}}}"
