"""Read units: "centimeters" and "cm", "m/s^2" and "meters per second squared", "$" and "dollars".

The one table of units and their one reader, for answers and key steps.

Pure: no I/O. Not covered: conversion between units ("500 cm" and "5 m" have different units).
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from verl_stepgrpo.judging.reading.numbers import NUMBER_WORDS

CURRENCIES = {
    "$": "dollar", "€": "euro", "£": "gbp", "¥": "yen", "₹": "rupee",
    "usd": "dollar", "us": "dollar", "eur": "euro", "gbp": "gbp", "buck": "dollar", "cent": "cent",
    "pound": "pound", "dollar": "dollar", "euro": "euro", "yen": "yen", "rupee": "rupee",
}  # fmt: skip
"""The currency of each sign and name."""
CURRENCY_SIGNS = "".join(sign for sign in CURRENCIES if not sign.isalpha())


class Unit(NamedTuple):
    """A unit.

    Attributes:
        symbol: Its symbol, by which it is called here.
        names: Its names, in the singular.
        others: Its other symbols.
    """

    symbol: str
    names: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def _row(symbol: str, names: str = "", others: str = "") -> Unit:
    return Unit(symbol, tuple(names.split()), tuple(others.split()))


UNITS = (
    _row("m", "meter metre 米"),
    _row("cm", "centimeter centimetre 厘米"),
    _row("mm", "millimeter millimetre 毫米"),
    _row("km", "kilometer kilometre 千米 公里", "kms"),
    _row("nm", "nanometer nanometre"),
    _row("um", "micrometer micrometre", "μm"),
    _row("dm"),
    _row("mi", "mile"),
    _row("ft", "foot feet"),
    _row("yd", "yard"),
    _row("in", "inch inche"),  # "inches" without its s
    _row("g", "gram 克"),
    _row("kg", "kilogram kilo 千克 公斤", "kgs"),
    _row("mg", "milligram"),
    _row("lb", "", "lbs"),
    _row("oz", "ounce"),
    _row("s", "second 秒", "sec secs"),
    _row("ms", "millisecond"),
    _row("min", "minute 分钟", "mins"),
    _row("h", "hour 小时", "hr hrs"),
    _row("l", "liter litre", "L"),
    _row("ml", "milliliter millilitre", "mL"),
    _row("N", "newton"),
    _row("J", "joule"),
    _row("kJ", "kilojoule"),
    _row("W", "watt"),
    _row("kW", "kilowatt"),
    _row("mW"),
    _row("MW"),
    _row("GW"),
    _row("V", "volt"),
    _row("kV"),
    _row("mV"),
    _row("A", "amp ampere"),
    _row("mA"),
    _row("ohm", "ohm", "Ω"),
    _row("K", "kelvin"),
    _row("Hz", "hertz"),
    _row("kHz"),
    _row("MHz"),
    _row("Pa", "pascal"),
    _row("kPa"),
    _row("atm", "atmosphere"),
    _row("C", "coulomb"),
    _row("mol", "mole"),
    _row("mol/l", "", "M"),
    _row("eV"),
    _row("cal", "calorie"),
    _row("kcal"),
    _row("kWh"),
    _row("dB", "decibel"),
    _row("°", "degree 度", "deg"),
    _row("°C", "celsius", "℃"),
    _row("°F", "fahrenheit"),
    _row("rad", "radian"),
    _row("B", "byte"),
    _row("KB", "kilobyte"),
    _row("MB", "megabyte"),
    _row("GB", "gigabyte"),
    _row("TB", "terabyte"),
)
"""All of them."""

SYMBOLS = {
    text: unit.symbol
    for unit in UNITS
    for text in (unit.symbol, *unit.others)
    if text not in ("ohm", "mol/l")  # no symbols that a text has
}
"""The unit of each symbol, case kept: mW is not MW."""
NAMES = {name: unit.symbol for unit in UNITS for name in unit.names}
"""The unit of each name."""
TEMPERATURES = {name: symbol[1:] for name, symbol in NAMES.items() if symbol in ("°C", "°F")}
"""The letter of a degree by its name."""
COMPOUNDS = {"mph": "mi/h", "miph": "mi/h", "kph": "km/h", "kmh": "km/h", "kmph": "km/h", "Nm": "N m"}
"""Units that are written in one word, as their quotients and products."""
_DEGREES = {f"°{name}": f"°{letter}" for name, letter in TEMPERATURES.items()} | {
    f"°{letter.casefold()}": f"°{letter}" for letter in TEMPERATURES.values()
}
_COMPOUND = re.compile(rf"\b(?:{'|'.join(COMPOUNDS)})\b")
_UNIT_FACTOR = re.compile(r"(?P<name>°? ?[^\W\d_]+|°)(?: ?\^ ?\{?(?P<power>-?\d)\}?)?")
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
    text = re.sub(rf"^ ?[{CURRENCY_SIGNS}]", lambda m: CURRENCIES[m.group().strip()], text)
    text = _COMPOUND.sub(lambda m: COMPOUNDS[m[0]], text)
    text = re.sub(r"\bms ?\^ ?\{?(-\d)\}?", r"m s^\1", text)
    text = re.sub(r"(square|sq\.?|cubic) ([^\W\d_]+)", _spoken_power, text.strip())
    text = re.sub(r"([^\W\d_]+) (squared|cubed)", _spoken_power_behind, text)
    text = re.sub(r"(平方|立方)([^\W\d_]+)", lambda m: f"{m[2]}^{2 if m[1] == '平方' else 3}", text)
    text = re.sub(r"(?<=\w) of \D*$", "", text.rstrip(". "))
    numerator, *denominators = re.split(r" ?/ ?| per ", text)
    factors = _factors(numerator, 1)
    for denominator in denominators:
        below = _factors(denominator, -1)
        factors = None if factors is None or below is None or len(denominators) > 2 else factors + below
    if factors is None:
        return None
    return " ".join(name if power == 1 else f"{name}^{power}" for name, power in sorted(factors))


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
        name = _DEGREES.get(match["name"].replace(" ", "").casefold(), match["name"].replace(" ", ""))
        if name.casefold() in _NOT_A_UNIT:
            return None
        if name not in _SILENT_WORDS or match["power"]:
            factors.append((_canonical(name), sign * int(match["power"] or 1)))
    return None if text[position:].strip(" .,'’") or len(factors) > 4 else factors


def _canonical(name: str) -> str:
    if name in SYMBOLS:
        return SYMBOLS[name]
    word = name.casefold()
    for candidate in (word, _singular(word)):
        if candidate in NAMES or candidate in CURRENCIES:
            return NAMES.get(candidate) or CURRENCIES[candidate]
    # Symbols are often written in the wrong case ("5 Cm").
    return SYMBOLS.get(word, _singular(word))


def unit_named(word: str) -> str | None:
    """Return the unit of a name in small letters, singular or plural, or None."""
    return NAMES.get(word) or NAMES.get(_singular(word))


def _singular(word: str) -> str:
    return word if word.endswith("ss") or len(word) < 4 else word.removesuffix("s")


CANONICAL = frozenset(SYMBOLS.values()) | frozenset(NAMES.values()) | frozenset(CURRENCIES.values())
"""The names of all known units and currencies."""
KNOWN_UNITS = CANONICAL | {f"{name}^{power}" for name in CANONICAL for power in (2, 3)}


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
