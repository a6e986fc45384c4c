"""Read the expressions and relations that begin at one token, as far as they go on.

Units, currencies and nouns at numbers are left aside; what stands between an operator and its number, or behind a
number, may be words that change nothing.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from verl_stepgrpo.judging.key_steps.chains import Chain
from verl_stepgrpo.judging.key_steps.expressions import Item, form, new_item
from verl_stepgrpo.judging.reading.lexicon import FUNCTION_WORDS
from verl_stepgrpo.judging.reading.tokens import UNITS, Token

MAX_LEAD_WORDS = 2
"""Words that may stand between an operator and its operand, "= total of 45", or behind a variable."""

MAX_TAIL_WORDS = 9
"""Words that may stand between a number and the operator behind it: "240 of the trees in the park + 3"."""

_OTHER_VALUE = frozenset("thirds halves quarters maybe perhaps".split())
"""Words behind a number with which it is another number, or is not certain."""
_NO_LEAD = frozenset(
    "maybe perhaps possibly might nearly almost over above below under than least most".split()
)
"""Words between an operator and a number with which the number is not the operand: "= at least 8"."""
_INFIX = frozenset("+-*=")
"""Signs that stand between two operands, whatever they are."""
SAYS_EQUAL = frozenset("is are gives makes leaves".split())
"""Words that state a result behind an operation with units: "5 apples + 3 apples is 8 apples"."""


class Run:
    """The expressions and relations from one token on, as far as they go on.

    Attributes:
        items: Its parts.
        end: Index of the token at which it broke off.
    """

    def __init__(self, tokens: Sequence[Token], kinds: Sequence[str], start: int) -> None:
        self.tokens = tokens
        self.kinds = kinds
        self.items: list[Item] = []
        self.units: set[tuple[str, str]] = set()
        self.words = False
        self.expects_operand = True
        self._leads = 0
        self._open = 0
        self.end = self._read(start)

    def _read(self, i: int) -> int:
        tokens, kinds, items = self.tokens, self.kinds, self.items
        while i < len(tokens):
            token, kind = tokens[i], kinds[i]
            if items and token.mark:
                return i
            # What is most frequent, without a call.
            if kind == "n" if self.expects_operand else kind in _INFIX and (kind != "=" or not self._open):
                items.append(new_item(Item, (kind, token.text, i, i)))
                self.expects_operand = not self.expects_operand
                self._leads = 0
                i += 1
                continue
            following = self._operand(i) if self.expects_operand else self._behind_operand(i)
            if following is None:
                return i
            i = following
        return i

    def _text(self, i: int) -> str:
        return self.tokens[i].text if i < len(self.tokens) else ""

    def _add(self, kind: str, i: int, *, last: int | None = None, text: str = "") -> int:
        """Add what stands at ``i``, up to token ``last``; return the index behind it."""
        last = i if last is None else last
        self.items.append(Item(kind, text or self.tokens[i].text, i, last))
        self._leads = 0
        self.expects_operand = kind not in ("n", "v", "u", ")", "%", "!", "′")
        return last + 1

    def _operand(self, i: int) -> int | None:
        kind, text = self.kinds[i], self.tokens[i].text
        if kind == "v" and (self._is_possessive(i) or self._is_article(i)):
            return i + 1
        if kind in ("n", "v"):
            return self._add(kind, i)
        if kind == "(":
            self._open += 1
            return self._add(kind, i)
        if kind == "f":
            if self.kinds[i + 1] in ("_", "^") and self.kinds[i + 2] in ("n", "v"):  # log_2 8
                return self._add(
                    "f", i, last=i + 2, text=text + "".join(t.text for t in self.tokens[i + 1 : i + 3])
                )
            return self._add(kind, i)
        if kind in ("+", "-") and (end := self._signed(i)):
            return end
        if kind in ("+", "-", "*", "/", "=") and self._said_times():
            self.items.pop()  # "35 times * 12 feet"
            self.expects_operand = False
            return i
        if kind == "w" and self._may_lead() and self._leads < MAX_LEAD_WORDS and text not in _NO_LEAD:
            self._leads += 1
            self.words = True
            return i + 1
        return None

    def _signed(self, i: int) -> int | None:
        """Read the sign of an operand, as in "x = -5" and "x = +5", or a dash before it; None where it is neither."""
        if self.kinds[i + 1] not in ("n", "v", "f", "("):
            return None
        attached = self.tokens[i + 1].attached
        if self.kinds[i] == "+":
            return i + 1 if attached and self.items and self.items[-1].kind in "=(" else None
        return self._add("~", i) if self.items or attached else i + 1

    def _is_possessive(self, i: int) -> bool:
        """Whether the "s" of "Nick's" stands at ``i``."""
        return (
            self.tokens[i].text == "s"
            and self._leads > 0
            and self.tokens[i].start == self.tokens[i - 1].end + 1
        )

    def _is_article(self, i: int) -> bool:
        """Whether "a" at ``i`` belongs to words before a number: "= a total of 45"."""
        return self.tokens[i].text == "a" and self._may_lead() and self.kinds[i + 1] == "w"

    def _said_times(self) -> bool:
        """Whether the last item is the noun "times"."""
        last = self.items[-1] if self.items else None
        return (
            last is not None
            and last.kind == "*"
            and self.tokens[last.first].end - self.tokens[last.first].start > 4
        )

    def _may_lead(self) -> bool:
        return bool(self.items) and self.items[-1].kind in ("+", "-", "*", "/", "=")

    def _behind_operand(self, i: int) -> int | None:
        kind, text = self.kinds[i], self.tokens[i].text
        if kind == "=":
            return self._relation(i, text)
        if kind == "/" and self.items[-1].kind in ("n", "%", ")") and (end := self._tail(i)):
            return end
        if kind in ("+", "-", "*", "/", "^", "_"):
            return self._add(kind, i)
        if kind == ")" and self._open:
            self._open -= 1
            return self._add(kind, i)
        if kind in ("%", "!", "′"):
            return self._add(kind, i) if kind == "%" or self.tokens[i].attached else None
        if kind == "n":
            return self._number_behind(i)
        if kind == "v" and len(text) > 1 and not self.tokens[i].attached and self.items[-1].kind == "n":
            self._add("·", i)
            return self._add("u", i)  # "375 WPM"
        if kind in ("v", "f", "("):
            return self._factor_behind(i)
        if self._is_times(i) or (text == "of" and self._is_share(i)):
            return self._add("*", i)
        return self._tail(i)

    def _is_times(self, i: int) -> bool:
        """Whether a letter "x" or a sign "@" at ``i`` multiplies: "6 toys x $5", but not "2 and x_1"."""
        if self.tokens[i].text not in ("x", "X", "@") or self.kinds[i + 1] not in ("n", "("):
            return False
        return self.tokens[i].attached or not self.tokens[i + 1].attached

    def _is_share(self, i: int) -> bool:
        """Whether "of" at ``i`` takes a part of a number: "40% of 60", "3/4 of 60"."""
        fraction = [item.kind for item in self.items[-3:]] == ["n", "/", "n"]
        return self.kinds[i + 1] in ("n", "(") and (self.items[-1].kind == "%" or fraction)

    def _relation(self, i: int, sign: str) -> int:
        if self._open:  # what stands before an open parenthesis is no side: "he has 2 (3 + 5 = 8)"
            del self.items[: _unclosed(self.items)[-1] + 1]
            self._open = 0
        return self._add("=", i, text=sign)

    def _number_behind(self, i: int) -> int | None:
        """Read a number right behind an operand: the index of "x 1", the fraction of "1 1/2"."""
        before, token = self.items[-1], self.tokens[i]
        if before.kind == "v" and token.attached:
            self._add("_", i)
            return self._add("n", i)
        if before.kind == "n" and self.kinds[i + 1] == "/" and self.kinds[i + 2] == "n":
            whole, top, bottom = before.text, token.text, self.tokens[i + 2].text
            if whole.isdecimal() and top.isdecimal() and bottom.isdecimal() and int(top) < int(bottom):
                self.items.pop()
                return self._add("n", before.first, last=i + 2, text=f"{whole} {top}/{bottom}")
        return None

    def _factor_behind(self, i: int) -> int | None:
        """Read what multiplies an operand without a sign, unless it is a unit, an "x" for "times" or an aside."""
        token, before = self.tokens[i], self.items[-1]
        if self._is_times(i) and before.kind != "v":
            return self._add("*", i)
        at_number = before.kind in ("n", "%") or (before.kind == ")" and token.text in UNITS)
        if at_number and token.text in UNITS:
            following = self.kinds[i + 1]
            if following in ("/", "^") or not (token.attached or following in ("v", "(", "f")):
                return self._tail(i)
            self._add("·", i)
            return self._add("u", i)
        if token.text == "(":
            if end := self._aside(i):
                return end
            self._open += 1
        self._add("·", i)
        return self._add(self.kinds[i], i)

    def _aside(self, i: int) -> int | None:
        """Return the index behind parentheses that hold words alone: "8 (apples) + 3"."""
        end = i + 1
        while end < len(self.tokens) and end <= i + MAX_TAIL_WORDS and self.kinds[end] == "w":
            end += 1
        if end == i + 1 or self.kinds[end] != ")":
            return None
        self.words = True
        return end + 1

    def _tail(self, i: int) -> int | None:
        """Return the index of the operator behind the units and nouns at ``i``; None where none follows."""
        start = i
        i = nouns = self._unit(i)
        at_number = self.items[-1].kind in ("n", "%", ")", "!")
        most = i + (MAX_TAIL_WORDS if at_number else MAX_LEAD_WORDS)
        while i < len(self.tokens) and i <= most:
            token, kind = self.tokens[i], self.kinds[i]
            if token.mark:
                return None
            if self._states(i):
                self.words = self.words or i > nouns
                return self._relation(i, "=")
            if kind == "/" and at_number and (self._is_noun(i + 1) or self._text(i + 1) in UNITS):
                i += 2
            elif self._is_noun(i) or (token.text == "." and token.attached and self._ends_tail(i + 1)):
                i += 1
            else:
                break
        if i == start or not self._ends_tail(i):
            return None
        self.words = self.words or i > nouns
        return i

    def _states(self, i: int) -> bool:
        """Whether "is" and the like stand at ``i`` for an equal sign."""
        token = self.tokens[i]
        if token.text not in SAYS_EQUAL:
            return False
        written = token.end - token.start == 1  # "=", behind a noun
        return written or any(item.kind in ("+", "-", "*", "/") for item in self.items)

    def _is_noun(self, i: int) -> bool:
        if i >= len(self.tokens):
            return False
        text = self.tokens[i].text
        return (self.kinds[i] == "w" and text not in _OTHER_VALUE) or (text in UNITS and len(text) > 1)

    def _ends_tail(self, i: int) -> bool:
        if i >= len(self.tokens) or self.tokens[i].mark:
            return False
        kind = self.kinds[i]
        # "3 + 5 = 8 and -2 + 4 = 2": no name ends in "and", and the sign is the next number's.
        if kind in ("+", "-") and self._text(i - 1) in FUNCTION_WORDS:
            return False
        if kind in ("+", "-", "*", "/", "="):
            return True
        if self._is_times(i):
            return True
        return kind == ")" and self._open > 0

    def _unit(self, start: int) -> int:
        """Read the unit at ``start``, if one stands there, and return the index behind it."""
        i = start
        while i < len(self.tokens) and not (self.tokens[i].mark and i > start):
            text = self.tokens[i].text
            if text in UNITS or text == "°":
                i += 1
            elif (text == "/" and self._text(i + 1) in UNITS) or (
                text == "^" and i > start and self.kinds[i + 1] == "n"
            ):
                i += 2
            else:
                break
        if i > start and self.items[-1].kind == "n":
            self.units.add((self.items[-1].text, "".join(token.text for token in self.tokens[start:i])))
        return i

    def chains(self) -> list[Chain]:
        """Return the chains of relations that it holds."""
        kinds = {item.kind for item in self.items}
        if "=" not in kinds:
            return []
        if self._open or not kinds.isdisjoint(("u", "%")):
            pieces = [spelled for piece in self._pieces() for spelled in _percent_spelled(piece)]
        else:
            pieces = [_ending_in_operand(self.items)]
        found: list[Chain] = []
        for piece in pieces:
            self._add_chains(piece, found)
        return found

    def _add_chains(self, items: Sequence[Item], found: list[Chain]) -> None:
        """Add the chains among ``items``: a side that is no expression ends one, and is in none."""
        sides: list[tuple[Item, ...]] = []
        forms: list[str] = []
        signs: list[str] = []
        start = 0
        for end in [*[k for k, item in enumerate(items) if item.kind == "="], len(items)]:
            side = tuple(items[start:end])
            start = end + 1
            written = form(side)
            if written is not None:
                sides.append(side)
                forms.append(written)
                if end < len(items):
                    signs.append(items[end].text)
                    continue
            if len(sides) > 1:
                between = tuple(signs[: len(sides) - 1])
                found.append(Chain(tuple(sides), tuple(forms), between, frozenset(self.units), self.words))
            sides, forms, signs = [], [], []

    def _pieces(self) -> Iterator[list[Item]]:
        """Yield the items between parentheses that were never closed, letters of units left aside or kept."""
        items = self.items
        if any(item.kind == "u" for item in items):
            items = self._without_unit_letters()
        start = 0
        for k in [*_unclosed(items), len(items)]:
            piece = _ending_in_operand(items[start:k])
            if any(item.kind == "=" for item in piece):
                yield piece
            start = k + 1

    def _without_unit_letters(self) -> list[Item]:
        """Return the items with "5m" read as a quantity, or where there are variables, as a product."""
        if any(item.kind == "v" for item in self.items):
            return [item._replace(kind="v") if item.kind == "u" else item for item in self.items]
        kept: list[Item] = []
        for k, item in enumerate(self.items):
            if item.kind == "u":
                self.units.add((kept[-1].text, item.text))
            elif not (item.kind == "·" and self.items[k + 1].kind == "u"):
                kept.append(item)
        return kept


def _unclosed(items: Sequence[Item]) -> list[int]:
    """Return where the parentheses stand that are never closed."""
    opened: list[int] = []
    for k, item in enumerate(items):
        if item.kind == "(":
            opened.append(k)
        elif item.kind == ")" and opened:
            opened.pop()
    return opened


def _percent_spelled(items: list[Item]) -> Iterator[list[Item]]:
    """Yield the items, and where there is a percent sign also with ``40%`` as the product ``40 * 0.01``."""
    yield items
    if any(item.kind == "%" for item in items):
        product: list[Item] = []
        for item in items:
            product.append(item._replace(kind="·") if item.kind == "%" else item)
            if item.kind == "%":
                product.append(item._replace(kind="n", text="0.01"))
        yield product


def _ending_in_operand(items: list[Item]) -> list[Item]:
    """Return the items up to the last that ends an operand."""
    end = len(items)
    while end and items[end - 1].kind not in ("n", "v", ")", "%", "!", "′"):
        end -= 1
    return items if end == len(items) else items[:end]
