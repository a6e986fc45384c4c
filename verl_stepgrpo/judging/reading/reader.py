"""Turn text into tokens in which every spelling of one expression is the same.

TeX (``\\frac{6}{3}``, ``\\times``), Unicode (``×``, ``x²``, ``√16``), Markdown (``**3**``) and spoken forms ("6
divided by 3 equals 2", "ninety degrees") become one sequence of phrases.numbers, variables, operators and words, each
with its place in the text.

Pure: no I/O, no torch, no verl. Nothing here raises on text.
"""

from __future__ import annotations

import functools
import operator
import re
import unicodedata
from collections.abc import Callable, Iterable

from verl_stepgrpo.judging.memo import Memo
from verl_stepgrpo.judging.reading import formulas, numbers, phrases, tex
from verl_stepgrpo.judging.reading.spellings import SIGN_OF, SILENT_COMMANDS, SUPERSCRIPTS, blanked
from verl_stepgrpo.judging.reading.tokens import FUNCTIONS, Token, is_variable, new_token

_SPELLINGS = SIGN_OF | {"\\" + name: name for name in FUNCTIONS}
MAX_NAME_CHARS = 4
"""Longest run of capitals that is taken for a name, as of a line or a triangle."""
_TOKEN = re.compile(
    r"(\\(?:[a-zA-Z]+|[%$])"  # a TeX command
    rf"|{numbers.NUMERAL}"
    r"|[a-zA-Z]{2,8}n['’]t\b"  # a denied verb
    r"|[⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ⁻]+|[₀-₉]+|[¼-¾⅐-⅞]"  # superscripts, subscripts, fractions in one character
    r"|[α-ωΑ-Ω]"  # Greek letters stand alone
    r"|(?:(?![α-ωΑ-Ω⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ₀-₉])[^\W\d_])+"  # a word
    r"|<=|>=|!=|==|:=|=>|->|\*\*"
    r"|\S)"  # a symbol
)
_ASCII_TOKEN = re.compile(
    r"([a-zA-Z]+(?:(?<=[a-zA-Z]{2}n)'t\b)?"
    rf"|{numbers.NUMERAL}"
    r"|\\(?:[a-zA-Z]+|[%$])|<=|>=|!=|==|:=|=>|->|\*\*|\S)"
)
"""The same for text in ASCII, in the order in which they are frequent."""
_EMPHASIS = re.compile(r"(?<![\w)}\]*])(\*\*|__|\*|_)(?=\S)([^*_\n]+?)(?<=\S)\1(?![\w(\\])")
_BOLD = re.compile(r"(?<![\w)}\]*])(\*\*)(?=[^\s*])((?:[^*\n]|(?<!\*)\*(?!\*))+?)(?<=[^\s*])\*\*(?![\w(\\*])")
"""Bold text, which may have asterisks of its own that multiply: "**24 * 2 = 48**"."""
_CAPITALS = re.compile("[A-Z][A-Z]")
_SHOUTED = re.compile(r"\b[A-Z]{2,}(?:[ \d]+[A-Z]{2,}){2,}\b")
_LIST_LABEL = re.compile(
    r"^[ \t]*\(\d{1,2}\)[ \t]+(?![=*/×÷^<>≤≥≈+)]|\\(?:times|cdot|div)|[-−][ \t])", re.MULTILINE
)
"""The number of a list's item, "(1) -9 + 2 = -7", which is no factor."""
_STRUCK = re.compile(r"~~[^~\n]+~~")
_OVERLINE = re.compile(r"\\(?:overline|vec|widehat|hat|bar)(?=\s*\{\s*[A-Za-z])")
_MATH_DELIMITER = re.compile(
    r"\\[()\[\]]|\\(?:begin|end) ?\{(?!\w*matrix|tabular)[a-zA-Z]+\*?\}(?:\{[^{}\n]{0,9}\})?"
)
"""Where mathematics begins and ends: ``\\[``, ``\\begin{align*}``; a matrix is no such place."""
_SILENT = frozenset("&$`,;:\"“”’'\\") | {"\\$", "\\ "} | SILENT_COMMANDS
_CLAUSE_MARKS = frozenset(",;:—")


def tokenize(text: str) -> list[Token]:
    """Return the tokens of ``text`` with spellings of one expression made the same.

    Case, articles, quotation marks, commas, hyphens between words, Markdown and TeX spacing go.
    """
    tokens, wanted = _raw_tokens(_blank(text))
    for bits, rewrite in _PASSES_BY_BIT:
        if wanted & bits == bits:
            tokens = rewrite(tokens)
    return tokens


def _triggered(text: str) -> int:
    """Return the passes that a token triggers, as bits."""
    bits = _BITS.get(text, 0)
    if text[0].isdigit() or text in numbers.NUMBER_WORDS:
        bits |= _BITS[_ANY_NUMBER]
    if formulas.UNIT_SYMBOL[text] is not None or text == "nd":  # "2nd" becomes "second"
        bits |= _NAMES_UNIT
    return bits | _BITS[_LETTERS] if formulas.MAY_SPLIT[text] else bits


def _blank(text: str) -> str:
    """Return ``text`` with Markdown emphasis and TeX delimiters blanked out, every offset kept."""
    if _CAPITALS.search(text):
        text = _SHOUTED.sub(_lower_words, text)
    if ") " in text:
        text = _LIST_LABEL.sub(lambda m: " " * len(m[0]), text)
    if "~~" in text:
        text = _STRUCK.sub(lambda m: " " * len(m[0]), text)
    if text.count("*") > 1 or text.count("_") > 1:
        text = _BOLD.sub(_without_marks, text)
        for _ in range(2):  # emphasis in emphasis
            text = _EMPHASIS.sub(_without_marks, text)
    text = blanked(text)
    if "\\" not in text:
        return text
    text = _OVERLINE.sub(lambda m: " " * len(m[0]), text)
    return _MATH_DELIMITER.sub(lambda m: " " * len(m[0]), text)


def _without_marks(emphasis: re.Match[str]) -> str:
    blanks = " " * len(emphasis[1])
    return blanks + emphasis[2] + blanks


def _lower_words(shouted: re.Match[str]) -> str:
    """Return a run of words in capitals in small letters; a run of short ones may be names ("AB BC CA")."""
    return (
        shouted.group().lower()
        if any(len(w) > MAX_NAME_CHARS for w in shouted.group().split())
        else shouted.group()
    )


def _raw_tokens(text: str) -> tuple[list[Token], int]:
    """Return the tokens as they stand, and the passes that they trigger, as bits."""
    tokens: list[Token] = []
    has_lines = "\n" in text
    wanted, end, opens_line, mark, kept_end = 0, 0, True, "", -1
    parts = iter((_ASCII_TOKEN if text.isascii() else _TOKEN).split(text))
    for blank, raw in zip(parts, parts, strict=False):  # behind the last token a blank is left
        start = end + len(blank)
        end = start + len(raw)
        if has_lines and "\n" in blank:
            opens_line, mark = True, "\n"
        spelling, others, bits = _READ[raw]
        if spelling:
            wanted |= bits
            tokens.append(new_token(Token, (spelling, start, end, opens_line, mark, kept_end == start)))
            for other in others:
                tokens.append(Token(other, start, end, attached=True))
            opens_line, mark, kept_end = False, "", end
        elif raw in _CLAUSE_MARKS:
            mark = raw
        elif kept_end == start:
            if raw in "'’" and (is_variable(tokens[-1]) or tokens[-1].text == "′"):
                tokens.append(Token("′", start, end, attached=True))
                kept_end = end
            elif raw in ("\\left", "\\right"):
                kept_end = end
    return tokens, wanted


def _read(raw: str) -> tuple[str, tuple[str, ...], int]:
    """Return what one raw token is: its first token, "" for none, those behind it, and the passes they trigger."""
    spellings = _normalised(raw)
    bits = functools.reduce(operator.or_, map(_triggered, spellings), 0)
    return (spellings[0], spellings[1:], bits) if spellings else ("", (), 0)


_READ = Memo(_read)


def _normalised(spelling: str) -> tuple[str, ...]:
    """Return the normalised tokens of one raw token, none for a silent one."""
    if spelling.isascii() and spelling.isalpha():  # most are plain words
        return (_SPELLINGS.get(spelling) or _folded(spelling),)
    if spelling.isascii() and spelling.isdigit():
        return (spelling.lstrip("0") or "0",)
    if spelling in _SILENT:
        return ()
    if spelling[0] in "⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ⁻":
        return ("^", *_normalised_run(spelling.translate(SUPERSCRIPTS)))
    if "₀" <= spelling[0] <= "₉":
        return ("_", unicodedata.normalize("NFKC", spelling))
    if spelling.endswith(("n't", "n’t")):
        return ("not",)
    plain = unicodedata.normalize("NFKC", _SPELLINGS.get(spelling, spelling))
    if "⁄" in plain:
        return tuple(part for part in plain.replace("⁄", "\n/\n").split("\n") if part)
    if plain[0].isdigit() or (plain[0] == "." and len(plain) > 1):
        return (numbers.canonical(plain),)
    plain = _folded(plain)
    return (plain,) if plain.strip() else ()


def _folded(text: str) -> str:
    """Return a word in small letters, but for a name in capitals."""
    folded = text.casefold()
    if folded in FUNCTIONS or not (text.isupper() and len(text) <= MAX_NAME_CHARS):
        text = folded
    return _SPELLINGS.get(text, text)


def _normalised_run(text: str) -> Iterable[str]:
    return re.findall(r"\d+|\D", text)


_ANY_NUMBER, _LETTERS = "#", "ab"
"""Stand among the triggers of a pass for any number, and for letters that may be multiplied."""
_SAYS_TIMES = frozenset("times x multiplied multiply multiplying product".split())
_PASSES: tuple[tuple[frozenset[str], Callable[[list[Token]], list[Token]]], ...] = (
    # Each pass runs only on text that has one of its triggers: most sentences are plain prose.
    (frozenset({"{", "}", "\\frac", "√", "(", "^", "_"}), tex.groups),
    (frozenset("-"), phrases.without_hyphens),
    (frozenset({"a", "A", "an", "the"}), phrases.without_articles),
    (numbers.NUMBER_WORDS | {"negative", "st", "nd", "rd", "th"}, phrases.numbers),
    (frozenset(phrases.SPOKEN_BY_FIRST), phrases.spoken_operators),
    (frozenset({"/", "^", "divided", "by", "over"}), tex.whole_fractions),
    (formulas.AXES | {"angle", "triangle", "∠"}, formulas.names),
    (formulas.SAYS_RELATED, formulas.related),
    (frozenset({"°", "/", _ANY_NUMBER}), formulas.units),
    (
        phrases.SAYS_ACTION,
        phrases.actions,
    ),
    (frozenset(phrases.BETWEEN_BY_FIRST), phrases.between_operands),
    (frozenset({_LETTERS}), formulas.products),
    (frozenset("*") | _SAYS_TIMES, formulas.silent_products),
    (frozenset({"=", "equals", "equal", "is"}), phrases.equality_behind_words),
)
_BITS = {
    text: sum(1 << i for i, (triggers, _) in enumerate(_PASSES) if text in triggers)
    for text in frozenset().union(*(triggers for triggers, _ in _PASSES))
}
_NAMES_UNIT = 1 << len(_PASSES)
"""Set where a text names a unit, without which there is nothing to do for ``formulas.units``."""
_PASSES_BY_BIT = tuple(
    (1 << i | (_NAMES_UNIT if rewrite is formulas.units else 0), rewrite)
    for i, (_, rewrite) in enumerate(_PASSES)
)
