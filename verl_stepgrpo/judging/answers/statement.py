"""Find the answer in what a model wrote: cut explanations and lead-ins off.

Pure: no I/O. Nothing here raises on text, and every pattern is linear or bounded.
"""

from __future__ import annotations

import functools
import re

from verl_stepgrpo.judging.answers.doubts import DENIALS
from verl_stepgrpo.judging.answers.normalise import LEAD, strip
from verl_stepgrpo.judging.reading.lexicon import one_of

_SO = one_of("CONCLUSION", without="then")  # "36, then 9" is an order
_EXPLANATION = re.compile(
    r"(?<=[\w)}\]%°*])(?<!\band)[,;:.]? \(?"
    rf"(?:{one_of('REASON')}|as (?:the|it|there|a|an|we)|due to|given that|so that(?!')|for which|which)\b"
    rf"(?:(?!, (?:{_SO})\b).)*"
    rf"|(?<=[\w)}}\]%°]), (?:not|rather than) (?!(?:{one_of('TRUTH')}|the answer|quite)\b).*",
    re.IGNORECASE | re.DOTALL,
)
_CONCLUSION = re.compile(
    rf"^.*(?:[,;.]|\band\b|\n) ?(?:{_SO})\b,? ",
    re.IGNORECASE | re.DOTALL,
)
_PREMISE = re.compile(
    rf"^(?:{one_of('REASON')}|as|given that|according to|based on|looking at|from|in) [^\n,]*, ",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"(?<![\s(][^\W\d_])(?<!^[^\W\d_])[.!]\s+(?=[A-Z\\$(\d])|\n+")
_HARMFUL = re.compile(
    r"\d|[=<>^]|\\[a-z]|(?:^|\s)(?:[A-HJ]|\([A-J]\))(?:[.,\s]|$)"
    rf"|\b(?:{one_of('CORRECTION', 'HEDGE')}|no|not|but|however|instead|wrong|incorrect|otherwise"
    r"|rather)\b|n't",
    re.IGNORECASE,
)
_PARENTHESIS = re.compile(r"^(?P<main>.*\S) ?\((?P<inside>[^()]*)\)$", re.DOTALL)
_A_WORD = re.compile(r"(?<!\\)(?<![^\W\d_])[^\W\d_]{2}")
_PRECISION = re.compile(rf"(?:{one_of('APPROXIMATION')}|approx|rounded|exact)\.?", re.IGNORECASE)
_WORDS_BEHIND = re.compile(
    r",? (?:is|must be|would be) (?:the|our|my) (?:(?:final|correct|right|only) )?(?:answer|solution|result)$",
    re.IGNORECASE,
)
"""What says of the text in front of it that it is the answer."""
_WORDS_BEFORE = re.compile(
    r"^(?:[^\W\d_][\w'-]*,? ){1,9}?(?:is|are|was|were|equals|be|equal to)"
    rf"(?: (?:{one_of('APPROXIMATION')}|equal to|given by|just|at|on))* ?:?"
    r" |^(?:[^\W\d_][\w'-]* ){0,8}[^\W\d_][\w'-]+ ?: ",
    re.IGNORECASE,
)


def statement(text: str) -> str:
    """Return the answer that normalised ``text`` states, without explanation and lead-in.

    "8\\n\\nHope this helps" is "8"; "3 * 16 = 48, so the area is 48" is "48". Where more than one sentence
    may be the answer, all are kept, so that later layers see every one of them.
    """
    if text.isdigit():
        return text
    text = clause(text)
    parenthesis = _PARENTHESIS.match(text)
    if parenthesis and _explains(parenthesis["inside"]):
        text = parenthesis["main"]
    said = _WORDS_BEHIND.sub("", text)
    if said != text and not DENIALS.search(said):
        text = said
    for _ in range(2):
        lead = _WORDS_BEFORE.match(text)
        if lead and not DENIALS.search(lead.group()):
            text = text[lead.end() :]
        text = LEAD.sub("", text, count=1) or text
    return strip(text)


@functools.lru_cache(maxsize=1024)
def clause(text: str) -> str:
    """Return the clause of normalised ``text`` that states its answer, without premise, conclusion and explanation."""
    text = _without_explanation(re.sub(r",? i\.e\.,? ", " = ", text))
    text = _PREMISE.sub("", text, count=1)
    text = _CONCLUSION.sub("", text, count=1)
    return strip(_only_sentence(text))


def _without_explanation(text: str) -> str:
    shorter = _EXPLANATION.sub("", text, count=1)
    opened = shorter.rfind("(")
    if shorter == text or opened < max(1, shorter.rfind(")")):
        return shorter
    # The explanation stood in a parenthesis that the cut left open.
    return shorter[:opened].strip()


def _only_sentence(text: str) -> str:
    """Return the one sentence that may be the answer, or all of them where several may."""
    sentences = [piece for piece in (strip(piece) for piece in _SENTENCE_END.split(text)) if piece]
    if len(sentences) < 2:
        return text
    if not any(_HARMFUL.search(sentence) or sentence.count(" ") < 2 for sentence in sentences[1:]):
        return sentences[0]
    candidates = {sentence for sentence in sentences if _HARMFUL.search(sentence)}
    return candidates.pop() if len(candidates) == 1 else " ".join(sentences)


def _explains(inside: str) -> bool:
    """Whether a parenthesis behind an answer only explains it, as in "5 (the root -2 is rejected)", "5 cm (rounded)".

    Any other word by itself may be the unit or the thing: "12 (dozen)"; without a word it is a factor: "16 / (y * y)".
    """
    if " " not in inside:
        return _PRECISION.fullmatch(inside) is not None
    if not _A_WORD.search(inside):
        return False
    return bool(
        re.match(r"(?:not \S+$|see |as in |by )", inside)
        or re.search(r"\b(?:rejected|discarded|negative|positive|rounded|given|because|since)\b", inside)
        or not _HARMFUL.search(inside)
    )
