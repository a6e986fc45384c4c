"""Find the one quantity that a sentence states.

Pure: no I/O.
"""

from __future__ import annotations

import itertools
import re

from verl_stepgrpo.judging.answers import arithmetic
from verl_stepgrpo.judging.answers.doubts import GOES_ON, RESULT_DENIED, RESULT_GOES_ON, SUBJECT_DENIES
from verl_stepgrpo.judging.reading.lexicon import one_of
from verl_stepgrpo.judging.reading.numbers import (
    MAGNITUDE,
    NUMERAL,
    SCALE,
    SCALES,
    SMALL_NUMBERS,
    TENS,
    number_words,
)
from verl_stepgrpo.judging.reading.quantities import Quantity, parse_quantity
from verl_stepgrpo.judging.reading.units import CURRENCY_SIGNS, KNOWN_UNITS, parse_unit

_IN_PROSE = re.compile(
    rf"(?<![\w.\\^_{{(])[-+]?[{CURRENCY_SIGNS}]? ?(?:{MAGNITUDE})"
    rf"(?: ?(?:{SCALE})(?!\w))?(?: ?\\?%)?(?![\d^_{{])"
)
_UNIT_BEHIND = re.compile(r" ?(°|[^\W\d_]+(?: ?(?:/|per) ?[^\W\d_]+)?(?:\^\{?\d\}?)?)")
_STATING = (
    "is are was were be equal has have had get got take took need cost earn make made give gave contain show weigh "
    "measure sell sold pay paid left remain receive spend spent require use buy bought read travel become eat ate save "
    "cover hold last walk drive run leave see count find score yield"
).split()
"""Verbs, each with or without an s behind it."""
_MEASURES = (
    "total sum average mean length area volume distance height width speed cost price perimeter radius angle "
    "probability value number count maximum minimum age mass weight increase decrease"
).split()
_FILLERS = "only just now still also currently then therefore".split()

MAX_PROSE_CHARS = 320
"""Longer sentences state no quantity."""

_ANY_NUMBER = re.compile(
    rf"{_IN_PROSE.pattern}|\b(?:{'|'.join((*SMALL_NUMBERS, *TENS, *SCALES, 'half'))})\b", re.IGNORECASE
)
_ADVERBS = rf"(?: ?\b(?:{'|'.join(_FILLERS)}|{one_of('APPROXIMATION')}|a total of|in total)\b)*"
_STATED = re.compile(
    rf"(?:\b(?:(?:{'|'.join(_STATING)})s?|(?:equals?|comes?|amounts?|adds? up) to|left with|(?<!not )[^\W\d_]+ed"
    rf"|(?:{'|'.join(_MEASURES)}) of|year)|:){_ADVERBS}[ :]*$",
    re.IGNORECASE,
)
"""What stands before a number that a sentence states; "the successor of 17" and "some say 17" state none."""

_OPENS = re.compile(
    rf"(?:(?:after|on|at|for|with|when) [^,=]*, )?{_ADVERBS} ?",
    re.IGNORECASE,
)
_IN_RELATIVE_CLAUSE = re.compile(r"\b(?:that|who|whose|where)(?: \w+){1,2}(?: [a-z]+){0,3} *$", re.IGNORECASE)
_AT_A_VALUE = re.compile(r"\b(?:at|when|where|for|if) \$?[a-zA-Z] ?= ?-?[\d.]*\d\b(?![\d.]*[^\w\s,.])")
"""Where something is said of a function; "at x = 3." at the end says where."""

_BRACKETED = re.compile(r"(?<=[a-z] )\((\d[\d.]*)\)(?= [a-z])")
"""A number that was put into brackets in the middle of a sentence."""

_ALONE = re.compile(r"[\s.,;]*| ?\([^\W\d_]+\)[\s.]*")
_SHARE_OF = re.compile(r" of (?:the )?([a-z]{3,})\W*")
_THING = re.compile(
    r" (?:of (?:the |all |all the )?)?(?!the\b|all\b)([a-z]{3,})(?:'s)? +(?!and\b|or\b)[^\W\d_]"
)
_TAKES_AWAY = re.compile(
    r" ?(?:[-/*!:]|\.\d|x ?\d|(?:more|less|fewer|times|dozens?|crore|lakh"
    r"|out of|squared|cubed|percent\w* points?|halves|thirds|quarters|tenths|tens|plus|minus|over"
    r"|divided|multiplied|factorial|and \w+ (?:half|thirds?|quarters?)|to|too|short|higher|lower|larger|smaller|greater"
    r"|bigger)(?!\w))",
    re.IGNORECASE,
)
_TAKES_RESULT_ON = re.compile(
    r"[^\w\s.,;:/$€)'\"-]|-\d|\.\.| ?(?:times(?!\W*$| (?:a|per|in|each|every|more)\b)"
    rf"|(?:{'|'.join(SCALES)})s?|squared|cubed"
    r"|[-+*/] ?[\d(]|x \d)(?!\w)",
    re.IGNORECASE,
)
_NEXT_NAME = re.compile(r"-?[\d.]+ ?[^\W\d_]*(?:[,;|]| and)+ ?(?:and )?[a-zA-Z]\w?")
_OTHER_NAME = re.compile(
    r"[$€£]?(?P<value>-?[\d.,]*\d)%? ?[^\W\d_]*(?:[,;]|,? (?:and|or|but))+ ?(?:either )?[a-zA-Z][a-zA-Z ]*"
)
_BARE_NAME = re.compile(r"[a-zA-Z]\w?|[a-zA-Z]+(?: [a-zA-Z]+){1,3}")
_HAS_VARIABLE = re.compile(
    r"(?:[-+*/^]|\d)(?![gmlNJWVA]\b) ?[a-zA-Z](?![a-zA-Z])\W*$|(?<![a-zA-Z])[a-zA-Z] ?[-+*/^(](?! *\w+ *$)"
)
_TIMES = re.compile(r"(?<=\d) ?x ?(?=[\d(])")
_SHORT_UNIT = re.compile(r"(?<=\d) [gmlNJWVA](?=\W|$)")
_LEADING = re.compile(rf"[{CURRENCY_SIGNS} ]*-?(?:{NUMERAL})(?: ?[-+*/] ?(?:{NUMERAL}))*%?")


def stated_quantity(text: str) -> Quantity | None:
    """Return the quantity that a longer sentence states by its verb, or as the result of its arithmetic, or None.

    "There are 3 bars with values below 40" states 3, "She has 80 - 20 = $60 left" states 60. What describes the
    question around it is passed over; what denies, doubts or compares the number itself is not.
    """
    if len(text) > MAX_PROSE_CHARS or not text.isprintable():
        return None
    text = _AT_A_VALUE.sub("there", text) if "=" in text else _BRACKETED.sub(r"\1", text)
    return _result(text) if "=" in text else _stated(text)


def _stated(text: str) -> Quantity | None:
    if re.search(r"[<>+*^\\_|?{}]|\d[A-Za-z!]|n't", text.replace("\\%", "")):
        return None
    numbers = [match for match in _ANY_NUMBER.finditer(text) if not _is_noun(match)]
    stated = [number for number in numbers if _STATED.search(text[: number.start()])]
    if len(stated) > 1:
        stated = [n for n in stated if not _IN_RELATIVE_CLAUSE.search(text[: n.start()])] or stated
    if not stated and numbers and _opens(text, numbers[0]):
        stated = [numbers[0], *_of_its_unit(text, numbers)]
    if not stated:
        stated = [n for n in numbers if _is_year(text, n)]
    if not stated or len({number.group() for number in stated}) > 1:
        return None
    number = stated[-1]
    before, behind = text[: number.start()], text[number.end() :]
    if SUBJECT_DENIES.search(before) or _TAKES_AWAY.match(behind) or GOES_ON.search(behind):
        return None
    return _with_unit(number.group(), behind)


def _opens(text: str, number: re.Match[str]) -> bool:
    """Whether a sentence opens with ``number`` and what is counted: "2 balls are left", but not "2 is excluded"."""
    opening = _OPENS.match(text)
    if not opening or opening.end() != number.end() - len(number.group().lstrip()):
        return False
    behind = text[number.end() :]
    if SUBJECT_DENIES.search(behind):
        return False
    thing = _THING.match(behind) or ("%" in number.group() and _SHARE_OF.fullmatch(behind))
    if thing:
        return parse_unit(thing[1]) not in (None, "")
    unit = _UNIT_BEHIND.match(behind)
    if unit and re.match(r"[,;.]|$", behind[unit.end() :]) and parse_unit(unit[1]) in KNOWN_UNITS:
        return True
    return _ALONE.fullmatch(behind) is not None and text.strip() != number.group().strip()


def _of_its_unit(text: str, numbers: list[re.Match[str]]) -> list[re.Match[str]]:
    """Return the numbers behind the first that have its unit, where that is a known one: "5 cm, else 7 cm"."""
    units = [_with_unit(number.group(), text[number.end() :]) for number in numbers]
    first = units[0].unit if units[0] else ""
    known = first in KNOWN_UNITS
    return [n for n, of in zip(numbers[1:], units[1:], strict=True) if known and of and of.unit == first]


def _is_noun(number: re.Match[str]) -> bool:
    """Whether a number word names a thing: "1 zero", "this one"."""
    before = number.string[: number.start()]
    return number.group().casefold() in ("zero", "one") and bool(
        re.search(r"(?:\d|\b(?:no|a|this|that|the|which|each|every|another)) $", before)
    )


def _is_year(text: str, number: re.Match[str]) -> bool:
    return bool(
        re.fullmatch(r"(?:1\d|20)\d\d", number.group())
        and re.search(r"\b(?:in|by|since) $", text[: number.start()], re.IGNORECASE)
        and not re.search(r"\w", text[number.end() :])
    )


def _with_unit(number: str, behind: str) -> Quantity | None:
    words = number_words(number.casefold())
    quantity = Quantity(words) if words is not None else parse_quantity(number.strip())
    unit = _UNIT_BEHIND.match(behind)
    name = parse_unit(unit[1]) if unit else None
    if quantity is None or name is None or name not in KNOWN_UNITS:
        return quantity
    return Quantity(quantity.value, quantity.percent, quantity.unit or name)


def _result(text: str) -> Quantity | None:
    """Return the value behind the last "=" of a sentence with arithmetic, unless its sides certainly differ."""
    if re.search(r"[<>\\{}?]", text):
        return None
    sides = [side.strip() for side in text.split("=")]
    number = _IN_PROSE.match(sides[-1])
    if number is None or RESULT_DENIED.search(sides[0]):
        return None
    behind = sides[-1][number.end() :]
    again = behind.replace(number.group().strip(" $"), "it")
    if _TAKES_RESULT_ON.match(behind) or RESULT_GOES_ON.search(again) or not _is_unit_glued(behind):
        return None
    value = _with_unit(number.group(), behind)
    if value is None or not _is_derived([*sides[:-1], number.group()]):
        return None
    return value


def _is_unit_glued(behind: str) -> bool:
    """Whether letters that touch a number are a unit: "2600g"."""
    glued = re.match(r"[^\W\d_]+", behind)
    return glued is None or parse_unit(glued.group()) in KNOWN_UNITS


def _is_derived(sides: list[str]) -> bool:
    """Whether each side of a chain of equations is worth what stands behind its "="; one in words is worth anything.

    What a sentence goes on with has to use the result before it: "12 + 5 = 17 and 17 + 3 = 20" does, and
    "12 = 12, 20 = 20" does not.
    """
    if any(_NEXT_NAME.fullmatch(side) for side in sides[1:-1]):
        return False  # "a = 7, b = 5"
    # "x = 2 or x = 3", but "2 boys and some girls = 5"
    values = sides[1:] if " and " in sides[0] else sides
    if any(_names_another_value(side, behind) for side, behind in itertools.pairwise(values)):
        return False
    # "12 = x = 14"
    sides = [sides[0], *(side for side in sides[1:-1] if not _BARE_NAME.fullmatch(side)), sides[-1]]
    for side, behind in itertools.pairwise(sides):
        if _HAS_VARIABLE.search(_SHORT_UNIT.sub("", _TIMES.sub("*", side.rpartition(", ")[2]))):
            return False
        expression, stated = arithmetic.ending(side), _LEADING.match(behind)
        exact = arithmetic.value(expression)
        worth = arithmetic.value(stated.group()) if stated else None
        in_words = re.search(r"[^\W\d_]{2}", side)
        if exact is None or worth is None or (in_words and re.fullmatch(r"[\d.,%]*", expression)):
            continue
        if not arithmetic.agree(exact, worth, f"{stated.group()}{'%' if '%' in side else ''}"):  # type: ignore[union-attr]
            return False
    for side in sides[1:-1]:
        first, expression = _LEADING.match(side), arithmetic.ending(side)
        if not first or not expression or len(_digits(side)) <= len(_digits(expression)):
            continue
        result = re.escape(first.group().strip(" $€£"))
        if not re.search(rf"(?<![\d.]){result}(?![\d.]*\d)", expression):
            return False
    return True


def _names_another_value(side: str, behind: str) -> bool:
    """Whether a side gives a value, and then the name of what has another one: "$5 or the cost", "7"."""
    other, value = _OTHER_NAME.fullmatch(side), re.fullmatch(r"[$€£]?(-?[\d.,]*\d)\D*", behind)
    return other is not None and value is not None and other["value"] != value[1]


def _digits(text: str) -> str:
    return re.sub(r"\D", "", text)
