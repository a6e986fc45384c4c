"""Read numbers and quantities exactly: how many, and of which unit.

Spellings covered: integers, decimals, thousands separators, fractions and mixed numbers (plain and TeX),
scientific notation, percent, repeating decimals, English number words and scale words, a currency sign, units
with their names and symbols. Values are ``Fraction``; every pattern is bounded, so that the cost is small
whatever a model wrote.

Pure: no I/O. Not covered: conversion between units ("500 cm" and "5 m" have different units).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

MAX_CHARS = 120
"""Longer texts are not one quantity."""
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
SCALE = "thousand|million|billion|trillion"
_SIGN = r"(?P<sign>[-+]|minus |negative )?"
_CURRENCY = r"(?P<currency>[$€£¥₹]|(?:US|USD|EUR|GBP)(?=[ $]) ?\$?)?"
_WORDS = "|".join((*SMALL_NUMBERS, *TENS, *SCALES, *PARTS, *(part + "s" for part in PARTS), "and", "a"))
_QUANTITY = re.compile(
    rf"{_SIGN} ?{_CURRENCY} ?(?P<second_sign>-)?"
    rf"(?:(?P<magnitude>{MAGNITUDE})(?: ?(?P<scale>{SCALE})(?!\w))?"
    rf"|(?P<words>(?:{_WORDS})(?:[ -](?:{_WORDS}))*)(?![\w-]))"
    r" ?(?P<percent>\\?%|(?:percent|per cent|pct|percentage)\b)?(?P<unit>.*)",
    re.DOTALL,
)
_CURRENCIES = {
    "$": "dollar", "€": "euro", "£": "gbp", "¥": "yen", "₹": "rupee",
    "usd": "dollar", "us": "dollar", "eur": "euro", "gbp": "gbp", "buck": "dollar", "cent": "cent",
    "pound": "pound", "dollar": "dollar", "euro": "euro", "yen": "yen", "rupee": "rupee",
}  # fmt: skip
UNIT_SYMBOLS = {
    symbol: symbol
    for symbol in (
        "m cm mm km nm dm g kg mg s ms h min l ml mi ft yd lb oz N J kJ W kW V kV mV A mA K Hz kHz MHz Pa kPa C "
        "mol mW MW GW eV cal kcal kWh dB °C °F ° rad B KB MB GB TB atm"
    ).split()
} | {
    "L": "l", "mL": "ml", "hr": "h", "hrs": "h", "sec": "s", "mins": "min", "secs": "s", "lbs": "lb",
    "kgs": "kg", "kms": "km", "μm": "um", "um": "um", "Ω": "ohm", "℃": "°C", "in": "in", "deg": "°", "M": "mol/l",
}  # fmt: skip
UNIT_NAMES = {
    name: symbol
    for symbol, names in {
        "m": "meter metre", "cm": "centimeter centimetre", "mm": "millimeter millimetre",
        "km": "kilometer kilometre", "nm": "nanometer nanometre", "g": "gram", "kg": "kilogram kilo",
        "mg": "milligram", "s": "second", "ms": "millisecond", "h": "hour", "min": "minute",
        "l": "liter litre", "ml": "milliliter millilitre", "mi": "mile", "ft": "foot feet", "yd": "yard",
        "in": "inch inche", "oz": "ounce", "N": "newton", "J": "joule", "kJ": "kilojoule", "W": "watt",
        "kW": "kilowatt", "V": "volt", "A": "amp ampere", "K": "kelvin", "Hz": "hertz", "Pa": "pascal",
        "C": "coulomb", "mol": "mole", "cal": "calorie", "°": "degree", "°C": "celsius", "°F": "fahrenheit",
        "rad": "radian", "ohm": "ohm", "um": "micrometer micrometre", "dB": "decibel", "atm": "atmosphere",
        "B": "byte", "KB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte",
    }.items()
    for name in names.split()
}  # fmt: skip
_TEMPERATURES = {"°celsius": "°C", "°c": "°C", "°fahrenheit": "°F", "°f": "°F"}
_UNIT_FACTOR = re.compile(r"(?P<name>°? ?[^\W\d_]+|°)(?: ?\^ ?\{?(?P<power>-?\d)\}?)?")
_LOOKS_LIKE_A_VARIABLE = re.compile(r"[A-Za-z]")
_NOT_A_UNIT = NUMBER_WORDS | frozenset(
    "is are was to at by from and or but with too either incorrect wrong not no never than between maybe possibly "
    "least most dozen half third quarter pi sqrt root log ln sin cos tan exp minus negative plus times over "
    "hundreds thousands millions billions dozens crore lakh squared cubed thirds halves quarters tenths excluded "
    "rejected divided multiplied if when where hence thus so which i mod modulo choose factorial false refuted hardly "
    "unless except however yet although because since tens gross many them these those few short below above under "
    "off beyond can be cannot could would should might must may does do did has have had nearly almost roughly instead "
    "rather fail fails failed past until till since after before around about into onto without within "
    "during".split()
)
_TELLS_OF = re.compile(r"\bof\b.*\b(?:is|are|was|were|be|been|has|have|had|will|does|do|did)\b")
_SILENT_WORDS = frozenset(
    "of the in total altogether each all a an only exactly units unit together now".split()
)


@dataclass(frozen=True)
class Quantity:
    """An exact value with its unit.

    Attributes:
        value: The number in front of the unit; of ``50%`` it is 50.
        percent: Whether a percent sign stands behind it.
        unit: The unit's canonical name, such as "cm", "m s^-1" or "apple"; "" where there is none.
    """

    value: Fraction
    percent: bool = False
    unit: str = ""

    @property
    def plain(self) -> Fraction:
        """The value as a plain number: of ``50%`` it is 1/2."""
        return self.value / 100 if self.percent else self.value

    def same_value(self, gold: Quantity) -> bool:
        """Return whether both stand for one number, ``gold`` being the reference.

        The percent sign is tolerated where only one of them has it: a reference "25%" is met by "25", and a
        reference "25" (not one below 1, which is a share) by "25%".
        """
        if self.percent == gold.percent:
            return self.value == gold.value
        if self.plain == gold.plain:
            return True
        return self.value == gold.value and (gold.percent or abs(gold.value) > 1)

    def same_unit(self, gold: Quantity) -> bool:
        """Return whether the units agree; one that only one of them has is tolerated."""
        if self.percent != gold.percent and (self.unit or gold.unit):
            return False
        if not self.unit or not gold.unit or self.unit == gold.unit:
            return True
        if "pound" in (self.unit, gold.unit) and {self.unit, gold.unit} & {"lb", "gbp"}:
            return True
        ours, theirs = set(self.unit.split()), set(gold.unit.split())
        known = {factor.split("^")[0] for factor in ours | theirs} & _CANONICAL
        # "8 red apples" are "8 apples"; "5 m" is not "5 m s^-1".
        return not known and (ours <= theirs or theirs <= ours)


@functools.lru_cache(maxsize=4096)
def parse_quantity(text: str) -> Quantity | None:
    """Return the quantity that ``text`` is, whole; None where it is anything else.

    "8", "-1/2", "3 * 10^8 m/s", "$5", "25%", "twelve", "2.5 million", "8 red apples". ``text`` is normalised as
    by ``judging.answers.normalise``, its letter case kept (mW and MW differ). None for two numbers, an operator, a
    negation, or a letter behind the number that may be a variable ("8x").
    """
    if len(text) > MAX_CHARS:
        return None
    match = _QUANTITY.fullmatch(text) or _QUANTITY.fullmatch(text.casefold())
    if not match:
        return None
    value = _magnitude(match["magnitude"]) if match["magnitude"] else number_words(match["words"])
    unit = parse_unit(match["unit"]) if match["unit"].strip() else ""
    if value is None or unit is None or _is_variable(match) or _has_variables(match["unit"].strip()):
        return None
    if match["scale"]:
        value *= SCALES[match["scale"]]
    if (match["sign"] or "+") != "+":
        value = -value
    if match["second_sign"]:
        value = -value
    if match["currency"]:
        currency = _CURRENCIES[match["currency"].strip(" $").casefold() or "$"]
        if unit and unit != currency:
            return None
        unit = currency
    return Quantity(value, bool(match["percent"]), unit)


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


@functools.lru_cache(maxsize=4096)
def parse_unit(text: str) -> str | None:
    """Return the canonical name of a unit or noun; "" where it is silent ("in total"), None for no unit.

    Names and symbols of one unit are the same ("centimeters", "cm"), and so are the ways of writing products,
    quotients and powers ("square meters", "m^2"; "km per hour", "km/h").
    """
    text = re.sub(r"\\(?:text|mathrm) ?\{([^{}]*)\}", r"\1", text)
    text = re.sub(
        r"\^ ?\{? ?(?:\\circ|°) ?\}?|\\degree|\\circ|degrees?(?= [cCfF]\b| [cC]elsius| [fF]ahrenheit)",
        "°",
        text,
    )
    if "n't" in text or _TELLS_OF.search(text):
        return None  # "17 isn't right", "17 J of heat was lost"
    text = re.sub(r"^ ?[$€£¥₹]", lambda m: _CURRENCIES[m.group().strip()], text)
    text = re.sub(r"\b(?:(mi?)ph|kmp?h|kph)\b", lambda m: "mi/h" if m[1] else "km/h", text)
    text = re.sub(r"\bms ?\^ ?\{?(-\d)\}?", r"m s^\1", text)
    text = re.sub(r"(square|sq\.?|cubic) ([^\W\d_]+)", _spoken_power, text.strip())
    text = re.sub(r"([^\W\d_]+) (squared|cubed)", _spoken_power_behind, text)
    text = re.sub(r"(?<=\w) of \D*$", "", text.rstrip(". "))
    numerator, *denominators = re.split(r" ?/ ?| per ", text)
    factors = _factors(numerator, 1)
    for denominator in denominators:
        below = _factors(denominator, -1)
        factors = None if factors is None or below is None or len(denominators) > 2 else factors + below
    if factors is None:
        return None
    return " ".join(name if power == 1 else f"{name}^{power}" for name, power in sorted(factors))


def _magnitude(text: str) -> Fraction | None:
    for form, read in zip(_FORMS, _READERS, strict=True):
        match = form.fullmatch(text)
        if match:
            try:
                return read(*[group for group in match.groups() if group is not None])
            except ZeroDivisionError:
                return None
    return None


def _decimal(text: str) -> Fraction:
    return Fraction(re.sub(r"[,{} ]", "", text))


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


def _is_variable(match: re.Match[str]) -> bool:
    """Whether one letter glued to the number, or standing behind it, is rather a variable: "8x", "3 n"."""
    letters = match["unit"].strip()
    if match["words"] or letters in _CURRENCIES:
        return False
    if match.string[match.start("unit") - 1] == " ":
        return len(letters) == 1 and letters not in UNIT_SYMBOLS and letters != "°"
    return bool(letters) and (
        (len(letters) == 1 and letters not in "mgslhNJWVKLC°")
        or (
            len(letters) > 1
            and _LOOKS_LIKE_A_VARIABLE.match(letters) is not None
            and parse_unit(letters) not in KNOWN_UNITS
        )
    )


def _has_variables(unit: str) -> bool:
    """Whether single letters behind a number are rather factors: "3 a b", "4 x^{2}", "60 - k", "2/x"; not "5 N m"."""
    letters = re.findall(r"(?<![^\W\d_])[^\W\d_](?![^\W\d_])", unit)
    if not letters:
        return False
    if re.match(r"[-/] ?[^\W\d_](?![^\W\d_])", unit) or any(
        letter not in UNIT_SYMBOLS and letter not in "a°" for letter in letters
    ):
        return True
    if "a" in letters and not re.search(r"\ba [^\W\d_]{2}", unit):
        return True
    alone = re.fullmatch(r"[^\W\d_](?:[ *]+[^\W\d_])+", unit)
    return bool(alone) and not re.fullmatch(r"[NJWVACKH] ?\*? ?[mshAVC]", unit)


def _spoken_power(match: re.Match[str]) -> str:
    return f"{match[2]}^{3 if match[1] == 'cubic' else 2}"


def _spoken_power_behind(match: re.Match[str]) -> str:
    return f"{match[1]}^{3 if match[2] == 'cubed' else 2}"


def _factors(text: str, sign: int) -> list[tuple[str, int]] | None:
    """Return the factors of a product of units as (name, power), or None where a part is no unit."""
    factors, position = [], 0
    for match in _UNIT_FACTOR.finditer(text):
        if text[position : match.start()].strip(" *,-'’"):
            return None
        position = match.end()
        name = _TEMPERATURES.get(match["name"].replace(" ", "").casefold(), match["name"].replace(" ", ""))
        if name.casefold() in _NOT_A_UNIT:
            return None
        if name not in _SILENT_WORDS or match["power"]:
            factors.append((_canonical(name), sign * int(match["power"] or 1)))
    return None if text[position:].strip(" .,'’") or len(factors) > 4 else factors


def _canonical(name: str) -> str:
    if name in UNIT_SYMBOLS:
        return UNIT_SYMBOLS[name]
    word = name.casefold()
    singular = word if word.endswith("ss") or len(word) < 4 else word.removesuffix("s")
    for candidate in (word, singular):
        if candidate in UNIT_NAMES or candidate in _CURRENCIES:
            return UNIT_NAMES.get(candidate) or _CURRENCIES[candidate]
    # Symbols are often written in the wrong case ("5 Cm").
    return UNIT_SYMBOLS.get(word, singular)


_CANONICAL = (
    frozenset(UNIT_SYMBOLS.values()) | frozenset(UNIT_NAMES.values()) | frozenset(_CURRENCIES.values())
)
KNOWN_UNITS = _CANONICAL | {f"{name}^{power}" for name in _CANONICAL for power in (2, 3)}


def split_unit(text: str) -> tuple[str, str]:
    """Return an expression without the known unit behind it, and that unit ("" where there is none)."""
    match = re.search(
        r"(?<=[\w)}\]]) ?(?P<unit>°[CF]?"
        r"|(?<= )(?:square |cubic )?[^\W\d_]{2,}(?:(?: ?/ ?| per )[^\W\d_]+)?(?: ?\^ ?\{?\d\}?)?)$",
        text,
    )
    unit = parse_unit(match["unit"]) if match else None
    if match is None or unit is None or unit not in KNOWN_UNITS:
        return text, ""
    return text[: match.start()].strip(), unit
