"""What in an answer denies, doubts or takes back what it says: the lexicon's words where an answer has them.

Pure: no I/O.
"""

from __future__ import annotations

import re

from verl_stepgrpo.judging.reading.lexicon import one_of
from verl_stepgrpo.judging.reading.numbers import SMALL_NUMBERS, TENS

_RETRACTION = one_of("RETRACTION", without="fails mistake contradicts contradiction", also="rejected")
_CORRECTION = one_of("CORRECTION", also="correction")
_MAYBE = one_of("HEDGE", without="might nobody rarely seldom unless")
_POSSIBLY = one_of("POSSIBILITY", also="might")
_AUXILIARY = one_of("AUXILIARIES")

DENIALS = re.compile(
    r"\b(?:"
    + one_of(
        "NEGATION",
        "DENIAL",
        "HEDGE",
        "RETRACTION",
        "NEARLY",
        also="none between opposite except least most unlike non far fail failed near outside few scarcely guess "
        "could exceed exceeds ignore exclude excludes rejects doubts eliminate discard unclear",
    )
    + r"|rule out)\b|n't",
    re.IGNORECASE,
)
"""What in front of a value says that the answer is another one, or that nobody stands for it."""

HEDGE = re.compile(
    rf"\b(?:or|but|is (?:wrong|incorrect)|(?:this|that|which|it) (?:is|was) (?:{_RETRACTION})|(?:{_POSSIBLY}) be"
    rf"|i guess|{_MAYBE}|{_CORRECTION}|and/or|either|alternatively|depending|depends|unsure|undecided|not sure"
    r"|can(?:'t|not) (?:decide|say|tell)|i mean|scratch that|all of these|none of [a-j])\b"
)
"""What leaves a choice, or takes one back, case folded."""

TAKEN_BACK = re.compile(
    rf"\b(?:{_RETRACTION}|{_CORRECTION}|{_MAYBE}|not|or|but|no|never|half|twice)\b|n't", re.IGNORECASE
)
"""What around a box makes of its content something else than the answer."""

DENIED_BOX = re.compile(
    rf"\b(?:{_RETRACTION}|{_MAYBE}|guess|doubt|nobody|unlikely)\b"
    r"|(?:not|n't|never)(?: \w+){0,2}\W*$",
    re.IGNORECASE,
)
"""The same in front of a box that is what a sentence states, where other words describe the question."""

SUBJECT_DENIES = re.compile(
    rf"\b(?:{one_of('DENIAL', without='anything')}|{one_of('HEDGE')}|{one_of('PART')}"
    rf"|{one_of('NEGATION', 'NEARLY', without='not no without than')}|none|no one|doubts|guess(?:ed)?|until|scarcely"
    r"|if(?! [^,]*,)|may|ignored?|rejects|excludes?|excluded|expected|missed|wanted|option|choice"
    rf"|(?:some\w*|^\w+) (?:say|think|claim)s?|(?:{_RETRACTION}) (?:{one_of('NAMED')}|number|one|that)"
    rf"|(?:{one_of('COPULA')}) (?:{_RETRACTION})|(?:{_AUXILIARY}) not(?![^,]*\b(?:{one_of('COPULA')})\b)"
    rf"|^not|not (?:the|a|{one_of('TRUTH')}))\b|n't",
    re.IGNORECASE,
)
"""What in front of a number makes it another one than the sentence's, or one that the sentence does not stand for."""

_A_NUMBER = rf"(?:[-+]?[$€£]?\d|(?:{'|'.join((*SMALL_NUMBERS, *TENS))})\b)"
_ANOTHER_NUMBER = (
    rf"(?:,|;|\b(?:and|{one_of('CONCLUSION')}|making|giving|rather|instead)) ?"
    rf"(?:about |the |a |is |are )*{_A_NUMBER}"
)
GOES_ON = re.compile(
    rf"{_ANOTHER_NUMBER}|\b(?:{_RETRACTION}|or|but|however|unless|though|although|not|never|no)\b|n't",
    re.IGNORECASE,
)
"""What behind a stated number leads to another one, or takes it back."""

RESULT_GOES_ON = re.compile(
    rf"{_ANOTHER_NUMBER}|\b(?:{_RETRACTION}|or|but|however)\b"
    rf"|\bnot (?:the )?(?:{one_of('TRUTH')}|answer)\b|\b(?:is|are|equals|becomes) [-$]?\d",
    re.IGNORECASE,
)
"""The same behind the result of a calculation, whose words may describe what was counted."""

RESULT_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|hardly|rejected)\b|n't)"
    r"(?: (?!is\b|are\b|was\b|were\b)\w+){0,2}[ $(]*"
    r"(?:[\d.,]+(?:(?!is\b|are\b|was\b|were\b)[^=\d]){0,12})*$"
    r"|^nobody\b|\b(?:wrong|incorrect|false)\b",
    re.IGNORECASE,
)
"""What in front of a calculation denies it."""
