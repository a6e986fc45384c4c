"""Tell quickly in which sentences a wording may stand, before any of them is tokenized.

Most sentences have none of a key step's numbers or words in any spelling; an index of the words and the digits of
all sentences shows it and saves nearly all of the work. The index may name a sentence that has no match, but leaves
out none that has one: a Hypothesis test holds the matcher with it against the matcher without it.

Pure: no I/O.
"""

from __future__ import annotations

import bisect
import functools
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from verl_stepgrpo.judging.key_steps.chains import Chain
from verl_stepgrpo.judging.key_steps.relations import chains
from verl_stepgrpo.judging.lazy import lazy
from verl_stepgrpo.judging.lines import settled
from verl_stepgrpo.judging.reading.lexicon import LEXICON
from verl_stepgrpo.judging.reading.numbers import (
    NUMBER_WORDS,
    ORDINALS,
    PARTS,
    SPELLED,
)
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.reading.spellings import visible
from verl_stepgrpo.judging.reading.tokens import UNITS, Token
from verl_stepgrpo.judging.reading.units import TEMPERATURES
from verl_stepgrpo.judging.reading.words import SPELLINGS, similarity_of
from verl_stepgrpo.judging.sections import Kind, Section

MAX_STEP_CHARS = 20_000
"""Characters of one reasoning step that are searched; a longer one is a runaway generation."""

_WORD = re.compile(r"[^\W\d_]+")
_DIGITS = re.compile(r"\d+")
_ODD_DIGITS = re.compile(r"(?![0-9])\d|[²³¹⁰⁴-⁹ⁿ₀-₉¼-¾⅐-⅞]|\\[dtc]?frac ?\d")
_NO_LETTERS = str.maketrans({chr(i): " " for i in range(128) if not chr(i).isalpha()})
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_JOINER = r"[\s\-‑*_]"
_JOINERS = str.maketrans("", "", " \t\n\r\f\v\u00a0-‑*_")
_MANY = 99
_SIGNS_OF_RELATIONS = (
    *"=<>≤≥≠≈\\",
    "is ",
    "are ",
    "equal",
    "gives",
    "makes",
    "yields",
    "leaves",
    "must be",
    "er t",
    "ss t",
    *("o get ", "e get ", "obtain", "comes to", "results in", "evaluates", "add up", "sum to", "make "),
)
"""One of them is in whatever may be read as a relation."""
_WITHOUT_ANCHOR = (
    UNITS | set(TEMPERATURES) | set(ORDINALS.values()) | set(SPELLINGS) | set(SPELLINGS.values())
)
"""Words that a text may have in quite another spelling ("km" as "kilometers", "third" as "3rd")."""
_NUMBER_WORDS = (
    NUMBER_WORDS
    | set(PARTS)
    | {f"{part}s" for part in PARTS}
    | {*"squared cubed cube half twice double triple".split()}
)


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
    """A sentence of a reasoning step, with its tokens and relations, read when they are first asked for.

    Made by ``sentence_of``, which remembers it: the responses of a group repeat each other.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    @lazy
    def tokens(self) -> list[Token]:
        return tokenize(self.text)

    @lazy
    def chains(self) -> list[Chain]:
        """Its equations and inequalities."""
        return chains(self.tokens)

    @lazy
    def digits(self) -> list[str]:
        """Its runs of digits, in the order they stand, without leading zeros."""
        return [run.lstrip("0") or "0" for run in _DIGITS.findall(self.text)]

    @lazy
    def numbers(self) -> list[str]:
        """Its numbers in digits or in words, as far as they can be told apart without reading it."""
        words = _WORD.findall(self.text.casefold())
        odd = (
            [] if self.text.isascii() and "frac" not in self.text else _ODD_DIGITS.findall(self.text) * _MANY
        )
        return [*self.digits, *[word for word in words if word in _NUMBER_WORDS], *odd]

    @lazy
    def signs(self) -> int:
        """How many relations it has at most, counted roughly."""
        return sum(map(self.text.lower().count, _SIGNS_OF_RELATIONS))

    @lazy
    def exact(self) -> list[int]:
        """Indices of the exact tokens."""
        return [i for i, token in enumerate(self.tokens) if token.exact]

    @lazy
    def exact_texts(self) -> tuple[str, ...]:
        return tuple(self.tokens[i].text for i in self.exact)


@functools.lru_cache(maxsize=512)
def sentence_of(text: str) -> Sentence:
    """Return the sentence with this text."""
    return Sentence(text)


class Segment(NamedTuple):
    """A sentence at its place: the index of its reasoning step, and its offset in the response."""

    sentence: Sentence
    step: int
    offset: int

    def place(self, first: int, last: int) -> tuple[int, int]:
        """Return where the tokens from ``first`` to ``last`` begin and end in the response; some change places."""
        stretch = self.sentence.tokens[first : last + 1]
        start, end = min([token.start for token in stretch]), max([token.end for token in stretch])
        return self.offset + start, self.offset + end


_REFERRING = ({"hmm", "yes"}).union(
    *(LEXICON[name].words for name in ("REFERRING", "CORRECTION", "REVISION"))
)
_REFERS_BACK = "|".join(f"[{word[0].upper()}{word[0]}]{word[1:]}" for word in sorted(_REFERRING))
_SENTENCE_END = re.compile(rf"(?:[.?!](?<![\W\d_]!)\s+(?![=<>+*/×÷]|x\s)|\n\s*)(?!\s|(?:{_REFERS_BACK})\b)")
"""A sentence that speaks of the one before it ("That was a mistake") stays with it; none begins with an operator."""


class SentenceIndex:
    """Where in the reasoning steps each number and each word may stand; sets of sentences are bits of an int."""

    def __init__(self, bodies: Sequence[tuple[str, int]], threshold: float) -> None:
        """Make the index of ``bodies``: the text of each reasoning step, its lines ``settled``, and its offset."""
        self._bodies = bodies
        self._threshold = threshold
        self.text = "\n".join([body for body, _ in bodies])
        self._places: dict[str, int] = {}

    @classmethod
    def of_steps(cls, sections: Sequence[Section], threshold: float) -> SentenceIndex:
        """Return the index of a response's reasoning steps, each as far as it is read."""
        steps = [section for section in sections if section.kind is Kind.STEP]
        return cls(
            [(settled(visible(step.body[:MAX_STEP_CHARS])), step.body_start) for step in steps], threshold
        )

    def __len__(self) -> int:
        """Return the number of sentences."""
        return len(self._segments)

    def segments(self, bits: int | None = None) -> Iterator[Segment]:
        """Yield the sentences of a set, by default all."""
        bits = self.everywhere if bits is None else bits
        while bits:
            lowest = bits & -bits
            bits ^= lowest
            yield self._segments[lowest.bit_length() - 1]

    @lazy
    def everywhere(self) -> int:
        """The set of all sentences."""
        return (1 << len(self)) - 1

    def may_hold(self, anchors: Anchors) -> int:
        """Return the sentences in which a wording with ``anchors`` may stand."""
        for number in anchors.numbers:
            if number not in self.text and not self._has(number):
                return 0
        found = self.everywhere
        for number in anchors.numbers:
            found &= self.with_number(number)
            if not found:
                return 0
        for word in anchors.words:
            found &= self.with_word(word)
            if not found:
                return 0
        return found

    def may_hold_all_but_one(self, numbers: Sequence[str]) -> int:
        """Return the sentences that may have at least all but one of ``numbers``."""
        found = 0
        for i in range(len(numbers)):
            others = self.everywhere
            for number in (*numbers[:i], *numbers[i + 1 :]):
                others &= self.with_number(number)
            found |= others
        return found

    def with_number(self, number: str) -> int:
        """Return the sentences that may have a number, in any spelling."""
        known = self._places.get(number)
        if known is None:
            known = self._places[number] = self._number(number)
        return known

    def with_word(self, word: str) -> int:
        """Return the sentences that may have a word, inflected, with a typo, or written in two."""
        known = self._places.get(word)
        if known is None:
            known = self._places[word] = self._word(word)
        return known

    def numbers(self, bits: int) -> list[list[str]]:
        """Return the numbers of each sentence of a set, in digits or in words, as far as they can be told apart."""
        if self._number_words or self._has_odd_digits:
            return [segment.sentence.numbers for segment in self.segments(bits)]
        return [segment.sentence.digits for segment in self.segments(bits)]

    def relations_in(self, bits: int, own: int) -> int:
        """Return how many relations the sentences of a set have at most.

        Args:
            bits: The set.
            own: Numbers that each relation has for itself alone.
        """
        most = [len(numbers) // own for numbers in self.numbers(bits)]
        if sum(most) <= 1:
            return sum(most)
        signs = [segment.sentence.signs for segment in self.segments(bits)]
        return sum(map(min, most, signs))

    @lazy
    def relations(self) -> int:
        """How many relations all sentences have at most, counted roughly."""
        return sum(map(self._lower.count, _SIGNS_OF_RELATIONS))

    @lazy
    def _cut(self) -> tuple[list[Segment], list[int]]:
        """The sentences, and where each begins in ``text``."""
        segments: list[Segment] = []
        starts: list[int] = []
        body_start = 0
        for step, (body, offset) in enumerate(self._bodies):
            start = 0
            for end in _SENTENCE_END.finditer(body):
                segments.append(Segment(sentence_of(body[start : end.start() + 1]), step, offset + start))
                starts.append(body_start + start)
                start = end.end()
            segments.append(Segment(sentence_of(body[start:]), step, offset + start))
            starts.append(body_start + start)
            body_start += len(body) + 1
        return segments, starts

    @lazy
    def _segments(self) -> list[Segment]:
        return self._cut[0]

    @lazy
    def _starts(self) -> list[int]:
        return self._cut[1]

    @lazy
    def _with_digits(self) -> dict[str, int]:
        """The sentences with each run of digits."""
        found: dict[str, int] = {}
        for i, segment in enumerate(self._segments):
            for run in segment.sentence.digits:
                found[run] = found.get(run, 0) | 1 << i
        return found

    @lazy
    def _lower(self) -> str:
        return self.text.casefold()

    @lazy
    def _compact(self) -> str:
        return self._lower.translate(_JOINERS)

    @lazy
    def _keeps_offsets(self) -> bool:
        return self.text.isascii() or len(self._lower) == len(self.text)

    @lazy
    def _words(self) -> set[str]:
        text = self._lower.translate(_NO_LETTERS)  # twice as fast as to search for words
        if not text.isascii():
            for character in set(_NOT_ASCII.findall(text)):
                if not character.isalpha():
                    text = text.replace(character, " ")
        return set(text.split())

    @lazy
    def _sorted_words(self) -> list[str]:
        return sorted(self._words)

    @lazy
    def _has_odd_digits(self) -> bool:
        if "frac" in self.text:
            return True
        if self.text.isascii():
            return False
        return any(c.isnumeric() or c == "ⁿ" for c in set(_NOT_ASCII.findall(self.text)))

    @lazy
    def _number_words(self) -> set[str]:
        return self._words & _NUMBER_WORDS

    @lazy
    def _odd(self) -> int:
        return self._sentences_at(m.start() for m in _ODD_DIGITS.finditer(self.text))

    def _has(self, number: str) -> bool:
        """Return False only where a number that does not stand in the text as it is stands in no other spelling."""
        if self._has_odd_digits:
            return True
        others, words = SPELLED[number]
        for text in others:
            if text in self.text:
                return True
        return any(word in self._lower for word in words)

    def _number(self, number: str) -> int:
        found = self._with_digits.get(number, 0)
        if self._has_odd_digits:
            found |= self._odd
        others, words = SPELLED[number]
        for text in others:
            if text in self.text:
                found |= self._sentences_with(text)
        for word in words:
            if word in self._lower:
                found |= self._sentences_with(word)
        return found

    def _word(self, word: str) -> int:
        found = self._sentences_at(_finds(self._lower, word))
        words, letter = self._sorted_words, word[0]
        first = bisect.bisect_left(words, letter)
        for other in words[first : bisect.bisect_left(words, chr(ord(letter) + 1), first)]:
            if word not in other and similarity_of(word, other) >= self._threshold:
                found |= self._sentences_with(other)
        if self._compact.count(word) > self._lower.count(word):  # written in two somewhere
            found |= self._sentences_at(m.start() for m in _in_pieces(word).finditer(self._lower))
        return found

    def _sentences_with(self, text: str) -> int:
        """Return the sentences in which a number or a word stands, as a whole."""
        if not self._keeps_offsets:
            return self.everywhere
        is_number = text[0].isdigit()
        within = self.text if is_number or not text[0].isalpha() else self._lower
        whole = str.isdigit if is_number else str.isalpha
        anywhere = text[0] in ".%"
        found, size, starts = 0, len(text), self._starts
        start = within.find(text)
        while start >= 0:
            before, behind = within[start - 1 : start], within[start + size : start + size + 1]
            # Leading zeros may stand before a number.
            if anywhere or not ((whole(before) and before != "0") or (whole(behind) and whole(text[-1]))):
                found |= 1 << (bisect.bisect_right(starts, start) - 1)
            start = within.find(text, start + 1)
        return found

    def _sentences_at(self, places: Iterable[int]) -> int:
        if not self._keeps_offsets:
            return self.everywhere
        found = 0
        for place in places:
            found |= 1 << (bisect.bisect_right(self._starts, place) - 1)
        return found


def _finds(text: str, part: str) -> Iterator[int]:
    """Yield where ``part`` stands in a text, within words too."""
    start = text.find(part)
    while start >= 0:
        yield start
        start = text.find(part, start + 1)


@functools.lru_cache(maxsize=4096)
def _in_pieces(word: str) -> re.Pattern[str]:
    """Return the pattern of a word that is written in two: "tri angle"."""
    return re.compile(rf"{_JOINER}*".join(map(re.escape, word)))
