"""TeX groups as plain expressions: ``\\frac{a}{b}`` is ``a / b``, ``x^{2n}`` is ``x ^ ( 2 n )``.

Pure: no I/O.
"""

from __future__ import annotations

from verl_stepgrpo.judging.reading.tokens import FUNCTIONS, RELATIONS, Token

MAX_DEPTH = 8
"""Groups in groups that are read as such; deeper ones lose their braces."""
_SAID = {"plus": "+", "minus": "-", "times": "*", "by": "/", "over": "/"}
"""Operators in words, which are read as signs behind the groups."""
_DIVIDES = frozenset(("/", "^", "by", "over"))
"""Behind them a fraction is one number, and no two divisions."""
_HOLDS = _DIVIDES | {"√", "∛", "of"}
"""Behind them parentheses hold together what is in them: "8 / (2 x) / 3", "√(2 x) / 3"."""


def groups(tokens: list[Token], depth: int = 0) -> list[Token]:
    r"""Turn TeX groups into plain ones: ``\frac{a}{b}`` to ``a / b``, ``x^{2n}`` to ``x ^ ( 2 n )``."""
    if depth > MAX_DEPTH or not any(token.text in ("{", "\\frac") for token in tokens):
        return _roots([token for token in tokens if token.text not in "{}"])
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        token = tokens[i]
        over = _over(tokens, i) if token.text == "{" else 0
        if over:
            end = _end_of_group(tokens, i)
            inner = [
                token._replace(text="\\frac"),
                token,
                *tokens[i + 1 : over],
                tokens[over]._replace(text="}"),
            ]
            tokens[i : end + 1] = [*inner, tokens[over]._replace(text="{"), *tokens[over + 1 : end + 1]]
        elif token.text == "_" and out and out[-1].number and _is_name(tokens, i + 1):
            i = _argument(tokens, i + 1)[1]  # "3_{red}"
        elif token.text == "\\frac":
            if i + 1 < len(tokens) and len(tokens[i + 1].text) == 2 and tokens[i + 1].number:  # \\frac12
                tokens[i + 1 : i + 2] = [tokens[i + 1]._replace(text=digit) for digit in tokens[i + 1].text]
            top, middle = _argument(tokens, i + 1, products=False)
            bottom, i = _argument(tokens, middle)
            if top and bottom:
                first = token._replace(text=top[0].text, end=top[0].end)
                slash = Token("/", top[-1].end, bottom[0].start)
                fraction = [*groups([first, *top[1:]], depth + 1), slash, *groups(bottom, depth + 1)]
                out += in_parentheses(fraction) if out and out[-1].text in _DIVIDES else fraction
        elif token.text in ("^", "_", "√") and tokens[i + 1 : i + 2] and tokens[i + 1].text == "{":
            inner, i = _argument(tokens, i + 1)
            is_negative = token.text == "√" and len(inner) == 2 and inner[0].text == "-"
            out += [token, *(in_parentheses(inner) if is_negative else groups(inner, depth + 1))]
        else:
            if token.text not in "{}":
                out.append(token)
            i += 1
    return _roots(out)


def in_parentheses(tokens: list[Token]) -> list[Token]:
    first, last = tokens[0], tokens[-1]
    opening = first._replace(text="(", end=first.start)
    return [opening, first._replace(mark=""), *tokens[1:], Token(")", last.end, last.end, attached=True)]


def whole_fractions(tokens: list[Token]) -> list[Token]:
    """Put what is one fraction in one spelling in parentheses behind a division: "8 / ½" is ``8 / (1 / 2)``."""
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        fraction = tokens[i : i + 3]
        is_one = len(fraction) == 3 and fraction[1].text == "/" and fraction[0].start == fraction[2].start
        if is_one and out and out[-1].text in _DIVIDES:
            out += in_parentheses(fraction)
            i += 3
        else:
            out.append(tokens[i])
            i += 1
    return out


def _argument(tokens: list[Token], i: int, *, products: bool = True) -> tuple[list[Token], int]:
    """Return the group or token at ``i``, in parentheses where it needs them, and the index behind it.

    A group of one operand ("6!", "360°", "-3") needs none, and with ``products=False`` nor does a product.
    """
    if i >= len(tokens) or tokens[i].text != "{":
        return tokens[i : i + 1], min(i + 1, len(tokens))
    end = _end_of_group(tokens, i)
    inner = tokens[i + 1 : end]
    if _needs_parentheses(inner, products):
        opening = tokens[i]._replace(text="(")
        closing = Token(")", inner[-1].end, inner[-1].end + 1, attached=True)
        inner = [opening, *inner, closing]
    return inner, end + 1


def _end_of_group(tokens: list[Token], i: int) -> int:
    """Return where the brace at ``i`` is closed, or behind the last token."""
    depth, end = 0, i
    while end < len(tokens):
        depth += (tokens[end].text == "{") - (tokens[end].text == "}")
        if depth == 0:
            break
        end += 1
    return end


def _over(tokens: list[Token], i: int) -> int:
    r"""Return where ``\over`` divides the group at ``i``: "{a \over b}"; 0 where none does."""
    # The numerator has no group of its own, so that a text of open braces is not read to its end at each of them.
    k = next((k for k in range(i + 1, len(tokens)) if tokens[k].text in ("{", "}", "\\over")), i)
    return k if tokens[k].text == "\\over" else 0


def _is_name(tokens: list[Token], i: int) -> bool:
    """Whether the group at ``i`` is a word, which no base of numerals is."""
    inner = tokens[i + 1 : _end_of_group(tokens, i)] if i < len(tokens) and tokens[i].text == "{" else []
    return bool(inner) and not any(token.exact and token.text not in "{}" for token in inner)


def _needs_parentheses(group: list[Token], products: bool) -> bool:
    bare = [_SAID.get(token.text, token.text) for token in group if token.text not in "°%!′^{}"]
    if len(bare) < 2 or (len(bare) == 2 and bare[0] == "-"):
        return False
    if products:
        return True
    depth = 0
    for k, text in enumerate(bare):
        depth += (text == "(") - (text == ")")
        if k and depth == 0 and (text in "+-" or text in RELATIONS):
            return True
    return False


def _roots(tokens: list[Token]) -> list[Token]:
    r"""Turn ``\sqrt[3]`` into ∛, and drop parentheses around one operand (but not those of a function)."""
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        texts = [token.text for token in tokens[i : i + 4]]
        if texts == ["√", "[", "3", "]"]:
            out.append(tokens[i]._replace(text="∛", end=tokens[i + 3].end))
            i += 4
        elif texts[:1] == ["("] and texts[2:3] == [")"] and _stands_alone(out, tokens[i], tokens[i + 1]):
            if _multiplies(out, tokens[i], tokens[i + 1]):
                out.append(tokens[i]._replace(text="*"))
            out.append(_opening(tokens, i))
            i += 3
        elif _is_signed(texts, tokens, i, out) or _is_degree_of_function(texts, out):
            out += [_opening(tokens, i), tokens[i + 2]]
            i += 4
        elif texts[0] == "(" and not _is_call(out, tokens[i]) and (end := _end_of_numerator(tokens, i)):
            out += _roots(tokens[i + 1 : end])
            i = end + 1
        else:
            before_degree = texts[:2] == ["^", "°"]
            # x_1 is x1, H_2O is H2O; a subscript of several tokens keeps its sign.
            subscript = (
                texts[0] == "_" and bool(out) and out[-1].operand and len(texts) > 1 and tokens[i + 1].operand
            )
            if subscript:
                tokens[i + 1] = tokens[i + 1]._replace(attached=True)
            if not (before_degree or subscript):
                out.append(tokens[i])
            i += 1
    return out


def _opening(tokens: list[Token], i: int) -> Token:
    """Return the token behind the parenthesis at ``i``, which goes, with the mark before it: "= 8, (-2) + 4"."""
    return tokens[i + 1]._replace(mark=tokens[i].mark or tokens[i + 1].mark)


def _is_signed(texts: list[str], tokens: list[Token], i: int, before: list[Token]) -> bool:
    """Whether parentheses hold a sign and one operand: "(-3)"."""
    signed = texts[:2] == ["(", "-"] and texts[3:] == [")"] and tokens[i + 2].operand
    # (-3)^2 is not -3^2, and √(-3) has no sign of its own.
    is_base = tokens[i + 4 : i + 5] and tokens[i + 4].text in ("^", "squared", "cubed", "!")
    return (
        signed
        and not is_base
        and not (before and before[-1].text in "√∛")
        and not _is_call(before, tokens[i])
    )


def _is_degree_of_function(texts: list[str], before: list[Token]) -> bool:
    """Whether parentheses hold a function's angle: "sin(30°)"."""
    return texts[:1] == ["("] and texts[2:] == ["°", ")"] and bool(before) and before[-1].text in FUNCTIONS


def _stands_alone(before: list[Token], opening: Token, inner: Token) -> bool:
    """Whether one operand needs no parentheses: "(3)", "4(7)", "sin(x)" and "log_2(8)", but not "f(3)"."""
    if not inner.operand:
        return False
    after_function = bool(before) and before[-1].text in FUNCTIONS
    return after_function or not _is_call(before, opening) or (inner.number and before[-1].number)


def _multiplies(before: list[Token], opening: Token, inner: Token) -> bool:
    """Whether "4(7)" is a product; the number before it in "log_2(8)" is a base."""
    number = bool(before) and before[-1].number and inner.number and opening.attached
    return number and not (len(before) > 1 and before[-2].text == "_")


def _end_of_numerator(tokens: list[Token], i: int) -> int:
    """Return where the parentheses at ``i`` end, if they are not needed: ``(2x) / 3``, and ``(6/3) = 2``; else 0."""
    end = next((k for k in range(i + 1, min(i + 8, len(tokens))) if tokens[k].text in "()"), 0)
    if not end or tokens[end].text != ")" or tokens[end + 1 : end + 2] == []:
        return 0
    before = tokens[i - 1] if i else None
    if tokens[end + 1].text == "=" and _opens_a_side(before, tokens[i + 1]):
        return end
    if tokens[end + 1].text != "/" or (before is not None and before.text in _HOLDS):
        return 0
    return 0 if _needs_parentheses(tokens[i + 1 : end], products=False) else end


def _opens_a_side(before: Token | None, inner: Token) -> bool:
    """Whether parentheses begin an equation: "the area (6/3) = 2"; in "Hence (-6 * 2) = x" they hold the sign off."""
    if before is None:
        return True
    return not (before.exact or before.text == "of" or before.text in _SAID or inner.text == "-")


def _is_call(before: list[Token], opening: Token) -> bool:
    return (
        bool(before)
        and opening.attached
        and (before[-1].operand or before[-1].text.isalpha() or before[-1].text == ")")
    )
