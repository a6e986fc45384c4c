"""Turn text into tokens in which every spelling of one expression is the same.

TeX (``\\frac{6}{3}``, ``\\times``), Unicode (``×``, ``x²``, ``√16``), Markdown (``**3**``) and spoken forms ("6
divided by 3 equals 2", "ninety degrees") become one sequence of numbers, variables, operators and words, each
with its place in the text.

Pure: no I/O, no torch, no verl. Nothing here raises on text.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

from verl_stepgrpo.judging.reading.lexicon import NEGATIONS
from verl_stepgrpo.judging.reading.quantities import (
    NUMBER_WORDS,
    ORDINALS,
    PARTS,
    UNIT_NAMES,
    UNIT_SYMBOLS,
    number_words,
)

MAX_NAME_CHARS = 4
"""Longest run of capitals that is taken for a name, as of a line or a triangle."""

MAX_DEPTH = 8
"""Groups in groups that are read as such; deeper ones lose their braces."""

SENTENCE_ENDS = frozenset(".!?")
FUNCTIONS = frozenset(
    {"sin", "cos", "tan", "log", "ln", "exp", "gcd", "lcm", "max", "min", "mod", "sec", "cot"}
)
OPERATORS = frozenset("+-*/^")
_EXACT_WORDS = (
    NEGATIONS
    | FUNCTIONS
    | frozenset("dozen half twice double triple hundred thousand million billion".split())
)
_RELATIONS = frozenset("=<>≤≥≠≈")

_TOKEN = re.compile(
    r"\\(?:[a-zA-Z]+|[%$])"  # a TeX command
    r"|\d{1,3}(?:(?:,|\{,\})\d{3})+(?:\.\d+)?(?!\d)|\d+\.\d+|\d+|(?<![\d\w])\.\d+"  # a number
    r"|[a-zA-Z]{2,8}n['’]t\b"  # a denied verb
    r"|[⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ⁻]+|[₀-₉]+|[¼-¾⅐-⅞]"  # superscripts, subscripts, fractions in one character
    r"|[α-ωΑ-Ω]"  # Greek letters stand alone
    r"|(?:(?![α-ωΑ-Ω⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ₀-₉])[^\W\d_])+"  # a word
    r"|<=|>=|!=|==|=>|->|\*\*"
    r"|\S"  # a symbol
)
_ASCII_TOKEN = re.compile(
    r"[a-zA-Z]+(?:(?<=[a-zA-Z]{2}n)'t\b)?"
    r"|\d{1,3}(?:(?:,|\{,\})\d{3})+(?:\.\d+)?(?!\d)|\d+\.\d+|\d+|(?<![\d\w])\.\d+"
    r"|\\(?:[a-zA-Z]+|[%$])|<=|>=|!=|==|=>|->|\*\*|\S"
)
"""The same for text in ASCII, in the order in which they are frequent."""
_EMPHASIS = re.compile(r"(?<![\w)*])(\*\*|__|\*|_)(?=\S)([^*_\n]+?)(?<=\S)\1(?![\w(])")
_SHOUTED = re.compile(r"\b[A-Z]{2,}(?:[ \d]+[A-Z]{2,}){2,}\b")
_STRUCK = re.compile(r"~~[^~\n]+~~")
_OVERLINE = re.compile(r"\\(?:overline|vec|widehat|hat|bar)(?=\s*\{\s*[A-Za-z])")
_MATH_DELIMITER = re.compile(r"\\[()\[\]]")

_GREEK = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigmaf sigma tau "
    "upsilon phi chi psi omega"
)
_SPELLINGS = {
    "\\times": "*", "\\cdot": "*", "×": "*", "·": "*", "⋅": "*", "∗": "*", "∙": "*",
    "\\div": "/", "÷": "/", "∕": "/", "⁄": "/", "−": "-", "–": "-", "‑": "-",
    "\\leq": "≤", "\\le": "≤", "<=": "≤", "\\geq": "≥", "\\ge": "≥", ">=": "≥", "\\lt": "<", "\\gt": ">",
    "\\neq": "≠", "\\ne": "≠", "!=": "≠", "==": "=", "**": "^", "\\approx": "≈", "\\sim": "∼", "~": "∼", "\\cong": "≅",
    "\\parallel": "∥", "\\perp": "⊥", "\\triangle": "△", "\\angle": "∠", "\\measuredangle": "∠",
    "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac", "\\circ": "°", "\\degree": "°", "º": "°",
    "\\sqrt": "√", "sqrt": "√", "\\%": "%", "\\varphi": "φ", "\\infty": "∞", "\\to": "->", "→": "->", "⇒": "=>",
    "\\pm": "±", "\\ell": "l", "\\in": "∈", "\\notin": "∉", "\\cup": "∪", "\\cap": "∩", "\\subset": "⊂",
    "\\subseteq": "⊆", "\\emptyset": "∅", "\\varnothing": "∅", "\\mid": "|", "\\Delta": "Δ", "\\Omega": "Ω",
} | {
    "\\" + name: chr(ord("α") + i) for i, name in enumerate(_GREEK.split())
} | {"\\" + name: name for name in FUNCTIONS}  # fmt: skip
_SILENT = frozenset("&$`,;:\"“”’'\\") | {
    "\\$", "\\left", "\\right", "\\text", "\\mathrm", "\\mathbf", "\\textbf", "\\quad", "\\qquad", "\\boxed",
    "\\displaystyle", "\\operatorname", "\\mathit", "\\textit", "\\big", "\\Big", "\\ ",
}  # fmt: skip
_CLAUSE_MARKS = frozenset(",;:—")
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ⁻", "0123456789n-")
_SPOKEN = {
    "is at least": "≥", "is at most": "≤", "is more than": ">",
    "is greater than or equal to": "≥", "greater than or equal to": "≥", "is less than or equal to": "≤",
    "less than or equal to": "≤", "is not equal to": "≠", "not equal to": "≠", "is equal to": "=", "equal to": "=",
    "equals": "=", "is greater than": ">", "greater than": ">", "is less than": "<", "less than": "<",
    "divided by": "/", "multiplied by": "*", "plus": "+", "minus": "-", "times": "*", "to power of": "^",
    "raised to power": "^", "squared": "^ 2", "cubed": "^ 3", "square root of": "√", "cube root of": "∛",
    "per cent": "%", "percent": "%", "degrees": "°", "degree": "°", "pi": "π",
}  # fmt: skip
_SPOKEN_BY_FIRST: dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
for _phrase, _symbols in _SPOKEN.items():
    _words = tuple(_phrase.split())
    _SPOKEN_BY_FIRST.setdefault(_words[0], []).append((_words, tuple(_symbols.split())))
_BETWEEN_OPERANDS = {
    ("is", "parallel", "to"): "∥", ("parallel", "to"): "∥", ("is", "perpendicular", "to"): "⊥",
    ("perpendicular", "to"): "⊥", ("is", "similar", "to"): "∼", ("is", "congruent", "to"): "≅",
    ("must", "be"): "=", ("is",): "=", ("gives", "us"): "=",
    ("gives",): "=", ("makes",): "=", ("yields",): "=", ("over",): "/", ("x",): "*",
}  # fmt: skip
_BETWEEN_BY_FIRST: dict[str, list[tuple[tuple[str, ...], str]]] = {}
for _between, _symbol in _BETWEEN_OPERANDS.items():
    _BETWEEN_BY_FIRST.setdefault(_between[0], []).append((_between, _symbol))
_SAID_AS_ACTION = {
    ("divide", "by"): "/", ("dividing", "by"): "/", ("multiply", "by"): "*", ("multiplying", "by"): "*",
    ("add", "and"): "+", ("adding", "and"): "+", ("add", "to"): "+", ("adding", "to"): "+",
    ("subtract", "from"): "-", ("subtracting", "from"): "-",
}  # fmt: skip
_SAID_AS_RESULT = {"sum": "+", "product": "*", "difference": "-", "quotient": "/"}
_NOT_VARIABLES = frozenset(
    "is so we it to of in as at by or if an be the and has for sum but are get was can not now let all one two six "
    "ten no he she us do go my on up per its our out you odd how who why any yes ok area ways way".split()
)
_VOWELS = frozenset("aeiou")
_USUAL_UNITS = frozenset(
    "kgs kms lbs hrs yrs wks mos mph kph sec pcs pts doz gal qt pt yr wk pm am cm mm km nm kg mg ml dm ft in yd mi "
    "lb oz hr min ms hz khz kj kw pa".split()
)
_NOT_A_NUMBER_BEHIND = frozenset(
    "the this that which each no any every second first another other last".split()
)
_VERBS = frozenset("is are be was and or equals has divides squared cubed plus minus times divided".split())
_AXES = frozenset("axis axes intercept intercepts coordinate coordinates".split())
TEMPERATURES = {"celsius": "C", "fahrenheit": "F"}


class Token(NamedTuple):
    """A word, a number or a symbol in its normalised spelling, with its place in the text.

    Attributes:
        text: The normalised spelling.
        start: Offset of the original spelling.
        end: Offset behind it.
        opens_line: Whether nothing but white space stands before it on its line.
        mark: The comma, colon or the like that stands before it, or "".
        attached: Whether it follows the token before it without a space, or multiplies it.
    """

    text: str
    start: int
    end: int
    opens_line: bool = False
    mark: str = ""
    attached: bool = False

    @property
    def exact(self) -> bool:
        """Whether the token has to agree exactly: all but words of two letters and more.

        Negations count as exact too: "is not 3" differs from "is 3" in one word only. So do names in
        capitals ("AB", "ABC"), which keep their case, functions, and words that multiply ("2 dozen").
        """
        return _is_exact(self.text)

    @property
    def number(self) -> bool:
        """Whether the token is a number."""
        return self.text[0].isdigit()

    @property
    def operand(self) -> bool:
        """Whether the token is a number, a variable or a name."""
        return _is_operand(self.text)


_new_token: Callable[[tuple], Token] = functools.partial(tuple.__new__, Token)
"""Make a token of all its fields, without the cost of the arguments' names."""


@functools.lru_cache(maxsize=8192)
def _is_exact(text: str) -> bool:
    is_word = len(text) > 1 and text.isalpha() and not text.isupper()
    return not is_word or text in _EXACT_WORDS


@functools.lru_cache(maxsize=8192)
def _is_operand(text: str) -> bool:
    return text[0].isdigit() or (_is_exact(text) and text[-1].isalpha() and text not in _EXACT_WORDS)


def tokenize(text: str) -> list[Token]:
    """Return the tokens of ``text`` with spellings of one expression made the same.

    Case, articles, quotation marks, commas, hyphens between words, Markdown and TeX spacing go.
    """
    tokens = _raw_tokens(_blank(text))
    wanted = 0
    for token in tokens:
        wanted |= _triggered(token.text)
    for i, (_, rewrite) in enumerate(_PASSES):
        if wanted >> i & 1:
            tokens = rewrite(tokens)
    return tokens


@functools.lru_cache(maxsize=8192)
def _triggered(text: str) -> int:
    """Return the passes that a token triggers, as bits."""
    names = {text, _ANY_NUMBER} if text[0].isdigit() or text in NUMBER_WORDS else {text}
    names |= {_LETTERS} if _may_split(text) else set()
    return sum(1 << i for i, (triggers, _) in enumerate(_PASSES) if not triggers.isdisjoint(names))


def _blank(text: str) -> str:
    """Return ``text`` with Markdown emphasis and TeX delimiters blanked out, every offset kept."""
    text = _SHOUTED.sub(_lower_words, text)
    if "~~" in text:
        text = _STRUCK.sub(lambda m: " " * len(m[0]), text)
    for _ in range(2):  # emphasis in emphasis
        if "*" not in text and "_" not in text:
            break
        text = _EMPHASIS.sub(lambda m: " " * len(m[1]) + m[2] + " " * len(m[1]), text)
    if "\\" not in text:
        return text
    text = _OVERLINE.sub(lambda m: " " * len(m[0]), text)
    return _MATH_DELIMITER.sub("  ", text)


def _lower_words(shouted: re.Match[str]) -> str:
    """Return a run of words in capitals in small letters; a run of short ones may be names ("AB BC CA")."""
    return (
        shouted.group().lower()
        if any(len(w) > MAX_NAME_CHARS for w in shouted.group().split())
        else shouted.group()
    )


def _raw_tokens(text: str) -> list[Token]:
    tokens: list[Token] = []
    has_lines = "\n" in text or "\r" in text
    behind, opens_line, mark, kept_end = 0, True, "", -1
    for match in (_ASCII_TOKEN if text.isascii() else _TOKEN).finditer(text):
        start, end = match.span()
        if has_lines and not opens_line:
            between = text[behind:start]
            opens_line = "\n" in between or "\r" in between
        attached, behind = kept_end == start, end
        raw = match[0]
        spellings = _normalised(raw)
        if spellings:
            for spelling in spellings:
                tokens.append(_new_token((spelling, start, end, opens_line, mark, attached)))
                opens_line, mark, attached, kept_end = False, "", True, end
        elif raw in _CLAUSE_MARKS:
            mark = raw
        elif raw in "'’" and attached and (_is_variable(tokens[-1]) or tokens[-1].text == "′"):
            tokens.append(Token("′", start, end, attached=True))
            kept_end = end
        elif raw in ("\\left", "\\right") and attached:
            kept_end = end
    return tokens


def _is_variable(token: Token) -> bool:
    return len(token.text) == 1 and token.text.isalpha()


@functools.lru_cache(maxsize=8192)
def _normalised(spelling: str) -> tuple[str, ...]:
    """Return the normalised tokens of one raw token, none for a silent one."""
    if spelling in _SILENT:
        return ()
    if spelling[0] in "⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ⁻":
        return ("^", *_normalised_run(spelling.translate(_SUPERSCRIPTS)))
    if "₀" <= spelling[0] <= "₉":
        return ("_", unicodedata.normalize("NFKC", spelling))
    if spelling.endswith(("n't", "n’t")):
        return ("not",)
    plain = unicodedata.normalize("NFKC", _SPELLINGS.get(spelling, spelling))
    if "⁄" in plain:
        return tuple(part for part in plain.replace("⁄", "\n/\n").split("\n") if part)
    if plain[0].isdigit() or (plain[0] == "." and len(plain) > 1):
        return (_canonical_number(plain),)
    if plain.casefold() in FUNCTIONS or not (plain.isupper() and len(plain) <= MAX_NAME_CHARS):
        plain = plain.casefold()
    plain = _SPELLINGS.get(plain, plain)
    return (plain,) if plain.strip() else ()


def _normalised_run(text: str) -> Iterable[str]:
    return re.findall(r"\d+|\D", text)


def _canonical_number(text: str) -> str:
    text = re.sub(r"[,{}]", "", text)
    whole, point, decimals = text.partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (point + decimals if decimals else "")


def _groups(tokens: list[Token], depth: int = 0) -> list[Token]:
    r"""Turn TeX groups into plain ones: ``\frac{a}{b}`` to ``a / b``, ``x^{2n}`` to ``x ^ ( 2 n )``."""
    if depth > MAX_DEPTH or not any(token.text in ("{", "\\frac") for token in tokens):
        return _roots([token for token in tokens if token.text not in "{}"])
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        token = tokens[i]
        if token.text == "\\frac":
            if i + 1 < len(tokens) and len(tokens[i + 1].text) == 2 and tokens[i + 1].number:  # \\frac12
                tokens[i + 1 : i + 2] = [tokens[i + 1]._replace(text=digit) for digit in tokens[i + 1].text]
            top, middle = _argument(tokens, i + 1, products=False)
            bottom, i = _argument(tokens, middle)
            if top and bottom:
                first = token._replace(text=top[0].text, end=top[0].end)
                slash = Token("/", top[-1].end, bottom[0].start)
                out += [*_groups([first, *top[1:]], depth + 1), slash, *_groups(bottom, depth + 1)]
        elif token.text in ("^", "_", "√") and tokens[i + 1 : i + 2] and tokens[i + 1].text == "{":
            inner, i = _argument(tokens, i + 1)
            out += [token, *_groups(inner, depth + 1)]
        else:
            if token.text not in "{}":
                out.append(token)
            i += 1
    return _roots(out)


def _argument(tokens: list[Token], i: int, *, products: bool = True) -> tuple[list[Token], int]:
    """Return the group or token at ``i``, in parentheses where it needs them, and the index behind it.

    A group of one operand ("6!", "360°", "-3") needs none, and with ``products=False`` nor does a product.
    """
    if i >= len(tokens) or tokens[i].text != "{":
        return tokens[i : i + 1], min(i + 1, len(tokens))
    depth, end = 0, i
    while end < len(tokens):
        depth += (tokens[end].text == "{") - (tokens[end].text == "}")
        if depth == 0:
            break
        end += 1
    inner = tokens[i + 1 : end]
    if _needs_parentheses(inner, products):
        opening = tokens[i]._replace(text="(")
        closing = Token(")", inner[-1].end, inner[-1].end + 1, attached=True)
        inner = [opening, *inner, closing]
    return inner, end + 1


def _needs_parentheses(group: list[Token], products: bool) -> bool:
    bare = [token.text for token in group if token.text not in "°%!′^{}"]
    if len(bare) < 2 or (len(bare) == 2 and bare[0] == "-"):
        return False
    if products:
        return True
    depth = 0
    for text in bare[1:]:
        depth += (text == "(") - (text == ")")
        if depth == 0 and (text in "+-" or text in _RELATIONS):
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
            out.append(tokens[i + 1])
            i += 3
        elif _is_signed(texts, tokens, i, out) or _is_degree_of_function(texts, out):
            out += tokens[i + 1 : i + 3]
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


def _is_signed(texts: list[str], tokens: list[Token], i: int, before: list[Token]) -> bool:
    """Whether parentheses hold a sign and one operand: "(-3)"."""
    signed = texts[:2] == ["(", "-"] and texts[3:] == [")"]
    return signed and tokens[i + 2].operand and not _is_call(before, tokens[i])


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
    if tokens[end + 1].text == "=" and (i == 0 or not (tokens[i - 1].exact or tokens[i - 1].text == "√")):
        return end
    if tokens[end + 1].text != "/":
        return 0
    return 0 if _needs_parentheses(tokens[i + 1 : end], products=False) else end


def _is_call(before: list[Token], opening: Token) -> bool:
    return (
        bool(before)
        and opening.attached
        and (before[-1].operand or before[-1].text.isalpha() or before[-1].text == ")")
    )


def _without_hyphens(tokens: list[Token]) -> list[Token]:
    """Drop hyphens that join words ("right-angled", "x-axis", "3-digit"); between operands they are minus."""
    out: list[Token] = []
    for i, token in enumerate(tokens):
        if token.text == "-" and token.attached and 0 < i < len(tokens) - 1 and tokens[i + 1].attached:
            before, behind = tokens[i - 1], tokens[i + 1]
            both = before.text.isalpha() or before.number, behind.text.isalpha() or behind.number
            if all(both) and not (before.operand and behind.operand):
                continue
        out.append(token)
    return out


def _numbers(tokens: list[Token]) -> list[Token]:
    """Turn number words into numbers ("twenty-five", "negative 3"), and "3rd" into "third"."""
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        token = tokens[i]
        if token.number and tokens[i + 1 : i + 2] and tokens[i + 1].attached:
            ordinal = ORDINALS.get(token.text + tokens[i + 1].text)
            if ordinal:
                out.append(token._replace(text=ordinal, end=tokens[i + 1].end))
                i += 2
                continue
        if (
            token.text == "negative"
            and i + 1 < len(tokens)
            and (tokens[i + 1].number or _number_words_at(tokens, i + 1, []))
        ):
            out.append(token._replace(text="-"))
            tokens[i + 1] = tokens[i + 1]._replace(attached=True)
            i += 1
            continue
        length = _number_words_at(tokens, i, out)
        if length:
            value = number_words(" ".join(t.text for t in tokens[i : i + length]))
            last = tokens[i + length - 1]
            out += [token._replace(text=part, end=last.end) for part in _written(value)]
            i += length
        else:
            out.append(token)
            i += 1
    return out


def _number_words_at(tokens: list[Token], i: int, before: list[Token]) -> int:
    """Return how many tokens from ``i`` on are one number in words; 0 where none is."""
    if tokens[i].text not in NUMBER_WORDS:
        return 0
    if tokens[i].text == "one" and before and before[-1].text in _NOT_A_NUMBER_BEHIND:
        return 0
    end, longest = i + 1, 0
    while end <= min(len(tokens), i + 9):
        texts = [token.text for token in tokens[i:end]]
        if texts[-1] in NUMBER_WORDS or (len(texts) > 1 and texts[-1].removesuffix("s") in PARTS):
            if number_words(" ".join(texts)) is None:
                break
            longest = end - i
        elif not (texts[-1] == "and" and texts[-2] in ("hundred", "thousand")):
            break
        end += 1
    return longest


def _written(value: Fraction | None) -> tuple[str, ...]:
    assert value is not None
    whole = str(value.numerator)
    return (whole,) if value.denominator == 1 else (whole, "/", str(value.denominator))


def _spoken_operators(tokens: list[Token]) -> list[Token]:
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        for phrase, symbols in _SPOKEN_BY_FIRST.get(tokens[i].text, ()):
            stretch = tokens[i : i + len(phrase)]
            if tuple(t.text for t in stretch) == phrase:
                out += [stretch[0]._replace(text=symbol, end=stretch[-1].end) for symbol in symbols]
                i += len(phrase)
                break
        else:
            out.append(tokens[i])
            i += 1
    return out


def _names(tokens: list[Token]) -> list[Token]:
    """Write angles and triangles with their signs, and axes in small letters: "angle ABC", "X-axis"."""
    for i, token in enumerate(tokens[:-1]):
        if len(token.text) == 1 and tokens[i + 1].text in _AXES:
            tokens[i] = token._replace(text=token.text.casefold())
        elif token.text in ("angle", "triangle") and _is_name(tokens[i + 1]):
            tokens[i] = token._replace(text="∠" if token.text == "angle" else "△")
    return tokens


def _units(tokens: list[Token]) -> list[Token]:
    """Write the units behind numbers with their symbols: "5 kilometers per hour" is "5 km / h"."""
    for i in range(1, len(tokens)):
        token = tokens[i]
        symbol = _unit_symbol(token.text)
        if symbol is None:
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


@functools.lru_cache(maxsize=8192)
def _unit_symbol(text: str) -> str | None:
    """Return the symbol of a unit by its name, "/" for "per", or None."""
    if text == "per":
        return "/"
    symbol = UNIT_NAMES.get(text) or UNIT_NAMES.get(text.removesuffix("s"))
    if symbol is None or not symbol.isascii():
        return TEMPERATURES.get(text)
    return symbol if len(symbol) == 1 else symbol.casefold()


def _is_name(token: Token) -> bool:
    return token.text.isupper() or (len(token.text) == 1 and token.text.isalpha() and token.text != "a")


def _between_operands(tokens: list[Token]) -> list[Token]:
    """Read words that are an operator between operands only: "x is 3", "12 x 4", "AB is parallel to CD"."""
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        for phrase, symbol in _BETWEEN_BY_FIRST.get(tokens[i].text, ()):
            behind = i + len(phrase)
            if (
                out
                and tuple(token.text for token in tokens[i:behind]) == phrase
                and _ends_operand(out[-1], phrase)
                and behind < len(tokens)
                and _begins_operand(tokens[behind], phrase, symbol)
            ):
                out.append(tokens[i]._replace(text=symbol, end=tokens[behind - 1].end))
                i = behind
                break
        else:
            out.append(tokens[i])
            i += 1
    return out


def _ends_operand(token: Token, phrase: tuple[str, ...]) -> bool:
    if phrase == ("x",):
        return token.number
    return token.operand or token.text in (")", "°", "%", "′", "!")


def _begins_operand(token: Token, phrase: tuple[str, ...], symbol: str) -> bool:
    if phrase == ("x",):
        return token.number
    if symbol != "=":
        return token.operand or token.text in "∠△"
    return token.operand or token.text in "√∛(-∠"


def _actions(tokens: list[Token]) -> list[Token]:
    """Turn "dividing 6 by 3" into ``6 / 3`` and "the sum of 3 and 5" into ``3 + 5``; operands are one token."""
    out: list[Token] = []
    i = 0
    while i < len(tokens):
        texts = [token.text for token in tokens[i : i + 5]]
        symbol, a, b, length = None, i + 1, i + 3, 4
        if len(texts) > 3:
            symbol = _SAID_AS_ACTION.get((texts[0], texts[2]))
        if symbol is None and len(texts) == 5 and texts[1] in ("of", "between") and texts[3] == "and":
            symbol, a, b, length = _SAID_AS_RESULT.get(texts[0]), i + 2, i + 4, 5
        if symbol and tokens[a].operand and tokens[b].operand:
            first, second = (tokens[b], tokens[a]) if "from" in texts[:4] else (tokens[a], tokens[b])
            out += [first, tokens[i]._replace(text=symbol), second]
            i += length
        else:
            out.append(tokens[i])
            i += 1
    return out


def _products(tokens: list[Token]) -> list[Token]:
    """Split letters that stand side by side in a formula: ``2xy``."""
    split: list[Token] = []
    for i, token in enumerate(tokens):
        if _may_split(token.text):
            following = tokens[i + 1] if i + 1 < len(tokens) else None
            before, earlier = split[-1] if split else None, split[-2] if len(split) > 1 else None
            if _is_product(token, before, earlier, following):
                split += _letters(token)
                continue
        split.append(token)
    return split


def _silent_products(tokens: list[Token]) -> list[Token]:
    """Drop the signs of multiplication by letters and parentheses: ``2 * x`` is ``2 x``."""
    out: list[Token] = []
    for i, token in enumerate(tokens):
        if token.text == "*" and out and i + 1 < len(tokens) and _multiplies_silently(out[-1], tokens[i + 1]):
            tokens[i + 1] = tokens[i + 1]._replace(attached=True)
        else:
            out.append(token)
    return out


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


@functools.lru_cache(maxsize=8192)
def _may_split(text: str) -> bool:
    """Whether a token is letters that may be multiplied."""
    letters = 2 <= len(text) <= 3 and text.isascii() and text.isalpha() and text.islower()
    return letters and not (text in _NOT_VARIABLES or text in FUNCTIONS or text in _USUAL_UNITS)


def _is_product(token: Token, before: Token | None, earlier: Token | None, behind: Token | None) -> bool:
    glued = token.attached and before is not None and (before.operand or before.text == ")")
    if len(token.text) == 3 and not _VOWELS.isdisjoint(token.text) and _counts(token, before, earlier):
        return False
    in_formula = OPERATORS | _RELATIONS
    return (
        glued
        or (before is not None and before.text in in_formula)
        or (behind is not None and behind.text in in_formula)
    )


def _multiplies_silently(before: Token, behind: Token) -> bool:
    factor = behind.text in "(√∛" or (behind.operand and not behind.number)
    return factor and (before.operand or before.text == ")")


def _equality_behind_words(tokens: list[Token]) -> list[Token]:
    """Read "=" behind a word as "is": "area = 24" and "the area is 24" are the same."""
    for i, token in enumerate(tokens):
        if token.text == "=" and i and not tokens[i - 1].exact:
            tokens[i] = token._replace(text="is")
    return tokens


def _without_articles(tokens: list[Token]) -> list[Token]:
    """Drop "the", "an", and "a" before a word (elsewhere it is a variable)."""
    kept: list[Token] = []
    for i, token in enumerate(tokens):
        following = tokens[i + 1] if i + 1 < len(tokens) else None
        if token.text not in ("the", "an") and not (token.text in "aA" and _is_article(kept, following)):
            kept.append(token)
    return kept


def _is_article(before: list[Token], following: Token | None) -> bool:
    """Whether "a" between these tokens is the article: before a word, and in no formula such as ``F = m a``."""
    if following is None or following.mark:
        return False
    if following.number:
        # "is a 3", "a 30-60-90 triangle", but not a_1
        return not following.attached and not (before and before[-1].exact)
    if following.exact or following.text in _VERBS:
        return False
    if not before:
        return True
    in_formula = before[-1].text in OPERATORS | _RELATIONS
    return not (in_formula or (before[-1].attached and _is_variable(before[-1])))


UNITS = frozenset(symbol if len(symbol) == 1 else symbol.casefold() for symbol in UNIT_SYMBOLS)
"""Symbols of units as tokens have them."""

_ANY_NUMBER, _LETTERS = "#", "ab"
"""Stand among the triggers of a pass for any number, and for letters that may be multiplied."""
_SAYS_TIMES = frozenset("times x multiplied multiply multiplying product".split())

_PASSES: tuple[tuple[frozenset[str], Callable[[list[Token]], list[Token]]], ...] = (
    # Each pass runs only on text that has one of its triggers: most sentences are plain prose.
    (frozenset({"{", "}", "\\frac", "√", "(", "^", "_"}), _groups),
    (frozenset("-"), _without_hyphens),
    (frozenset({"a", "A", "an", "the"}), _without_articles),
    (NUMBER_WORDS | {"negative", "st", "nd", "rd", "th"}, _numbers),
    (frozenset(_SPOKEN_BY_FIRST), _spoken_operators),
    (_AXES | {"angle", "triangle"}, _names),
    (frozenset({"°", "/", _ANY_NUMBER}), _units),
    (frozenset({first for first, _ in _SAID_AS_ACTION} | set(_SAID_AS_RESULT)), _actions),
    (frozenset(_BETWEEN_BY_FIRST), _between_operands),
    (frozenset({_LETTERS}), _products),
    (frozenset("*") | _SAYS_TIMES, _silent_products),
    (frozenset({"=", "equals", "equal", "is"}), _equality_behind_words),
)


def without_end(tokens: Sequence[Token]) -> list[Token]:
    """Return ``tokens`` without full stops at their end."""
    end = len(tokens)
    while (
        end
        and tokens[end - 1].text in SENTENCE_ENDS
        and not (tokens[end - 1].text == "!" and tokens[end - 1].attached)
    ):
        end -= 1
    return list(tokens[:end])
