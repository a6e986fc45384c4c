"""Judge the final answer of a response against the reference answer.

Layers, each sure of what it says, in this order: exact text after normalisation, hedges, numbers with or
without a unit, choice letters, lists, then math-verify (in a process of its own) for what is left. The
verdict names the layer that decided and why.

No torch, no verl. Not covered: conversion between units, and equations written in different forms.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

from verl_stepgrpo import symbolic
from verl_stepgrpo.symbolic import Equality

MAX_ANSWER_CHARS = 512
"""Longer final answers are judged by their text alone: they are not answers, and parsing them costs."""

MAX_QUANTITY_CHARS = 80
"""Longer answers are not a number with its unit."""

MAX_SYMBOLIC_CHARS = 160
"""Longest expression that math-verify is given."""

MAX_EXPONENT = 64
"""Largest literal exponent that math-verify is given; sympy evaluates powers of numbers in full."""

MAX_BRACKETS = 24
MAX_DIGITS = 24
"""Most brackets, and most digits of one number, in an expression that math-verify is given."""

# Digits are bounded so that int() and Fraction() stay cheap whatever a model wrote.
_DECIMAL = r"[-+]?(?:\d{1,3}(?:,\d{3}){1,6}|\d{1,24})?(?:\.\d{1,24})?(?:e[-+]?\d{1,3})?"
_NUMBER = re.compile(
    rf"[$€£]? ?(?P<a>(?=[-+.\d]){_DECIMAL}) ?(?:/ ?(?P<b>(?=[-+.\d]){_DECIMAL}))? ?(?P<percent>\\?%)?"
)
_FRACTION = re.compile(r"(?P<sign>-?)\\[dt]?frac ?\{(?P<a>-?\d{1,24})\} ?\{(?P<b>-?\d{1,24})\}")
_QUANTITY = re.compile(
    r"(?P<lead>(?:[^\W\d_]+ ){0,6}?(?:[^\W\d_]+ (?:is|are|equals)|[a-z] ?=|[^\W\d_]+:) )?"
    r"(?P<number>[-+$€£]{0,2}\.?\d[\d.,]*(?: ?/ ?\d[\d.,]*)?(?: ?\\?%)?)"
    r"(?: ?(?P<unit>[^\W\d_]+(?: [^\W\d_]+)?|°))?"
)
_SHORT_UNITS = frozenset("mgslh")
# fmt: off
_NOT_A_LEAD = frozenset((
    "not", "no", "never", "than", "between", "maybe", "possibly", "wrong", "least", "most",
))
_NOT_A_UNIT = _NOT_A_LEAD | frozenset((
    "is", "are", "was", "to", "at", "by", "from", "and", "or", "but", "with", "too", "either", "incorrect",
    "hundred", "thousand", "million", "billion", "trillion", "dozen", "half", "third", "quarter", "percent",
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "pi", "sqrt", "root", "squared", "cubed", "log", "ln", "sin", "cos", "tan", "exp",
    "minus", "negative", "plus", "times", "over",
))
# fmt: on
_CHOICE = re.compile(r"(?:option |choice )?\(?(?P<letter>[a-j])(?:\)|\.|:|$| (?=\())(?P<text>.*)", re.DOTALL)
_ANOTHER_CHOICE = re.compile(r"(?:^|[\s(,])[a-j](?:[).:,]|$)|\b(?:and|not|wrong|incorrect|but|wait|no)\b")
_HEDGES = (" or ", " and/or ", "either ", " maybe ", "possibly ")
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_WRAPPER = re.compile(r"\\(?:boxed|text|mathrm|textbf)\s*\{([^{}]*)\}")
_FUNCTIONS = frozenset({"sin", "cos", "tan", "log", "sqrt", "exp", "arcsin", "arccos", "arctan"})


@dataclass(frozen=True)
class Verdict:
    """The verdict on one final answer.

    Attributes:
        correct: The answer equals the reference.
        answered: An answer was given at all.
        layer: The layer that decided: ``none``, ``text``, ``hedge``, ``number``, ``choice``, ``list`` or
            ``symbolic``.
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

    Whatever a model wrote gets a verdict, within ``symbolic.TIME_LIMIT`` seconds of its turn; nothing
    raises. An empty ``gold`` matches nothing.
    """
    if answer is None or not answer.strip():
        return Verdict(False, False, "none", "no final answer was given")
    given, wanted = normalise_answer(answer), normalise_answer(gold)
    if not wanted:
        return Verdict(False, True, "none", "the reference answer is empty", given)
    for layer in (_by_text, _by_hedge, _by_number, _by_choice, _by_list, _by_symbols):
        verdict = layer(given, wanted)
        if verdict is not None:
            return verdict
    return Verdict(False, True, "text", f"{given!r} and {wanted!r} differ, and are no expressions", given)


def normalise_answer(text: str) -> str:
    """Return ``text`` with spelling that carries no meaning removed.

    Unicode compatibility forms, TeX wrappers (``$``, ``\\boxed``, ``\\text``), bold marks around the whole,
    surrounding white space and punctuation, letter case, a leading "the answer is". A text with one
    ``\\boxed`` is its content.
    """
    text = unicodedata.normalize("NFKC", text[: 4 * MAX_ANSWER_CHARS]).replace("−", "-")
    boxed = set(_BOXED.findall(text))
    if len(boxed) == 1:
        text = boxed.pop()
    for _ in range(3):  # wrappers in wrappers
        text = _WRAPPER.sub(r"\1", text)
    text = re.sub(r"\\[,;:! ]|\\left|\\right|\$", "", text)
    text = re.sub(r"\s+", " ", text).strip().strip("`\"'").strip()
    text = re.sub(r"^\*\*(.*?)\*\*$", r"\1", text)
    text = re.sub(r"^(?:the )?(?:final )?answer (?:is )?:? ?", "", text, flags=re.IGNORECASE)
    # An exclamation mark behind a number is a factorial.
    return re.sub(r"(?:[.;,:? ]|(?<=[^\W\d_])!)+$", "", text).strip().casefold()


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


def parse_quantity(text: str) -> tuple[Fraction, str] | None:
    """Return value and unit of a normalised number with or without a unit; None for anything else.

    "8", "8 apples", "x = 8", "the sum is 8 cm". The unit is one or two words, singular, or "". None where
    there is another number, an operator, a negation, a word that changes the number's size ("8 million"),
    or a letter that may be a variable ("8x").
    """
    number = parse_number(text)
    if number is not None:
        return number, ""
    match = _QUANTITY.fullmatch(text) if len(text) <= MAX_QUANTITY_CHARS else None
    if not match:
        return None
    unit_words = (match["unit"] or "").split()
    variables = {word for word in unit_words if len(word) == 1 and word != "°"} - _SHORT_UNITS
    if variables or _NOT_A_UNIT & set(unit_words) or _NOT_A_LEAD & set((match["lead"] or "").split()):
        return None
    number = parse_number(match["number"].strip())
    return (
        None if number is None else (number, " ".join(word.removesuffix("s") or word for word in unit_words))
    )


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
    gold, quantity = parse_quantity(wanted), parse_quantity(given)
    if gold is None or quantity is None:
        return None
    if gold[1] and quantity[1] and gold[1] != quantity[1]:
        return Verdict(False, True, "number", f"another unit: {quantity[1]} against {gold[1]}", given)
    relation = "equals" if quantity[0] == gold[0] else "does not equal"
    return Verdict(quantity[0] == gold[0], True, "number", f"{given} {relation} {wanted}", given)


def _by_choice(given: str, wanted: str) -> Verdict | None:
    """A gold that is one letter, or a letter with its text, is met by that letter with or without it."""
    gold, choice = _CHOICE.fullmatch(wanted), _CHOICE.fullmatch(given)
    if not gold or not choice:
        return None
    texts = {normalise_answer(m["text"].strip(" ()")) for m in (gold, choice)} - {""}
    if not gold["text"] and _ANOTHER_CHOICE.search(choice["text"]):
        return Verdict(False, True, "hedge", "the answer names more than one choice, or takes it back", given)
    correct = gold["letter"] == choice["letter"] and len(texts) <= 1
    return Verdict(correct, True, "choice", f"choice {choice['letter']} against {gold['letter']}", given)


def _by_list(given: str, wanted: str) -> Verdict | None:
    """Tuples, intervals and lists agree element by element in order; sets in any order."""
    (gold_open, gold, gold_close), (opening, items, closing) = _list_of(wanted), _list_of(given)
    if len(gold) < 2 and len(items) < 2:
        return None
    if len(gold) != len(items):
        return Verdict(False, True, "list", f"{len(items)} elements against {len(gold)}", given)
    if opening and gold_open and (opening, closing) != (gold_open, gold_close):
        return Verdict(False, True, "list", "other brackets", given)
    if gold_open == "{":
        items, gold = sorted(items), sorted(gold)
    correct = all(judge_answer(item, want).correct for item, want in zip(items, gold, strict=True))
    return Verdict(correct, True, "list", "element by element", given)


def _list_of(text: str) -> tuple[str, list[str], str]:
    """Return opening bracket, elements split at commas outside of brackets, and closing bracket."""
    text = text.replace("\\{", "{").replace("\\}", "}").replace(" and ", ", ")
    opening, closing = "", ""
    if text[:1] in ("(", "[", "{") and text[-1:] in (")", "]", "}"):
        opening, closing, text = text[0], text[-1], text[1:-1]
    items, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    items = [item.strip() for item in items]
    # An empty element means that the comma was punctuation.
    return (opening, items, closing) if all(items) else ("", [text], "")


def _by_symbols(given: str, wanted: str) -> Verdict | None:
    if not is_symbolic(wanted):
        return None
    sides = _without_variable(given, wanted)
    if sides is None or not all(is_symbolic(side) for side in sides):
        return Verdict(False, True, "symbolic", "the answer is not an expression", given, unparseable=True)
    if not all(is_finite_work(side) for side in sides):
        return Verdict(False, True, "symbolic", "too much work to evaluate", given, unparseable=True)
    return symbolic_verdict(symbolic.equal(f"${sides[0]}$", sides[1]), answered=True, text=given)


def symbolic_verdict(outcome: Equality, *, answered: bool, text: str) -> Verdict:
    """Return the verdict that an outcome of the symbolic checker stands for."""
    reasons = {
        Equality.EQUAL: "equal to the reference by math-verify",
        Equality.DIFFERENT: "different from the reference by math-verify",
        Equality.UNREADABLE: "math-verify could not read it",
        Equality.TIMEOUT: "math-verify ran out of time",
    }
    return Verdict(
        outcome is Equality.EQUAL,
        answered,
        "symbolic",
        reasons[outcome],
        text,
        timeout=outcome is Equality.TIMEOUT,
        unparseable=outcome is Equality.UNREADABLE,
    )


def _without_variable(given: str, wanted: str) -> tuple[str, str] | None:
    """Return both sides to compare: of ``x = expression`` the expression. None where that is not sound.

    math-verify takes the right-hand side of any equation, so that ``3 = 2`` would be 2, and calls some
    different equations equal.
    """
    (left, given_right), (gold_left, gold_right) = _equation(given), _equation(wanted)
    for variable in (left, gold_left):
        if variable is not None and not re.fullmatch(r"[a-z](?:_?\{?\w\}?)?(?: ?\([a-z]\))?", variable):
            return None
    if left is not None and gold_left is not None and left != gold_left:
        return None
    return given_right, gold_right


def _equation(text: str) -> tuple[str | None, str]:
    left, equals, right = text.partition("=")
    return (left.strip(), right.strip()) if equals else (None, text)


def is_symbolic(text: str) -> bool:
    """Return whether ``text`` looks like one expression: digits or operators in it, and no run of words.

    Times and dates ("3:00 pm", "2024-01-02") are none.
    """
    words = re.findall(r"(?<![\\a-z])[a-z]{2,}", text)
    if ":" in text or re.search(r"\d-\d+-\d", text) or "=" in text:
        return False
    return bool(re.search(r"[\d^\\+*/]", text)) and all(w in _FUNCTIONS or len(w) == 2 for w in words)


def is_finite_work(text: str) -> bool:
    """Return whether sympy is likely to finish with ``text``: short, flat, no tall power, no factorial.

    Cheaper than a time-out, and no more than that: what slips through is killed by the time limit.
    """
    if len(text) > MAX_SYMBOLIC_CHARS or text.count("{") + text.count("(") > MAX_BRACKETS or "!" in text:
        return False
    if any(word in text for word in ("\\int", "\\sum", "\\prod", "\\lim", "\\binom")):
        return False
    if any(len(run) > MAX_DIGITS for run in re.findall(r"\d+", text)):
        return False
    powers = re.findall(r"(?:\^|\*\*)\s*(\{[^{}]*\}|\([^()]*\)|-?\w+|\\?.)", text)
    for power in powers:
        if "^" in power or "**" in power or "(" in power[1:]:
            return False
        if any(int(number) > MAX_EXPONENT for number in re.findall(r"\d+", power)):
            return False
    # A power of a power, a^b^c or (a^b)^c, multiplies its exponents.
    return not re.search(r"(?:\^|\*\*)[^+\-*/=<>]*(?:\^|\*\*)", text)
