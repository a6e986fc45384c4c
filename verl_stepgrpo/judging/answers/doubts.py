"""What in an answer denies, doubts or takes back what it says: the lexicon's words where an answer has them.

Pure: no I/O.
"""

from __future__ import annotations

import re

from verl_stepgrpo.judging.reading.lexicon import LEXICON
from verl_stepgrpo.judging.reading.numbers import SMALL_NUMBERS, TENS


def _words(*classes: str, without: str = "", also: str = "") -> str:
    """Return an alternation of the words of some classes of the lexicon, longest first."""
    words = {word for name in classes for word in LEXICON[name].words if word.isascii()}
    return "|".join(sorted((words - set(without.split())) | set(also.split()), key=lambda w: (-len(w), w)))


_RETRACTION = _words("RETRACTION", without="fails mistake contradicts contradiction", also="rejected")
_CORRECTION = _words("CORRECTION", also="correction")
_MAYBE = _words("HEDGE", without="might nobody rarely seldom unless")
_POSSIBLY = _words("POSSIBILITY", also="might")

DENIALS = re.compile(
    r"\b(?:"
    + _words(
        "NEGATION",
        "DENIAL",
        "HEDGE",
        "RETRACTION",
        "NEARLY",
        without="can",
        also="none nor between opposite except without least most other unlike un non far fail failed near "
        "outside suburb few scarcely guess could exceed exceeds ignore exclude excludes rejects doubts",
    )
    + r")\b|n't",
    re.IGNORECASE,
)
"""What in front of a value says that the answer is another one, or that nobody stands for it."""

HEDGE = re.compile(
    rf"\b(?:or|but|(?:is|was) (?:wrong|incorrect)|(?:this|that|which|it) (?:is|was) (?:{_RETRACTION})"
    rf"|(?:{_POSSIBLY}) be|i guess|(?:{_MAYBE})|(?:{_CORRECTION})"
    r"|(?:because|since) (?:the answer is|[a-j] is (?:right|correct))"
    r"|and/or|either|alternatively|otherwise|depending|depends|unsure|undecided|not sure"
    r"|can(?:'t|not) (?:decide|say|tell)|i mean|scratch that|all of these|none of [a-j])\b"
)
"""What leaves a choice, or takes one back, case folded."""

TAKEN_BACK = re.compile(
    rf"\b(?:{_RETRACTION}|{_CORRECTION}|{_MAYBE}|not|or|but|no|never|half|twice)\b|n't", re.IGNORECASE
)
"""What around a box makes of its content something else than the answer."""

DENIED_BOX = re.compile(
    rf"\b(?:{_RETRACTION}|{_CORRECTION}|{_MAYBE}|guess|doubt|nobody|unlikely)\b"
    r"|(?:not|n't|never)(?: \w+)? (?:is|be|equals?)?\W*$",
    re.IGNORECASE,
)
"""The same in front of a box that is what a sentence states, where other words describe the question."""

_OTHER_NUMBER = _words("PART", also="inverse thrice triple squared cubed roots minus")
SUBJECT_DENIES = re.compile(
    rf"\b(?:{_words('DENIAL', without='anything')}|{_words('HEDGE')}|{_words('CORRECTION')}|{_OTHER_NUMBER}"
    r"|none|no one|some(?:one|body)?(?= (?:say|think|claim|guess|den))|doubts|guess(?:ed)?|until|hardly|barely|scarcely"
    r"|if(?! (?:the|each|she|he|it|they|you|there|we|\w+ (?:has|had)\b)[^,]*,)|may|cannot|never|neither|nor|ignored?"
    r"|rejects|excludes?|excluded|expected|instead|however|missed|wanted|nearly|almost|option|choice|problem)\b|n't"
    rf"|\b(?:{_RETRACTION}) (?:answer|option|choice|value|result|guess|solution|number|that|to|one)\b"
    rf"|\b(?:is|was|are|be) (?:{_RETRACTION})\b"
    r"|\b(?:is|are|was|were|be|do|does|did|has|have|will|would|should|could|can|but) not\b"
    r"(?![^,]*\b(?:is|are|was|were)\b)"
    r"|^not\b|\bnot (?:the|a|right|correct|true|possible|it)\b|\b(?:could|can|should) be\b|^\w+ (?:say|claim)\b",
    re.IGNORECASE,
)
"""What in front of a number makes it another one than the sentence's, or one that the sentence does not stand for."""

_A_NUMBER = rf"(?:[-+]?[$€£]?\d|(?:{'|'.join((*SMALL_NUMBERS, *TENS))})\b)"
_ANOTHER_NUMBER = (
    r"(?:,|;|\b(?:and|or|but|then|thus|so|which is|making|giving|rather|instead)) ?(?:about |the |a |is |are )*"
    rf"{_A_NUMBER}|\b(?:so|thus|therefore|then|hence)\b[^,]*\d"
)
GOES_ON = re.compile(
    rf"{_ANOTHER_NUMBER}|\b(?:{_RETRACTION}|{_CORRECTION}|{_MAYBE}|or|but|however|unless|though|although|not|never|no)\b|n't",
    re.IGNORECASE,
)
"""What behind a stated number leads to another one, or takes it back."""

RESULT_GOES_ON = re.compile(
    rf"{_ANOTHER_NUMBER}|\b(?:{_RETRACTION}|{_CORRECTION}|{_MAYBE}|or|but|however)\b"
    r"|\bnot (?:right|correct|true|possible|the answer)\b|\b(?:is|are|equals|becomes) [-$]?\d",
    re.IGNORECASE,
)
"""The same behind the result of a calculation, whose words may describe what was counted."""

RESULT_DENIED = re.compile(
    rf"(?:\b(?:not|never|cannot|hardly|nobody|unlikely|{_RETRACTION}|{_MAYBE}|(?:{_POSSIBLY}) be)\b|n't)"
    r"(?: (?!is\b|are\b|was\b|were\b)\w+){0,2}[ $(]*"
    r"(?:[\d.,]+(?:(?!is\b|are\b|was\b|were\b)[^=\d]){0,12})*$"
    rf"|^(?:nobody|{_MAYBE})\b|\b(?:wrong|incorrect|false)\b",
    re.IGNORECASE,
)
"""What in front of a calculation denies it."""
