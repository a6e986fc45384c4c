"""Tell quickly in which sentences a wording may stand, before any of them is tokenized.

Most sentences have none of a key step's numbers or words in any spelling; an index of the words and the digits of
all sentences shows it and saves nearly all of the work. The index may name a sentence that has no match, but leaves
out none that has one: a Hypothesis test holds the matcher with it against the matcher without it.

Pure: no I/O.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from verl_stepgrpo.judging.key_steps.relations import Chain, chains
from verl_stepgrpo.judging.reading.lexicon import LEXICON
from verl_stepgrpo.judging.reading.quantities import NUMBER_WORDS, ORDINALS, PARTS, SMALL_NUMBERS, TENS
from verl_stepgrpo.judging.reading.tokens import TEMPERATURES, UNITS, Token, tokenize
from verl_stepgrpo.judging.reading.words import SPELLINGS, similarity_of

_WORD = re.compile(r"[^\W\d_]+")
_DIGITS = re.compile(r"\d+")
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\})(?=\d{3})")
_ODD_DIGITS = re.compile(r"[²³¹⁰⁴-⁹ⁿ₀-₉¼-¾⅐-⅞]|\\[dtc]?frac ?\d")
_JOINERS = re.compile(r"[\s\-‑*_]+")
_WITHOUT_ANCHOR = (
    UNITS | set(TEMPERATURES) | set(ORDINALS.values()) | set(SPELLINGS) | set(SPELLINGS.values())
)
"""Words that a text may have in quite another spelling ("km" as "kilometers", "third" as "3rd")."""
_NUMBER_WORDS = NUMBER_WORDS | set(PARTS) | {f"{part}s" for part in PARTS} | {"squared", "cubed", "cube"}


@dataclass(frozen=True)
class Anchors:
    """What a sentence has in some spelling if a wording stands in it.

    Attributes:
        numbers: Each number's digits.
        words: Each content word.
    """

    numbers: tuple[str, ...]
    words: tuple[str, ...]

    @classmethod
    def of(cls, tokens: Sequence[Token], content: Collection[int]) -> Anchors:
        """Return the anchors of a wording's tokens; ``content`` are the indices of its content words."""
        # "40%" may stand as "0.4".
        percents = {i for i, token in enumerate(tokens) if token.text == "%"}
        found = (token.text for i, token in enumerate(tokens) if token.number and i + 1 not in percents)
        numbers = tuple(dict.fromkeys(found))
        words = dict.fromkeys(tokens[i].text for i in content)
        return cls(numbers, tuple(word for word in words if word not in _WITHOUT_ANCHOR))


class Sentence:
    """A sentence of a reasoning step: its words and digits, and, when a wording may stand in it, its tokens.

    Made by ``sentence_of``, which remembers it: the responses of a group repeat each other.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._lower = text.casefold()
        words = _WORD.findall(self._lower)
        self._odd_digits = (not text.isascii() or "frac" in text) and _ODD_DIGITS.search(text) is not None
        self._known: dict[tuple[str, float], bool] = {}
        self.words = set(words)
        plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
        runs = _DIGITS.findall(plain)
        if runs and "," in text:
            runs += _DIGITS.findall(_THOUSANDS.sub("", plain))
        self.digits = {digits.lstrip("0") or "0" for digits in runs}
        self.number_words = self.words & _NUMBER_WORDS
        self._numbers = len(runs) + (sum(map(_NUMBER_WORDS.__contains__, words)) if self.number_words else 0)

    @functools.cached_property
    def _by_letter(self) -> dict[str, list[str]]:
        by_letter: dict[str, list[str]] = {}
        for word in self.words:
            by_letter.setdefault(word[0], []).append(word)
        return by_letter

    @functools.cached_property
    def _compact(self) -> str:
        return _JOINERS.sub("", self._lower)

    def may_hold_numbers(self, count: int) -> bool:
        """Return False only where the sentence has fewer than ``count`` numbers."""
        return self._numbers >= count or self._odd_digits

    def may_hold_number(self, number: str) -> bool:
        """Return False only where the sentence has the number in no spelling."""
        if number in self.digits or self._odd_digits:
            return True
        if "." in number and (
            number[number.index(".") :] in self.text or "%" in self.text or "cent" in self._lower
        ):
            return True
        return not self.words.isdisjoint(_in_words(number))

    def may_hold_word(self, word: str, threshold: float) -> bool:
        """Return False only where no word, and no compound written in one, is similar by ``threshold``."""
        known = self._known.get((word, threshold))
        if known is None:
            others = self._by_letter.get(word[0], ())
            known = word in self._compact or any(similarity_of(word, other) >= threshold for other in others)
            self._known[word, threshold] = known
        return known

    @functools.cached_property
    def tokens(self) -> list[Token]:
        return tokenize(self.text)

    @functools.cached_property
    def chains(self) -> list[Chain]:
        return chains(self.tokens)

    @functools.cached_property
    def exact(self) -> list[int]:
        """Indices of the exact tokens."""
        return [i for i, token in enumerate(self.tokens) if token.exact]

    @functools.cached_property
    def exact_texts(self) -> tuple[str, ...]:
        return tuple(self.tokens[i].text for i in self.exact)


@functools.lru_cache(maxsize=4096)
def sentence_of(text: str) -> Sentence:
    """Return the sentence with this text."""
    return Sentence(text)


class Segment(NamedTuple):
    """A sentence at its place: the index of its reasoning step, and its offset in the response."""

    sentence: Sentence
    step: int
    offset: int


_REFERS_BACK = "|".join(
    f"[{word[0].upper()}{word[0]}]{word[1:]}" for word in sorted(LEXICON["REFERRING"].words)
)

_SENTENCE_END = re.compile(rf"(?:[.?]|(?<=[^\W\d_])!)\s+(?![=<>+*/×÷]|x\s|(?:{_REFERS_BACK})\b)")
"""A sentence that speaks of the one before it ("That was a mistake") stays with it; none begins with an operator."""


def segments_of(body: str, step: int, offset: int) -> Iterator[Segment]:
    start = 0
    for end in _SENTENCE_END.finditer(body):
        yield Segment(sentence_of(body[start : end.start() + 1]), step, offset + start)
        start = end.end()
    yield Segment(sentence_of(body[start:]), step, offset + start)


class SentenceIndex:
    """In which of some sentences each number and each word may stand; sets of sentences are bits of an int."""

    def __init__(self, sentences: Sequence[Sentence], threshold: float) -> None:
        self._sentences = sentences
        self._threshold = threshold
        self._everywhere = (1 << len(sentences)) - 1
        self._with_number: dict[str, int] = {}
        self._with_word: dict[str, int] = {}
        self._with_count: dict[int, int] = {}

    def may_hold(self, anchors: Anchors) -> int:
        """Return the sentences in which a wording with ``anchors`` may stand, as bits."""
        found = self._everywhere
        for number in anchors.numbers:
            if number not in self._with_number:
                holds = (sentence.may_hold_number(number) for sentence in self._sentences)
                self._with_number[number] = _bits(holds)
            found &= self._with_number[number]
        for word in anchors.words:
            if not found:
                break
            if word not in self._with_word:
                holds = (sentence.may_hold_word(word, self._threshold) for sentence in self._sentences)
                self._with_word[word] = _bits(holds)
            found &= self._with_word[word]
        return found

    def may_hold_others(self, anchors: Anchors, count: int) -> int:
        """Return the sentences in which a wording with ``count`` numbers may stand with other ones, as bits."""
        if count not in self._with_count:
            self._with_count[count] = _bits(s.may_hold_numbers(count) for s in self._sentences)
        return self._with_count[count] and self.may_hold(Anchors((), anchors.words)) & self._with_count[count]

    def distinct_numbers(self, bits: int) -> int:
        """Return how many different numbers some of the sentences have at most, in digits or in words."""
        chosen = (s for i, s in enumerate(self._sentences) if bits >> i & 1)
        return len(set().union(*(s.digits | s.number_words for s in chosen)))


def _bits(flags: Iterable[bool]) -> int:
    return sum(1 << i for i, flag in enumerate(flags) if flag)


@functools.lru_cache(maxsize=4096)
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
    return (*words, *{2: ("squared",), 3: ("cubed", "cube")}.get(value, ()))
