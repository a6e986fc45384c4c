"""Compare words softly: an inflection or one typo away is the same word, another word is not.

Pure: no I/O.
"""

from __future__ import annotations

import functools

from rapidfuzz.distance import OSA

MIN_TRANSPOSED, MIN_INSERTED, MIN_SUBSTITUTED = 5, 6, 11
"""Shortest words in which one transposed, one missing or one other letter is taken for a typo. Short words with
one other letter are mostly other words: proton and photon, nitrate and nitrite."""

SPELLINGS = {"grey": "gray", "colour": "color", "centre": "center", "metre": "meter", "litre": "liter"}
"""British spellings, and the American ones that they stand for."""


@functools.lru_cache(maxsize=1 << 15)
def similarity_of(word: str, other: str) -> float:
    """Return 1 for the same word or an inflection of it, a little less for one with one typo, else 0."""
    if word == other:
        return 1.0
    if word[0] != other[0]:
        return 0.0
    a, b = stem(word), stem(other)
    if a == b:
        return 1.0
    return max(_typo_similarity(word, other), _typo_similarity(a, b))


def _typo_similarity(a: str, b: str) -> float:
    shortest = min(len(a), len(b))
    if shortest < MIN_TRANSPOSED or OSA.distance(a, b, score_cutoff=1) != 1:
        return 0.0
    same_length = MIN_TRANSPOSED if sorted(a) == sorted(b) else MIN_SUBSTITUTED
    allowed = same_length if len(a) == len(b) else MIN_INSERTED
    return OSA.normalized_similarity(a, b) if shortest >= allowed else 0.0


@functools.lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """Return ``word`` without the endings of plural, past and progressive; no stem is shorter than 3 letters."""
    word = SPELLINGS.get(word, word)
    if len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif word.endswith(("ses", "xes", "zes", "ches", "shes")):
        word = word[:-2]
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) > len(ending) + 2:
            word = word.removesuffix(ending)
            if word[-1] == word[-2] and word[-1] not in "lsz":
                word = word[:-1]
            break
    return word.removesuffix("e") if len(word) > 3 else word
