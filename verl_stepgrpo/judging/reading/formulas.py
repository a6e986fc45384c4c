"""Letters as products of variables, names and units, and what is said of two names as a sign: ``2xy``, "angle ABC",
"5 kilometers", "lines AB and CD are parallel".

Pure: no I/O.
"""

from __future__ import annotations

from verl_stepgrpo.judging.memo import Memo
from verl_stepgrpo.judging.reading.tokens import FUNCTIONS, OPERATORS, RELATIONS, UNITS, Token, text_at
from verl_stepgrpo.judging.reading.units import TEMPERATURES, unit_named

_NOT_VARIABLES = frozenset(
    "is so we it to of as at by be and has for sum are get was can now let all odd any he she us do my on up its our "
    "out you who how why but yes go".split()
)
_VOWELS = frozenset("aeiou")
_ENDS_TERM = RELATIONS | frozenset("+-.!?")
_USUAL_UNITS = frozenset(
    "kgs kms lbs hrs yrs wks mos mph kph pcs pts gal qt pt yr wk pm am cm mm km nm kg mg ml dm ft in yd mi "
    "lb oz hr ms hz khz kj kw pa".split()
)
RELATED = {"parallel": "∥", "perpendicular": "⊥", "similar": "∼", "congruent": "≅"}
"""The sign of each relation of two; each holds the other way round as well."""
_LINES = frozenset("line lines segment segments side sides ray rays chord chords".split())
"""What may stand before the name of a line."""
_SHAPES = {"triangles": "△", "angles": "∠"}
"""What stands before the names of two: "Triangles ABC and DEF are similar"."""
SAYS_RELATED = frozenset((*RELATED, "|"))
"""What statements about two lines, angles or triangles have."""
AXES = frozenset("axis axes intercept intercepts coordinate coordinates".split())


def names(tokens: list[Token]) -> list[Token]:
    """Write angles and triangles with their signs, and axes in small letters: "angle ABC", "X-axis".

    The "m" of an angle's measure goes: ``m∠C`` is the angle in degrees, which ``∠C = 75°`` names as well.
    """
    signs = [i for i, token in enumerate(tokens) if token.text == "∠"]
    for i in reversed(signs):
        if i and tokens[i - 1].text == "m":
            del tokens[i - 1]
    for i, token in enumerate(tokens[:-1]):
        if len(token.text) == 1 and tokens[i + 1].text in AXES:
            tokens[i] = token._replace(text=token.text.casefold())
        elif token.text in ("angle", "triangle") and _is_name(tokens[i + 1]):
            tokens[i] = token._replace(text="∠" if token.text == "angle" else "△")
    return tokens


def units(tokens: list[Token]) -> list[Token]:
    """Write the units behind numbers with their symbols: "5 kilometers per hour" is "5 km / h"."""
    for i, token in enumerate(tokens):
        symbol = UNIT_SYMBOL[token.text]
        if symbol is None or not i:
            continue
        before = tokens[i - 1].text
        if before == "°":
            if token.text in TEMPERATURES:
                tokens[i] = token._replace(text=TEMPERATURES[token.text])
        elif token.text == "per":
            if before in UNITS or before == "/":
                tokens[i] = token._replace(text="/")
        elif before[0].isdigit() or before in UNITS or before == "/":
            tokens[i] = token._replace(text=symbol)
    return tokens


def _unit_symbol(text: str) -> str | None:
    """Return the symbol of a unit by its name, "/" for "per", or None."""
    if text == "per":
        return "/"
    symbol = unit_named(text)
    if symbol is None or not symbol.isascii():
        return TEMPERATURES.get(text)
    return symbol if len(symbol) == 1 else symbol.casefold()


UNIT_SYMBOL = Memo(_unit_symbol)
"""The symbol of a unit by its name, "/" for "per", or None."""


def _is_name(token: Token) -> bool:
    return token.text.isupper() or (len(token.text) == 1 and token.text.isalpha() and token.text != "a")


def related(tokens: list[Token]) -> list[Token]:
    """Write what is parallel, perpendicular, similar or congruent with its sign."""
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        done = _to_at(tokens, i, out) or _both_at(tokens, i, out) or _bars_at(tokens, i, out)
        if done:
            i = done
        else:
            out.append(tokens[i])
            i += 1
    return out


def _to_at(tokens: list[Token], i: int, out: list[Token]) -> int:
    """Read "is parallel to line CD" behind "line AB"; return the index behind, or 0."""
    at = i + (tokens[i].text in ("is", "are"))
    if text_at(tokens, at) not in RELATED or text_at(tokens, at + 1) != "to":
        return 0
    begin = at + 2 + (text_at(tokens, at + 2) in _LINES)
    end = _name_end(tokens, begin)
    start = _name_start(out)
    if end == begin or start is None:
        return 0
    _drop_line(out, start)
    out += [_sign(tokens, at, i, begin), *tokens[begin:end]]
    return end


def _both_at(tokens: list[Token], i: int, out: list[Token]) -> int:
    """Read "and CD are parallel" behind "lines AB"; return the index behind, or 0."""
    begin = i + 1 + (text_at(tokens, i + 1) in _LINES)
    end = _name_end(tokens, begin)
    is_said = (
        text_at(tokens, end) == "are"
        and text_at(tokens, end + 1) in RELATED
        and text_at(tokens, end + 2) != "to"
    )
    start = _name_start(out)
    if tokens[i].text != "and" or not is_said or end == begin or start is None:
        return 0
    other = tokens[begin:end]
    if start and out[start - 1].text in _SHAPES:
        out[start - 1] = out[start - 1]._replace(text=_SHAPES[out[start - 1].text])
        other = [out[start - 1]._replace(start=other[0].start, end=other[0].start, mark=""), *other]
    else:
        _drop_line(out, start)
    out += [_sign(tokens, end + 1, i, begin), *other]
    return end + 2


def _drop_line(out: list[Token], start: int) -> None:
    if start and out[start - 1].text in _LINES:
        del out[start - 1]


def _sign(tokens: list[Token], word: int, i: int, begin: int) -> Token:
    """Return the sign that the word says, in the place of tokens ``i`` to ``begin``."""
    return tokens[i]._replace(text=RELATED[tokens[word].text], end=tokens[begin - 1].end, mark="")


def _bars_at(tokens: list[Token], i: int, out: list[Token]) -> int:
    """Read the two bars of "AB || CD"; return the index behind, or 0."""
    are_bars = tokens[i].text == "|" and text_at(tokens, i + 1) == "|" and tokens[i + 1].attached
    if (
        not are_bars
        or not out
        or not _names_points(out[-1])
        or i + 2 >= len(tokens)
        or not _names_points(tokens[i + 2])
    ):
        return 0
    out.append(tokens[i]._replace(text=RELATED["parallel"], end=tokens[i + 1].end))
    return i + 2


def _names_points(token: Token) -> bool:
    """Whether a token names a line or a triangle by its points: "AB", "ABC"."""
    return len(token.text) > 1 and token.text.isupper()


def _name_end(tokens: list[Token], i: int) -> int:
    """Return the index behind the line, the angle or the triangle at ``i``; ``i`` where there is none."""
    at = i + (text_at(tokens, i) in ("∠", "△"))
    is_named = at < len(tokens) and (_names_points(tokens[at]) or (at > i and tokens[at].operand))
    return at + 1 if is_named else i


def _name_start(out: list[Token]) -> int | None:
    """Return where the line, the angle or the triangle at the end of ``out`` begins, or None."""
    has_sign = len(out) > 1 and out[-2].text in ("∠", "△")
    if not out or not (_names_points(out[-1]) or (has_sign and out[-1].operand)):
        return None
    return len(out) - 1 - has_sign


def products(tokens: list[Token]) -> list[Token]:
    """Split letters that stand side by side in a formula: ``2xy``."""
    places = [i for i, token in enumerate(tokens) if MAY_SPLIT[token.text]]
    if not any(_is_product(tokens, i, tokens[max(0, i - 2) : i]) for i in places):
        return tokens
    split: list[Token] = []
    for i, token in enumerate(tokens):
        if MAY_SPLIT[token.text] and _is_product(tokens, i, split[-2:]):
            split += _letters(token)
        else:
            split.append(token)
    return split


def silent_products(tokens: list[Token]) -> list[Token]:
    """Drop the signs of multiplication by letters, and of numbers by parentheses: ``2 * x`` is ``2 x``.

    Behind a division it stays, since ``6 / (1 + 1) * x`` is not ``6 / ((1 + 1) x)``.
    """
    kept: list[Token] = []
    divides = [False]  # of each parenthesis that is open, whether its last term has a division
    for i, token in enumerate(tokens):
        text = token.text
        if text == "(":
            divides.append(False)
        elif text == ")":
            divides = divides[:-1] or [False]
        elif text == "/":
            divides[-1] = True
        elif token.mark or (text in _ENDS_TERM and not (kept and kept[-1].text in OPERATORS)):
            divides[-1] = False
        following = tokens[i + 1] if text == "*" and i + 1 < len(tokens) else None
        if following and kept and not divides[-1] and _multiplies_silently(kept[-1], following):
            tokens[i + 1] = following._replace(attached=True)
        else:
            kept.append(token)
    return kept


def _letters(token: Token) -> list[Token]:
    first = token._replace(text=token.text[0], end=token.start + 1)
    places = enumerate(token.text[1:], start=token.start + 1)
    return [first, *(Token(letter, i, i + 1, attached=True) for i, letter in places)]


def _counts(token: Token, before: Token | None, earlier: Token | None) -> bool:
    """Whether a short word is a noun by what stands before it: "1 cup * 4", "15 years old + 2", "5 pens/box"."""
    if before is None:
        return False
    if before.text == "/":
        return earlier is not None and (earlier.number or not earlier.exact or earlier.text in UNITS)
    times = before.text == "*" and before.end - before.start > 4
    return times or not before.exact or (before.number and not token.attached)


def _may_split(text: str) -> bool:
    letters = 2 <= len(text) <= 3 and text.isascii() and text.isalpha() and text.islower()
    return letters and not (text in _NOT_VARIABLES or text in FUNCTIONS or text in _USUAL_UNITS)


MAY_SPLIT: Memo[str, bool] = Memo(_may_split)
"""Whether a token with this text is letters that may be multiplied."""
_IN_FORMULA = OPERATORS | RELATIONS


def _is_product(tokens: list[Token], i: int, behind: list[Token]) -> bool:
    """Whether the letters at ``i``, behind up to two tokens as they were read, are multiplied."""
    token, before = tokens[i], behind[-1] if behind else None
    in_formula = before is not None and (
        before.text in _IN_FORMULA or (token.attached and (before.operand or before.text == ")"))
    )
    if not (in_formula or (i + 1 < len(tokens) and tokens[i + 1].text in _IN_FORMULA)):
        return False
    is_word = len(token.text) == 3 and not _VOWELS.isdisjoint(token.text)
    return not (is_word and _counts(token, before, behind[-2] if len(behind) > 1 else None))


def _multiplies_silently(before: Token, behind: Token) -> bool:
    """Whether a product says the same without its sign: ``x * (y + 1)`` does not, since ``f (y + 1)`` is a call."""
    if behind.text == "(":
        return before.number or before.text == ")"
    return (before.operand or before.text == ")") and (
        behind.text in "√∛" or (behind.operand and not behind.number)
    )
