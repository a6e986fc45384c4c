"""Judge the final answer of a response against the reference answer.

Layers, each sure of what it says, in this order: exact text after normalisation, numbers, choice letters,
then math-verify for what is left. The verdict names the layer that decided and why.

Pure: no I/O, no torch, no verl. Not covered: units that differ from the reference's.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

MAX_ANSWER_CHARS = 512
"""Longer final answers are judged by their text alone: they are not answers, and parsing them costs."""

MAX_QUANTITY_CHARS = 80
"""Longer answers are not a number with its unit."""

MAX_SYMBOLIC_CHARS = 160
"""Longest expression that math-verify is given."""

MAX_EXPONENT = 64
"""Largest literal exponent that math-verify is given; sympy evaluates powers of numbers in full."""

# Digits are bounded so that int() and Fraction() stay cheap whatever a model wrote.
_DECIMAL = r"[-+]?(?:\d{1,3}(?:,\d{3}){1,6}|\d{1,24})?(?:\.\d{1,24})?(?:e[-+]?\d{1,3})?"
_NUMBER = re.compile(
    rf"[$€£]? ?(?P<a>(?=[-+.\d]){_DECIMAL}) ?(?:/ ?(?P<b>(?=[-+.\d]){_DECIMAL}))? ?(?P<percent>\\?%)?"
)
_FRACTION = re.compile(r"(?P<sign>-?)\\[dt]?frac ?\{(?P<a>-?\d{1,24})\} ?\{(?P<b>-?\d{1,24})\}")
_WORDS = r"[^\W\d_ ]+(?:[ -][^\W\d_]+)*"
_QUANTITY = r"[-+$€£]{0,2}\.?\d[\d.,]*(?: ?/ ?\d[\d.,]*)?(?: ?\\?%)?"
_WITH_UNIT = re.compile(
    rf"(?P<before>(?:{_WORDS}(?: =|:)? )?)(?P<number>{_QUANTITY})(?P<unit>(?: ?{_WORDS}| ?°)?)"
)
_SHORT_UNITS = frozenset("mgslh")
_NOT_UNITS = frozenset(
    (
        *("not", "no", "never", "isn", "than", "about", "approximately", "nearly", "between"),
        *("hundred", "thousand", "million", "billion", "trillion", "dozen", "half", "third", "quarter"),
        *("percent", "pi", "sqrt", "root", "squared", "cubed", "log", "ln", "sin", "cos", "tan", "exp"),
        *("minus", "negative", "plus", "times", "over"),
    )
)
_CHOICE = re.compile(r"\(?([a-j])(?:\)|\.|:|$)(?! ?\d)(.*)", re.DOTALL)
_HEDGES = (" or ", " and/or ", "either ", " maybe ", "possibly ")


@dataclass(frozen=True)
class Verdict:
    """The verdict on one final answer.

    Attributes:
        correct: The answer equals the reference.
        answered: An answer was given at all.
        layer: The layer that decided: ``none``, ``text``, ``number``, ``choice``, ``hedge`` or ``symbolic``.
        reason: One sentence for a person.
        text: The answer as it was judged.
        timeout: A checker ran out of time; the verdict is a default.
        unparseable: No layer could read the answer; the verdict is a default.
    """

    correct: bool
    answered: bool
    layer: str
    reason: str
    text: str = ""
    timeout: bool = False
    unparseable: bool = False


def judge_answer(answer: str | None, gold: str) -> Verdict:
    """Return the verdict on ``answer``, the text of the final-answer section (None where there is none).

    Whatever a model wrote gets a verdict; nothing raises. An empty ``gold`` matches nothing.
    """
    if answer is None or not answer.strip():
        return Verdict(False, False, "none", "no final answer was given")
    given, wanted = normalise_answer(answer), normalise_answer(gold)
    if not wanted:
        return Verdict(False, True, "none", "the reference answer is empty", given)
    for layer in (_by_text, _by_hedge, _by_number, _by_choice, _by_symbols):
        verdict = layer(given, wanted)
        if verdict is not None:
            return verdict
    return Verdict(
        False, True, "text", f"{given!r} and {wanted!r} differ and neither is an expression", given
    )


def normalise_answer(text: str) -> str:
    """Return ``text`` with spelling that carries no meaning removed.

    Unicode compatibility forms, TeX wrappers (``$``, ``\\boxed``, ``\\text``), surrounding white space and
    punctuation, letter case of words, a leading "the answer is".
    """
    text = unicodedata.normalize("NFKC", text[: 4 * MAX_ANSWER_CHARS]).replace("−", "-")
    text = re.sub(r"\\(?:boxed|text|mathrm|textbf)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\\[,;:! ]|\\left|\\right|\$|\*\*", "", text)
    text = re.sub(r"\s+", " ", text).strip().strip("`\"'").strip()
    text = re.sub(r"^(?:the )?(?:final )?answer (?:is )?:? ?", "", text, flags=re.IGNORECASE)
    return text.rstrip(".!;,: ").strip().casefold()


def parse_number(text: str) -> Fraction | None:
    """Return the exact value of a normalised number, or None where ``text`` is not one number.

    Integers, decimals, thousands separators, scientific notation, ``a/b``, ``\\frac{a}{b}``, percent
    (``50%`` is 1/2) and a currency sign in front.
    """
    match = _NUMBER.fullmatch(text)
    if match:
        try:
            value = _decimal(match["a"])
            if match["b"]:
                value /= _decimal(match["b"])
        except (ValueError, ZeroDivisionError):
            return None
        return value / 100 if match["percent"] else value
    match = _FRACTION.fullmatch(text)
    if match and int(match["b"]):
        value = Fraction(int(match["a"]), int(match["b"]))
        return -value if match["sign"] == "-" else value
    return None


def _decimal(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def _by_text(given: str, wanted: str) -> Verdict | None:
    if given == wanted:
        return Verdict(True, True, "text", "the same text", given)
    if len(given) > MAX_ANSWER_CHARS:
        return Verdict(False, True, "text", "too long to be an answer", given[:MAX_ANSWER_CHARS])
    return None


def _by_hedge(given: str, wanted: str) -> Verdict | None:
    padded = f" {given} "
    for hedge in _HEDGES:
        if hedge in padded and hedge not in f" {wanted} ":
            return Verdict(False, True, "hedge", f"the answer leaves a choice ({hedge.strip()!r})", given)
    return None


def _by_number(given: str, wanted: str) -> Verdict | None:
    gold = parse_number(wanted)
    value = parse_number(given)
    if value is None and gold is not None:
        value = _number_with_unit(given)
    if gold is None or value is None:
        return None
    relation = "equals" if value == gold else "does not equal"
    return Verdict(value == gold, True, "number", f"{given} {relation} {wanted}", given)


def _number_with_unit(text: str) -> Fraction | None:
    """Return the one number of ``text`` where all else is words ("8 apples", "x = 8", "the sum is 8 cm").

    None where there is another number, an operator, a function, a negation or a word that changes the
    number's size ("8 million"), and behind a letter that may be a variable ("8x").
    """
    match = _WITH_UNIT.fullmatch(text) if len(text) <= MAX_QUANTITY_CHARS else None
    if not match:
        return None
    words = set(re.findall(r"[^\W\d_]+", match["before"] + " " + match["unit"]))
    single = {word for word in re.findall(r"[^\W\d_]+", match["unit"]) if len(word) == 1}
    if words & _NOT_UNITS or single - _SHORT_UNITS:
        return None
    return parse_number(match["number"].strip())


def _by_choice(given: str, wanted: str) -> Verdict | None:
    """A gold that is one letter, or a letter with its text, is met by that letter with or without it."""
    gold, choice = _CHOICE.fullmatch(wanted), _CHOICE.fullmatch(given)
    if not gold or not choice:
        return None
    same_letter = gold[1] == choice[1]
    texts = {normalise_answer(m[2]) for m in (gold, choice)} - {""}
    correct = same_letter and len(texts) <= 1
    return Verdict(correct, True, "choice", f"choice {choice[1]} against {gold[1]}", given)


def _by_symbols(given: str, wanted: str) -> Verdict | None:
    if not is_symbolic(wanted):
        return None
    if not is_symbolic(given):
        return Verdict(False, True, "symbolic", "the answer is not an expression", given, unparseable=True)
    for text in (given, wanted):
        if not is_finite_work(text):
            return Verdict(
                False, True, "symbolic", f"{text[:40]!r} is too much work", given, unparseable=True
            )
    equal = symbolically_equal(given, wanted)
    if equal is None:
        return Verdict(False, True, "symbolic", "math-verify could not read it", given, unparseable=True)
    relation = "equal to" if equal else "different from"
    return Verdict(equal, True, "symbolic", f"{relation} the reference by math-verify", given)


def is_symbolic(text: str) -> bool:
    """Return whether ``text`` looks like an expression: a digit or operator in it, and no run of words."""
    words = re.findall(r"(?<![\\a-z])[a-z]{3,}", text)
    functions = {"sin", "cos", "tan", "log", "sqrt", "exp", "arcsin", "arccos", "arctan"}
    return bool(re.search(r"[\d=^\\+*/]", text)) and all(word in functions for word in words)


def is_finite_work(text: str) -> bool:
    """Return whether sympy can be trusted to finish with ``text``: short, flat, no tall power, no factorial.

    sympy evaluates ``9^9^9`` and ``(10^10)!`` in full, and no time limit reaches into it from a thread.
    """
    if len(text) > MAX_SYMBOLIC_CHARS or text.count("{") + text.count("(") > 24 or "!" in text:
        return False
    if any(word in text for word in ("\\int", "\\sum", "\\prod", "\\lim", "\\binom")):
        return False
    if any(len(run) > 24 for run in re.findall(r"\d+", text)):
        return False
    powers = re.findall(r"(?:\^|\*\*)\s*(\{[^{}]*\}|\([^()]*\)|-?\w+|\\?.)", text)
    for power in powers:
        if "^" in power or "**" in power or "(" in power[1:]:
            return False
        if any(int(number) > MAX_EXPONENT for number in re.findall(r"\d+", power)):
            return False
    # A power of a power, a^b^c or (a^b)^c, multiplies its exponents.
    return not re.search(r"(?:\^|\*\*)[^+\-*/=<>]*(?:\^|\*\*)", text)


def symbolically_equal(given: str, wanted: str) -> bool | None:
    """Return math-verify's verdict, or None where it cannot read one of the two. May take long."""
    import math_verify

    gold, target = _parsed(wanted), _parsed(given)
    if not gold or not target:
        return None
    try:
        return bool(math_verify.verify(list(gold), list(target), timeout_seconds=None))
    except Exception:  # sympy raises anything on odd input; an unreadable answer is data
        return None


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> Sequence[Any]:
    import math_verify

    configs = [math_verify.LatexExtractionConfig(), math_verify.ExprExtractionConfig()]
    try:
        # Time limits of math-verify are built on signals, which raise outside the main thread.
        return tuple(math_verify.parse(f"${text}$", configs, parsing_timeout=None))
    except Exception:  # as above
        return ()
