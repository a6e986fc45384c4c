"""The words with which a text denies, doubts, compares or takes back what it says: one list for every judge.

A class of words is named by what its words do; each has a sentence in which one of them does it. Words are lower
case. Pure: no I/O.
"""

from __future__ import annotations

from typing import NamedTuple


class WordClass(NamedTuple):
    """Words that do the same to what they stand by.

    Attributes:
        words: The words.
        example: A sentence in which one of them does it.
    """

    words: frozenset[str]
    example: str


def _class(words: str, example: str) -> WordClass:
    return WordClass(frozenset(words.split()), example)


LEXICON = {
    "NEGATION": _class("not no never cannot without neither nor hardly barely", "There are not 3 children."),
    "DENIAL": _class(
        "doubt reject rejected deny denies denied anything unlikely", "I strongly doubt that 6/3 = 2."
    ),
    "HEDGE": _class("maybe perhaps possibly might unless nobody rarely seldom", "Perhaps then 6/3 = 2."),
    "POSSIBILITY": _class("could may", "There could be 3 children."),
    "RETRACTION": _class(
        "wrong incorrect false untrue impossible contradiction contradicts invalid mistake mistaken fails refuted",
        "6/3 = 2 is clearly wrong.",
    ),
    "CORRECTION": _class("actually sorry wait oops", "There are 3 children. Actually, there are 4."),
    "REVISION": _class("scratch correction", "x = 4. Scratch that."),
    "REJECTION": _class(
        "rejected discarded excluded extraneous inadmissible dismissed eliminated violates",
        "x = 4 is then rejected.",
    ),
    "DISCARDING": _class("exclude discard ignore dismiss eliminate", "We exclude x = 4."),
    "SUPPOSITION": _class("suppose supposing whether", "Suppose that x = 4."),
    "LOSS": _class("lost wants needs gives gave sold ate", "Tom has lost 5 apples."),
    "REFERRING": _class("that this wrong incorrect false no", "x = 3. That is wrong."),
    "COMPARISON": _class(
        "anything differs differ exceeds exceed than over above below under nearly almost fewer less more "
        "half twice double least most step",
        "There are 3 fewer children.",
    ),
    "NEARLY": _class("nearly almost than", "That is almost 3 + 5 = 8."),
    "PART": _class(
        "reciprocal half third quarter square cube root inverse double twice opposite negative",
        "The reciprocal of x is 3.",
    ),
    "MULTIPLE": _class("thirds halves quarters dozen or", "x = 3 dozen"),
    "DIFFERENCE": _class("less more fewer", "x = 3 more than y"),
    "HARMLESS": _class("only wonder matter", "No wonder 6/3 = 2."),
    "TRUTH": _class(
        "true right correct so valid possible hold equal case", "3 apples + 5 apples = 8 apples is not true."
    ),
    "RELATIVE": _class("who which that", "The number of those who are not here is 9 - 3 = 6."),
    "AUXILIARY": _class("do did are were have had", "9 - 3 = 6 did not come."),
    "COPULA": _class("is are was were", "The first digit is 3."),
}
"""The classes by name."""

ANSWERS = {
    "CONCLUSION": _class("so thus hence therefore then", "It is the largest, so blue."),
    "REASON": _class("because since", "Blue, because it is the largest."),
    "APPROXIMATION": _class(
        "about approximately around roughly exactly precisely", "There are about 12 boxes."
    ),
    "AUXILIARIES": _class(
        "is was were do does did has have can could will would should", "They did not have 12 boxes."
    ),
    "NAMED": _class("answer option choice value result solution", "The wrong answer is 12."),
}
"""Classes that the rules of answers have besides, by name."""

NEGATIONS = LEXICON["NEGATION"].words
COPULAS = LEXICON["COPULA"].words

FUNCTION_WORDS = frozenset(
    "is are was were be been has have had of to in on at by for so then thus hence we it its this that there and with "
    "as which from into over under per let".split()
)
"""Words that carry no content of their own."""


def one_of(*classes: str, without: str = "", also: str = "") -> str:
    """Return a pattern's alternatives: the words of some classes, longest first.

    Args:
        classes: Names of classes, those of answers among them.
        without: Words that are left out.
        also: Words besides.
    """
    words = {word for name in classes for word in (LEXICON | ANSWERS)[name].words}
    return "|".join(sorted((words - set(without.split())) | set(also.split()), key=lambda w: (-len(w), w)))
