"""Read numbers: digits with separators, decimals, fractions, powers of ten, percent, and English number words.

The one reader of numbers, for answers and key steps. Values are exact; every pattern is bounded, so that the cost is
small whatever a model wrote.

Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from verl_stepgrpo.judging.memo import Memo

THIN_SPACES = ("\\,", "\\!", "\\;", "\\:", "\u2009", "\u202f", "\u00a0")
"""Spaces of TeX and of typesetters that separate thousands; one of TeX's may stand behind a comma."""
THIN_SPACE = r"(?:,?\\[,!;:]|[\u2009\u202f\u00a0])"
"""The pattern of one."""
NUMERAL = rf"\d{{1,3}}(?:(?:,|\{{,\}}|{THIN_SPACE})\d{{3}})+(?:\.\d+)?(?!\d)|\d+\.\d+|\d+|(?<![\d\w])\.\d+"
"""A number in digits as it stands in a text."""
_SEPARATORS = str.maketrans("", "", ",{}\\!;: \u2009\u202f\u00a0")
MAX_EXPONENT = 400
"""Largest power of ten that is written out."""
SMALL_NUMBERS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen".split()
    )
}
TENS = {
    word: 10 * value
    for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
PARTS = {
    "half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7,
    "eighth": 8, "ninth": 9, "tenth": 10,
}  # fmt: skip
NUMBER_WORDS = frozenset((*SMALL_NUMBERS, *TENS, *SCALES))
"""English words that numbers are made of, fractions left out."""
ORDINALS = {"1st": "first", "2nd": "second", "3rd": "third"} | {
    f"{i}th": word for i, word in enumerate("fourth fifth sixth seventh eighth ninth tenth".split(), start=4)
}
# Digits are bounded so that int() and Fraction() stay cheap whatever a model wrote.
_DIGITS = r"(?:\d{1,3}(?:(?:,|\{,\})\d{3}){1,6}(?!\d)|\d{1,3}(?: \d{3}){1,6}(?![ ]?\d)|\d{1,24})"
_DECIMAL = rf"(?:{_DIGITS}(?:\.\d{{0,24}})?|\.\d{{1,24}})"
_FRACTION = r"\\[dt]?frac ?(?:\{ ?(-?\d{1,24}) ?\} ?\{ ?(-?\d{1,24}) ?\}|(\d)(\d))"
_SLASH = rf"({_DECIMAL}) ?/ ?({_DECIMAL})"
_POWER_OF_TEN = r"10 ?(?:\^|\*\*) ?[({]?([-+]?\d{1,3})[)}]?"
_SCIENTIFIC = rf"({_DECIMAL}) ?(?:\*|x) ?{_POWER_OF_TEN}|({_DECIMAL})[eE]([-+]?\d{{1,3}})"
_REPEATING = r"(\d{0,12})\.(\d{0,12})\\overline ?\{(\d{1,12})\}"
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"({_DECIMAL})",
        _SLASH,
        _FRACTION,
        r"(\d{1,24})(?: and | )(\d{1,24}) ?/ ?(\d{1,24})",
        rf"(\d{{1,24}}) ?{_FRACTION}",
        _SCIENTIFIC,
        _POWER_OF_TEN,
        _REPEATING,
    )
)
MAGNITUDE = (
    rf"(?:{_SCIENTIFIC}|{_POWER_OF_TEN}|{_REPEATING}|\d{{1,24}} ?{_FRACTION}"
    rf"|\d{{1,24}}(?: and | )\d{{1,24}} ?/ ?\d{{1,24}}|{_SLASH}|{_FRACTION}|{_DECIMAL})"
)
SCALE = "|".join(scale for scale in SCALES if scale != "hundred")


def joined(numeral: str) -> str:
    """Return a number in digits without what separates its thousands."""
    return numeral.translate(_SEPARATORS)


def canonical(numeral: str) -> str:
    """Return a number in digits in its one spelling: "1,000.50" is "1000.5"."""
    whole, point, decimals = joined(numeral).partition(".")
    decimals = decimals.rstrip("0")
    return (whole.lstrip("0") or "0") + (point + decimals if decimals else "")


def share(percent: str) -> str:
    """Return a number of percent as a plain one: "40" is "0.4"."""
    if not percent.replace(".", "").isdecimal():
        return percent + "%"
    return format((Decimal(percent) / 100).normalize(), "f")


def number_words(text: str) -> Fraction | None:
    """Return the value of English number words ("twenty-five", "three quarters"), or None."""
    mixed = re.fullmatch(
        r"(.+) and ((?:a |one |two |three )?(?:half|thirds?|quarters?|fourths?|fifths?|eighths?))", text
    )
    if mixed:  # "two and a half"
        whole, rest = number_words(mixed[1]), number_words(mixed[2])
        return None if whole is None or rest is None else whole + rest
    words = [word for word in re.split(r"[ -]", text) if word not in ("and", "a")]
    if not words:
        return None
    part = PARTS.get(words[-1]) or PARTS.get(words[-1].removesuffix("s"))
    if part:
        times = _cardinal(words[:-1]) if words[:-1] else 1
        return None if times is None else Fraction(times, part)
    value = _cardinal(words)
    return None if value is None else Fraction(value)


def magnitude(text: str) -> Fraction | None:
    """Return the value of a text that ``MAGNITUDE`` matches; None where it has none, as 1/0."""
    for form, read in zip(_FORMS, _READERS, strict=True):
        match = form.fullmatch(text)
        if match:
            try:
                return read(*[group for group in match.groups() if group is not None])
            except ZeroDivisionError:
                return None
    return None


def _decimal(text: str) -> Fraction:
    return Fraction(joined(text))


def _ratio(a: str, b: str) -> Fraction:
    return _decimal(a) / _decimal(b)


def _mixed(whole: str, a: str, b: str) -> Fraction:
    return int(whole) + Fraction(int(a), int(b))


def _scientific(mantissa: str, exponent: str) -> Fraction:
    return _decimal(mantissa) * Fraction(10) ** max(-MAX_EXPONENT, min(MAX_EXPONENT, int(exponent)))


def _power_of_ten(exponent: str) -> Fraction:
    return _scientific("1", exponent)


def _repeating(whole: str, fixed: str, cycle: str) -> Fraction:
    start = Fraction(int(whole + fixed or "0"), 10 ** len(fixed))
    return start + Fraction(int(cycle), 10 ** len(fixed) * (10 ** len(cycle) - 1))


_READERS: tuple[Callable[..., Fraction], ...] = (
    _decimal,
    _ratio,
    _ratio,
    _mixed,
    _mixed,
    _scientific,
    _power_of_ten,
    _repeating,
)


def _cardinal(words: list[str]) -> int | None:
    """Return the value of "two hundred five" as a list of words, or None where they are no number."""
    total, current, previous = 0, 0, ""
    for word in words:
        if word in SMALL_NUMBERS:
            # "two three" is a list; "twenty three" and "hundred three" are numbers.
            if previous in SMALL_NUMBERS or (previous in TENS and not 0 < SMALL_NUMBERS[word] < 10):
                return None
            current += SMALL_NUMBERS[word]
        elif word in TENS:
            if previous in SMALL_NUMBERS or previous in TENS:
                return None
            current += TENS[word]
        elif word == "hundred":
            current = 100 * (current or 1)
        elif word in SCALES:
            total, current = total + SCALES[word] * (current or 1), 0
        else:
            return None
        previous = word
    return total + current


_BETWEEN_THOUSANDS = (",", "{,}", *THIN_SPACES, *[f",{space}" for space in THIN_SPACES])


def _other_spellings(number: str) -> tuple[str, ...]:
    """Return texts of which one is in every spelling of a number in digits, but as a run of them."""
    if "." in number:
        return (number[number.index(".") :], "%", "percent", "Percent", "per cent", "Per cent")
    if not number.isdecimal():
        return (number,)
    if len(number) <= 3:
        return ()
    groups = f"{int(number[:24]):,}"
    return tuple([groups.replace(",", separator) for separator in _BETWEEN_THOUSANDS])


def _in_words(number: str) -> tuple[str, ...]:
    """Return words of which one is in every English spelling of a number."""
    if not number.isdecimal():
        return ()
    value = int(number[:12])
    if value >= 100:
        return ("hundred", "thousand", "million", "billion", "trillion")
    tens = value // 10 * 10 if value > 20 else value
    words = [word for word, small in (SMALL_NUMBERS | TENS).items() if small in (value, tens)]
    for word, part in PARTS.items():
        words += [word, word + "s"] if part == value else []
    return (
        *words,
        *{2: ("squared", "half", "twice", "double"), 3: ("cubed", "cube", "triple")}.get(value, ()),
    )


SPELLED: Memo[str, tuple[tuple[str, ...], tuple[str, ...]]] = Memo(
    lambda number: (_other_spellings(number), _in_words(number)), 4096
)
"""What is in the spellings of a number that are no run of digits: those with signs, and those in words."""
