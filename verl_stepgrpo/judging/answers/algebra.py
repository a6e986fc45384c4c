"""Compare algebraic expressions exactly, by their values in a finite field.

Sums, products, quotients and integer powers of numbers, variables, pi and square roots of integers are mapped to
the integers modulo a large prime: variables and pi to random residues, the square root of 2 to a residue whose square
is 2, and so on. The map is a homomorphism, so that equal expressions have equal values; different ones have equal
values with a probability below 1e-30 (their difference is a polynomial of low degree; Schwartz 1980, Zippel 1979).
It takes microseconds where a computer algebra system takes milliseconds, and cannot hang.

Pure: no I/O. Not covered, and left to math-verify: functions, variable exponents, nested radicals, inequalities.
"""

from __future__ import annotations

import functools
import math
import random
import re
from collections.abc import Callable

PRIME = 4 * math.prod(n for n in range(2, 100) if all(n % d for d in range(2, n))) - 1
"""Four times the product of the primes below 100, less one: a prime of 123 bits. By quadratic reciprocity each of
those primes has a square root modulo it, and since it is 3 modulo 4 the root is one power of the residue."""

POINTS = 2
"""Random points at which expressions are compared."""

MAX_CHARS = 160
MAX_EXPONENT = 64
MAX_RADICAND = 10**6
"""Longest expression, largest exponent and largest integer under a root that are read here."""

MAX_DEPTH = 20
"""Brackets in brackets."""

_TOKEN = re.compile(
    r"\\[a-zA-Z]+|\d{1,24}(?:\.\d{1,24})?|[a-zA-Z](?:_\{\w{1,8}\}|_\w)?|[-+*/^(){}\[\]]|(\s+)|(.)", re.DOTALL
)
_NAMES = frozenset(
    "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi rho sigma tau phi chi psi omega "
    "hbar ell pi".split()
)
_CALLED = frozenset("fghFGHPp")
"""Letters that are more often a function than a factor before a parenthesis."""


class _UnreadableError(Exception):
    """The expression is none that this module covers."""


def equal(one: str, other: str) -> bool | None:
    """Return whether two TeX expressions are equal; None where one is not covered, or has no value."""
    try:
        return _value(one) == _value(other)
    except (_UnreadableError, ZeroDivisionError):
        return None


def same_equation(one: tuple[str, str], other: tuple[str, str]) -> bool | None:
    """Return whether two equations, each as its two sides, are one a constant multiple of the other.

    None where a side is not covered, or has no value. Fractions with a variable below are not covered: clearing
    them changes the equation's form.
    """
    if any(re.search(r"/ ?\(?[a-zA-Z]|\}\{[^{}]*[a-zA-Z]", side) for side in (*one, *other)):
        return None
    try:
        a, b = (_differences(*sides) for sides in (one, other))
        if not all(a) or not all(b):
            return None
        ratios = {x * pow(y, -1, PRIME) % PRIME for x, y in zip(a, b, strict=True)}
    except (_UnreadableError, ZeroDivisionError):
        return None
    return len(ratios) == 1


def _differences(left: str, right: str) -> tuple[int, ...]:
    return tuple((x - y) % PRIME for x, y in zip(_value(left), _value(right), strict=True))


@functools.lru_cache(maxsize=8192)
def _value(text: str) -> tuple[int, ...]:
    """Return the expression's value at each point."""
    if len(text) > MAX_CHARS:
        raise _UnreadableError
    tokens = []
    for match in _TOKEN.finditer(text):
        if match[2]:
            raise _UnreadableError
        if not match[1]:
            tokens.append(match.group())
    return tuple(_Reader(tokens, functools.partial(_point, k)).read() for k in range(POINTS))


@functools.lru_cache(maxsize=4096)
def _point(k: int, variable: str) -> int:
    """Return the residue of a variable at point ``k``: random, and always the same."""
    return random.Random(f"{k} {variable}").randrange(2, PRIME)


@functools.lru_cache(maxsize=4096)
def _root(n: int) -> int:
    """Return the residue that stands for the square root of ``n``, as a product over its prime factors."""
    value, factor = 1, 2
    while factor * factor <= n:
        while n % (factor * factor) == 0:
            n //= factor * factor
            value = value * factor % PRIME
        if n % factor == 0:
            n //= factor
            value = value * _root_of_prime(factor) % PRIME
        factor += 1
    return value * _root_of_prime(n) % PRIME if n > 1 else value


def _root_of_prime(p: int) -> int:
    root = pow(p, (PRIME + 1) // 4, PRIME)
    if root * root % PRIME != p:
        raise _UnreadableError  # not a square in this field
    return root


def _inverse(value: int) -> int:
    if value == 0:
        raise ZeroDivisionError
    return pow(value, -1, PRIME)


class _Reader:
    """Reads an expression by recursive descent and evaluates it on the way."""

    def __init__(self, tokens: list[str], point: Callable[[str], int]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._point = point

    def read(self) -> int:
        value = self._sum()
        if self._peek():
            raise _UnreadableError
        return value

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self, expected: str = "") -> str:
        token = self._peek()
        if not token or (expected and token != expected):
            raise _UnreadableError
        self._at += 1
        return token

    def _sum(self) -> int:
        value = self._signed_product()
        while self._peek() in ("+", "-") and self._peek():
            sign = self._take()
            term = self._product()
            value = (value + term if sign == "+" else value - term) % PRIME
        return value

    def _signed_product(self) -> int:
        if self._peek() in ("+", "-") and self._peek():
            return self._product() if self._take() == "+" else -self._product() % PRIME
        return self._product()

    def _product(self) -> int:
        value = self._power()
        while True:
            token = self._peek()
            if token == "*":
                self._take()
                value = value * self._power() % PRIME
            elif token == "/":
                self._take()
                value = value * _inverse(self._power()) % PRIME
                if self._begins_factor():
                    raise _UnreadableError  # 1/2x: half of x, or one over 2x
            elif self._begins_factor():
                value = value * self._factor_behind() % PRIME
            else:
                return value

    def _begins_factor(self) -> bool:
        token = self._peek()
        return bool(token) and (token[0].isalnum() or token in "({[" or token.startswith("\\"))

    def _factor_behind(self) -> int:
        before, token = self._tokens[self._at - 1], self._peek()
        called = token == "(" and before in _CALLED
        # "2 3" and "2\\frac{1}{2}" are not products of what stands there.
        if called or token[0].isdigit() or (before[0].isdigit() and token == "\\frac"):
            raise _UnreadableError
        return self._power()

    def _power(self) -> int:
        base = self._atom()
        if self._peek() == "^":
            self._take()
            return self._raised(base)
        return base

    def _raised(self, base: int) -> int:
        bracket = {"{": "}", "(": ")"}.get(self._peek())
        if bracket:
            self._take()
        negative = self._peek() == "-"
        if negative:
            self._take()
        digits = self._take()
        if bracket:
            self._take(bracket)
        if not digits.isdecimal() or int(digits) > MAX_EXPONENT or self._peek() == "^":
            raise _UnreadableError
        power = pow(base, int(digits), PRIME)
        return _inverse(power) if negative else power

    def _atom(self) -> int:
        token = self._take()
        if token[0].isdigit():
            whole, _, decimals = token.partition(".")
            return int(whole + decimals) * _inverse(pow(10, len(decimals), PRIME)) % PRIME
        if token in ("(", "{", "["):
            return self._bracketed(token)
        if token == "\\frac":
            top = self._group()
            return top * _inverse(self._group()) % PRIME
        if token == "\\sqrt":
            return self._square_root()
        if token[0].isalpha() and token not in ("i", "I"):
            return self._point(re.sub(r"[{}]", "", token))  # x_{1} is x_1
        if token[0] == "\\" and token[1:] in _NAMES:
            return self._point(token)
        raise _UnreadableError

    def _bracketed(self, opening: str) -> int:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _UnreadableError
        value = self._sum()
        self._take({"(": ")", "{": "}", "[": "]"}[opening])
        self._depth -= 1
        return value

    def _group(self) -> int:
        self._take("{")
        return self._bracketed("{")

    def _square_root(self) -> int:
        self._take("{")
        digits = self._take()
        self._take("}")
        if not digits.isdecimal() or int(digits) > MAX_RADICAND:
            raise _UnreadableError
        return _root(int(digits))
