"""Find the one quantity that a sentence states.

Pure: no I/O.
"""

from __future__ import annotations

import re
from fractions import Fraction

from verl_stepgrpo.judging.reading.quantities import (
    KNOWN_UNITS,
    MAGNITUDE,
    MAX_CHARS,
    SCALE,
    SCALES,
    SMALL_NUMBERS,
    TENS,
    Quantity,
    number_words,
    parse_quantity,
    parse_unit,
)

_IN_PROSE = re.compile(
    rf"(?<![\w.\\^_{{(])[-+]?[$€£¥₹]? ?(?:{MAGNITUDE})"
    rf"(?: ?(?:{SCALE})(?!\w))?(?: ?\\?%)?(?![\d^_{{])"
)
_WORD_NUMBER = re.compile(
    rf"\b(?:{'|'.join(w for w in (*SMALL_NUMBERS, *TENS, *SCALES, 'half') if w != 'one')})\b", re.IGNORECASE
)
_UNIT_BEHIND = re.compile(r" ?(°|[^\W\d_]+(?: ?(?:/|per) ?[^\W\d_]+)?(?:\^\{?\d\}?)?)")
_STATING = (
    "is are was were be equal equals has have had get gets got there take takes took need needs cost costs earn earns "
    "make makes made give gives gave contain contains show shows weigh weighs measure measures sell sells sold pay "
    "pays paid left remain remains receive receives spend spends spent require requires use uses buy buys bought read "
    "reads travel travels become becomes eat eats ate save saves cover covers hold holds last lasts walk walks drive "
    "drives run runs score scores yield yields"
).split()
_MEASURES = (
    "total sum average mean length area volume distance height width speed cost price perimeter radius angle "
    "probability value number count maximum minimum age mass weight increase decrease"
).split()
_FILLERS = "about approximately exactly precisely only just now still also the".split()
_STATED = re.compile(
    rf"(?:^|[:$€£¥₹]|\b(?:{'|'.join(_STATING)}|[^\W\d_]+ed|(?:equal|comes?|amounts?|adds? up) to"
    rf"|(?:{'|'.join(_MEASURES)}) of|year))"
    rf"(?: ?\b(?:{'|'.join(_FILLERS)}|a total of|in total|found to be)\b)*[ :]*$",
    re.IGNORECASE,
)
"""What stands before a number that a sentence states; "the successor of 17" and "some say 17" state none."""
_NO_PROSE = frozenset(
    "not no never than between least most maybe minus negative step option question figure part divided times plus "
    "squared cubed root square sqrt over to from if until neither nor except without wrong incorrect impossible cannot "
    "but more less fewer up power factorial wait actually or and versus vs unless log sin cos tan problem choice page "
    "twice thrice reciprocal cube cubes ln above below before after excluded rejected half double triple out third "
    "quarter fifth under exp hundred hundreds thousands millions billions dozen dozens crore lakh halves thirds "
    "quarters opposite inverse hardly multiple multiples loss factor factors debt expects around beyond guess doubt "
    "might may could false refuted tens gross too short some higher lower larger smaller greater bigger exceeded "
    "guessed ignored doubted expected missed wanted".split()
)


def find_quantity(text: str) -> Quantity | None:
    """Return the only quantity in a sentence ("There are 27 such integers"), or None.

    None where there is another number, an operator, a comparison or a negation: what the sentence then says
    of the number is not clear.
    """
    if len(text) > MAX_CHARS or re.search(
        r"[=<>+*^\\_|?]|\d[A-Za-z!]", text.replace("\\%", "").replace("\\frac", "")
    ):
        return None
    if re.search(r" [A-Za-z]$", text):
        return None
    words = set(re.findall(r"[^\W\d_]+", text.casefold()))
    numbers = list(_IN_PROSE.finditer(text))
    spoken = _WORD_NUMBER.findall(text)
    if words & _NO_PROSE or len(numbers) + len(spoken) != 1 or "n't" in text:
        return None
    place = numbers[0].start() if numbers else re.search(rf"\b{spoken[0]}\b", text).start()  # type: ignore[union-attr]
    is_year = re.match(r"(?:1\d|20)\d\d(?!\d)", text[place:]) and re.search(
        r"\b(?:in|by|since) $", text[:place]
    )
    if not (is_year or _STATED.search(text[:place])) or re.match(r"one of\b", text[place:]):
        return None
    if spoken:
        return Quantity(Fraction(number_words(spoken[0].casefold()) or 0))
    number = numbers[0]
    rest = text[: number.start()] + text[number.end() :]
    if (
        re.search(r"\d|^!|[^\w\s.,;:!'\"()%°-]|(?<!\w)[b-hj-zB-HJ-Z](?!\w)", rest)
        or number.end() == len(text) == number.end() - number.start()
    ):
        return None
    quantity = parse_quantity(number.group().strip())
    behind = _UNIT_BEHIND.match(text, number.end())
    unit = parse_unit(behind[1]) if behind else None
    if quantity is None or unit is None or unit not in KNOWN_UNITS:
        return quantity
    return Quantity(quantity.value, quantity.percent, quantity.unit or unit)
