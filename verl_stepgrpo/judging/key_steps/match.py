"""Find the reference's key steps in the reasoning steps of a response.

A key step is a few words or an equation that any correct solution needs, stored in several equivalent
wordings; one match among them is enough. Numbers, variables and operators have to agree exactly and on
token borders (``judging.reading.tokens`` makes their spellings the same); words may differ softly (typos, plural,
inflection, order within reason). Only reasoning steps are searched, one stretch of text serves one key step only,
and what the text denies or only lists does not count.

Source: Zhang et al., arXiv 2503.12937, section 3.2 (soft key-step matching). Departure: the paper does
not say how soft the match is; see ``match_key_steps``.

Pure: no I/O, no torch, no verl. Not covered: whether a step is true; only its wording is compared.
"""

from __future__ import annotations

import bisect
import functools
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from verl_stepgrpo.errors import DataError
from verl_stepgrpo.judging.key_steps import rules
from verl_stepgrpo.judging.key_steps.anchors import Anchors, Sentence, SentenceIndex, sentence_of
from verl_stepgrpo.judging.key_steps.relations import FLIPPED, Chain, as_chain
from verl_stepgrpo.judging.reading.lexicon import COPULAS, FUNCTION_WORDS, LEXICON
from verl_stepgrpo.judging.reading.tokens import (
    Token,
    tokenize,
    without_end,
)
from verl_stepgrpo.judging.reading.words import similarity_of
from verl_stepgrpo.judging.sections import Kind, Section

KeyStep = tuple[str, ...]
"""The equivalent wordings of one key step, none of them empty."""

MAX_STEP_CHARS = 20_000
"""Characters of one reasoning step that are searched; a longer one is a runaway generation."""

MAX_WORDING_CHARS = 2_000
"""Longer wordings are no key step, and never match."""

MAX_EXTRA_WORDS = 2
"""Words that a stretch of text may have beyond a wording's, before, behind and between its exact tokens."""

MAX_VALUES = 5
"""Different numbers that a response may put in the place of one of a key step's ("x = 1, x = 2, ..."). With
more it lists values instead of stating one, and the key step does not count."""

MAX_SAME_SHAPE = 20
"""Different numbers, all places together, with which a response may have a key step's words and operators."""


@dataclass(frozen=True)
class KeyStepMatch:
    """One key step of the reference, and where the response has it.

    Attributes:
        wordings: The equivalent wordings of the key step.
        matched: Whether one of them was found.
        wording: The wording that was found, else None.
        similarity: Similarity of the stretch that was found, in [0, 1]; 0 where there is none.
        step: Index of the reasoning step it was found in, counted from 0; None where there is none.
        start: Offset of the stretch in the response, in characters; None where there is none.
        end: Offset behind the stretch.
    """

    wordings: KeyStep
    matched: bool
    wording: str | None = None
    similarity: float = 0.0
    step: int | None = None
    start: int | None = None
    end: int | None = None

    @classmethod
    def missed(cls, wordings: KeyStep) -> KeyStepMatch:
        return cls(wordings, False)


@dataclass(frozen=True)
class Wording:
    """One wording of a key step, tokenized once.

    Attributes:
        text: The wording as the dataset has it.
        tokens: Its tokens.
        exact: Texts of its exact tokens, in order.
        gaps: Number of words before the first exact token, between each two, and behind the last.
        shift: Where the sides were swapped, how many numbers now stand before those that stood first.
        chain: The equation or inequality that it is, None where it is something else.
    """

    text: str
    tokens: tuple[Token, ...]
    exact: tuple[str, ...]
    gaps: tuple[int, ...]
    shift: int = 0
    chain: Chain | None = None

    @functools.cached_property
    def content(self) -> tuple[int, ...]:
        """Indices of the words that have to be found: all but function words, unless there are no others."""
        words = [i for i, token in enumerate(self.tokens) if not token.exact]
        content = tuple(i for i in words if self.tokens[i].text not in FUNCTION_WORDS)
        return content or (() if self.exact else tuple(words))

    @functools.cached_property
    def anchors(self) -> Anchors:
        """What a sentence has if the wording stands in it."""
        return Anchors.of(self.tokens, self.content)

    @functools.cached_property
    def own(self) -> frozenset[str]:
        """The spellings of its tokens."""
        return frozenset(token.text for token in self.tokens)

    @functools.cached_property
    def numbers(self) -> tuple[str, ...]:
        """Its numbers, in the order of the wording as the dataset has it."""
        numbers = tuple(token.text for token in self.tokens if token.number)
        return numbers[self.shift :] + numbers[: self.shift]


@dataclass(frozen=True)
class _Stretch:
    """A stretch of a reasoning step that a wording matches, from ``start`` to ``end`` in the response."""

    similarity: float
    wording: Wording
    step: int
    start: int
    end: int
    numbers: tuple[str, ...]

    def overlaps(self, other: _Stretch) -> bool:
        return self.start < other.end and other.start < self.end


class _Segment(NamedTuple):
    """A sentence at its place: the index of its reasoning step, and its offset in the response."""

    sentence: Sentence
    step: int
    offset: int


class _Reasoning:
    """The reasoning steps of one response, in sentences."""

    def __init__(self, sections: Sequence[Section], threshold: float) -> None:
        steps = [section for section in sections if section.kind is Kind.STEP]
        self.threshold = threshold
        self.segments = [
            segment
            for i, section in enumerate(steps)
            for segment in _segments(section.body[:MAX_STEP_CHARS], i, section.body_start)
        ]
        self.index = SentenceIndex([segment.sentence for segment in self.segments], threshold)

    def stretches(self, wording: Wording) -> Iterator[_Stretch]:
        """Yield all stretches that match."""
        return self._stretches(wording, self.index.may_hold(wording.anchors), any_number=False)

    def stretches_with_others(self, wording: Wording) -> Iterator[_Stretch]:
        """Yield all stretches that match whatever the wording's numbers are; none where few numbers could be one."""
        bits = self.index.may_hold_others(wording.anchors, len(wording.numbers))
        if self.index.distinct_numbers(bits) > MAX_VALUES:
            yield from self._stretches(wording, bits, any_number=True)

    @functools.cached_property
    def _chains(self) -> list[Chain]:
        return [chain for segment in self.segments for chain in segment.sentence.chains]

    def lists_relations(self, wanted: Chain) -> bool:
        """Whether the relation ``wanted`` stands with so many other numbers that they are listed."""
        if sum(len(_RELATION.findall(segment.sentence.text)) for segment in self.segments) <= MAX_VALUES:
            return False
        shape, numbers = wanted.shape(), Counter(wanted.numbers())
        other = {
            tuple(sorted(link.numbers())): link
            for chain in self._chains
            for link in chain.links()
            if link.shape() in (shape, shape[::-1])
        }
        if len(other) > MAX_SAME_SHAPE:
            return True
        instead = Counter(
            replaced.popitem()[0] for found in other if (replaced := numbers - Counter(found)).total() == 1
        )
        return any(n > MAX_VALUES for n in instead.values())

    def _stretches(self, wording: Wording, bits: int, *, any_number: bool) -> Iterator[_Stretch]:
        while bits:
            lowest = bits & -bits
            bits ^= lowest
            segment = self.segments[lowest.bit_length() - 1]
            if wording.chain is not None:
                yield from _relations(wording, wording.chain, segment)
                continue
            yield from _stretches(wording, segment, self.threshold, any_number=any_number)


_RELATION = re.compile(r"[=<>≤≥≠≈]|\\[lgn]e|\b(?:is|are|equals?|gives|makes|yields|leaves)\b")
_REFERS_BACK = "|".join(
    f"[{word[0].upper()}{word[0]}]{word[1:]}" for word in sorted(LEXICON["REFERRING"].words)
)
_SENTENCE_END = re.compile(rf"(?:[.?]|(?<=[^\W\d_])!)\s+(?![=<>+*/×÷]|x\s|(?:{_REFERS_BACK})\b)")
"""A sentence that speaks of the one before it ("That was a mistake") stays with it; none begins with an operator."""


def _segments(body: str, step: int, offset: int) -> Iterator[_Segment]:
    start = 0
    for end in _SENTENCE_END.finditer(body):
        yield _Segment(sentence_of(body[start : end.start() + 1]), step, offset + start)
        start = end.end()
    yield _Segment(sentence_of(body[start:]), step, offset + start)


def parse_key_steps(value: Any) -> tuple[KeyStep, ...]:
    """Return the key steps that ``value`` holds, each a tuple of equivalent wordings.

    Args:
        value: A list of strings; a list of lists of equivalent strings; R1-VL-10K's object with the list
            in ``Steps``; a JSON string of any of these; the numpy arrays that parquet gives back for
            them; or None for no key steps. Blank wordings, and key steps without any other, are dropped.

    Raises:
        DataError: ``value`` is of another type, or a JSON string that cannot be read.
    """
    items = _plain(value)
    if isinstance(items, str):
        items = _from_json(items)
    if isinstance(items, Mapping):
        if "Steps" not in items:
            raise DataError(
                f"key_steps is an object without 'Steps'; it has {sorted(items)}{_advice(str(items))}"
            )
        items = _plain(items["Steps"])
    if items is None:
        return ()
    if not isinstance(items, (list, tuple)):
        raise DataError(
            f"key_steps is {value!r} ({type(value).__name__}); expected a list of strings or of lists"
        )
    key_steps = (_wordings(item) for item in items)
    return tuple(wordings for wordings in key_steps if wordings)


def match_key_steps(
    sections: Sequence[Section], key_steps: Sequence[KeyStep], *, threshold: float
) -> tuple[KeyStepMatch, ...]:
    """Return one ``KeyStepMatch`` for each key step, in the same order.

    A wording matches a stretch of a reasoning step if the stretch has the wording's exact tokens
    (numbers, variables, operators, negations), all of them, no others and in the same order, and beside
    them a word similar by at least ``threshold`` for each content word of the wording: the same word, an
    inflection of it, or one typo away. At most one word may stand elsewhere in the order. An expression must
    not go on beyond the stretch, so ``3 + 5 = 8`` is not found in ``2 * 3 + 5 = 8``, and the sentence must not
    deny it. Two sides of an equation or inequality may change places.

    Key steps with the fewest stretches to choose from, and then the longest, choose first.

    Args:
        sections: The sections of one response.
        key_steps: As ``parse_key_steps`` returns them.
        threshold: Lowest similarity, in (0, 1].
    """
    reasoning = _Reasoning(sections, threshold)
    candidates = [_candidates(key_step, reasoning) for key_step in key_steps]
    chosen: dict[int, _Stretch] = {}
    for i in sorted(range(len(key_steps)), key=lambda i: (len(candidates[i]), -max(map(len, key_steps[i])))):
        free = [c for c in candidates[i] if not any(c.overlaps(other) for other in chosen.values())]
        if free:
            chosen[i] = max(free, key=lambda stretch: stretch.similarity)
    return tuple(
        _match(key_step, chosen[i]) if i in chosen else KeyStepMatch.missed(key_step)
        for i, key_step in enumerate(key_steps)
    )


def analyse(text: str) -> tuple[Wording, ...]:
    """Return the wording, and where it is an equation or an inequality also the one with its sides swapped."""
    tokens = without_end(tokenize(text)) if len(text) <= MAX_WORDING_CHARS else []
    chain = as_chain(tokens)
    if chain is not None:
        return (replace(_wording(text, tokens), chain=chain),)
    wordings = [_wording(text, tokens)]
    relations = [i for i, token in enumerate(tokens) if token.text in FLIPPED]
    if len(relations) == 1 and all(token.exact for token in tokens):
        (i,) = relations
        relation = tokens[i]._replace(text=FLIPPED[tokens[i].text])
        shift = sum(token.number for token in tokens[i + 1 :])
        wordings.append(_wording(text, [*tokens[i + 1 :], relation, *tokens[:i]], shift))
    return tuple(wordings)


def _wording(text: str, tokens: list[Token], shift: int = 0) -> Wording:
    gaps = [0]
    for token in tokens:
        if token.exact:
            gaps.append(0)
        else:
            gaps[-1] += 1
    return Wording(
        text, tuple(tokens), tuple(token.text for token in tokens if token.exact), tuple(gaps), shift
    )


def _plain(value: Any) -> Any:
    """Return numpy arrays (which parquet gives for lists) as lists; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def _from_json(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"key_steps is text that is not JSON ({error}): {text[:60]!r}"
            f"{_advice(text) or '. One key step alone is a list of one.'}"
        ) from None


def _advice(text: str) -> str:
    """Return what to do with the answer of R1-VL's own prompt for key steps (``Step 1: [...], Step 2: [...]``)."""
    if not re.search(r"\bStep\s*\d+\W*\[", text):
        return ""
    return ". Of the answer of R1-VL's prompt take the lists behind its steps, joined into one."


def _wordings(item: Any) -> KeyStep:
    item = _plain(item)
    wordings = [item] if isinstance(item, str) else item
    if not isinstance(wordings, (list, tuple)) or not all(isinstance(w, str) for w in wordings):
        raise DataError(
            f"a key step is {item!r} ({type(item).__name__}); expected a string or a list of strings"
        )
    return tuple(w for w in wordings if w.strip())


def _match(key_step: KeyStep, found: _Stretch) -> KeyStepMatch:
    return KeyStepMatch(
        key_step, True, found.wording.text, found.similarity, found.step, found.start, found.end
    )


def _candidates(key_step: KeyStep, reasoning: _Reasoning) -> list[_Stretch]:
    """Return the stretches that match any wording, none where the response only lists values in its place."""
    found = []
    for forms in _forms(key_step):
        stretches = [stretch for form in forms for stretch in reasoning.stretches(form)]
        if stretches and not _lists_values(forms, reasoning):
            found += stretches
    return found


@functools.lru_cache(maxsize=8192)
def _forms(key_step: KeyStep) -> tuple[tuple[Wording, ...], ...]:
    """Return the forms of each wording, of wordings with the same tokens the first one's alone."""
    by_tokens: dict[tuple[str, ...], tuple[Wording, ...]] = {}
    for forms in map(analyse, key_step):
        by_tokens.setdefault(tuple(token.text for token in forms[0].tokens), forms)
    return tuple(by_tokens.values())


def _lists_values(forms: Sequence[Wording], reasoning: _Reasoning) -> bool:
    """Whether the response has the wording with so many other numbers that it lists instead of stating one."""
    wanted = forms[0].numbers
    if not wanted:
        return False
    if forms[0].chain is not None:
        return reasoning.lists_relations(forms[0].chain)
    listed = {s.numbers for form in forms for s in reasoning.stretches_with_others(form)}
    if len(listed) > MAX_SAME_SHAPE:
        return True
    if len(forms[0].tokens) == 1:
        return False
    return any(
        sum(numbers[:i] + numbers[i + 1 :] == wanted[:i] + wanted[i + 1 :] for numbers in listed) > MAX_VALUES
        for i in range(len(wanted))
    )


def _stretches(
    wording: Wording, segment: _Segment, threshold: float, *, any_number: bool
) -> Iterator[_Stretch]:
    """Yield the stretches of one sentence that match."""
    tokens = segment.sentence.tokens
    for places, window in _places(wording, segment.sentence, threshold, any_number):
        found = _words_found(wording, tokens, window, threshold)
        if found is None:
            continue
        similarity, words = found
        core = [*places, *words.values()]
        first, last = min(core), max(core)
        if not (
            _in_order(wording, tokens, places, words)
            and (wording.exact or _is_short(wording, tokens[first : last + 1]))
            and not (wording.content and _crosses_clauses(wording, tokens[first + 1 : last + 1]))
            and not _modifies(wording, tokens, words)
            and not _joins(wording, tokens, first, last)
            and not rules.ends_later(tokens, last, rules.WORDS)
            and not rules.refused(tokens, first, last, rules.WORDS, wording.own)
        ):
            continue
        numbers = tuple(tokens[place].text for place in places if tokens[place].number) if any_number else ()
        numbers = numbers[wording.shift :] + numbers[: wording.shift]
        start = segment.offset + min(token.start for token in tokens[first : last + 1])
        end = segment.offset + max(token.end for token in tokens[first : last + 1])
        yield _Stretch(similarity, wording, segment.step, start, end, numbers)


def _relations(wording: Wording, wanted: Chain, segment: _Segment) -> Iterator[_Stretch]:
    """Yield the stretches of one sentence that state the equation or inequality ``wanted``."""
    tokens = segment.sentence.tokens
    for chain in segment.sentence.chains:
        for first, last in chain.occurrences(wanted):
            if (
                rules.begins_earlier(tokens, first, chain.kind)
                or rules.ends_later(tokens, last, chain.kind)
                or rules.refused(tokens, first, last, chain.kind)
            ):
                continue
            start = segment.offset + min(token.start for token in tokens[first : last + 1])
            end = segment.offset + max(token.end for token in tokens[first : last + 1])
            yield _Stretch(1.0, wording, segment.step, start, end, ())


def _places(
    wording: Wording, sentence: Sentence, threshold: float, any_number: bool
) -> Iterator[tuple[tuple[int, ...], range]]:
    """Yield the indices of the exact tokens, and the window that may hold the words, of each possible match."""
    if not wording.exact:
        yield from _word_windows(wording, sentence, threshold)
        return
    tokens, n, inner = sentence.tokens, len(wording.exact), wording.gaps[1:-1]
    for k in _runs(sentence.exact_texts, wording.exact, any_number):
        places = sentence.exact[k : k + n]
        between = (b - a - 1 for a, b in itertools.pairwise(places))
        if (
            all(words <= gap + MAX_EXTRA_WORDS for words, gap in zip(between, inner, strict=True))
            and not rules.begins_earlier(tokens, places[0], rules.WORDS)
            and not rules.ends_later(tokens, places[-1], rules.WORDS)
        ):
            yield tuple(places), _window(wording, tokens, places[0], places[-1])


def _runs(texts: tuple[str, ...], wanted: tuple[str, ...], any_number: bool) -> Iterator[int]:
    """Yield where ``wanted`` stands in ``texts``, in one piece; with ``any_number``, whatever its numbers are."""
    n = len(wanted)
    for k in range(len(texts) - n + 1):
        here = texts[k : k + n]
        if here == wanted or (
            any_number
            and all(a == b or (a[0].isdigit() and b[0].isdigit()) for a, b in zip(here, wanted, strict=True))
        ):
            yield k


def _window(wording: Wording, tokens: list[Token], first: int, last: int) -> range:
    """Return the indices around the exact tokens, up to the next exact token, among which the words may stand.

    On a side where the wording has no word they may stand only behind a copula: "3 is the first digit".
    """
    left, right = wording.gaps[0], wording.gaps[-1]
    words = len(wording.tokens) - len(wording.exact)
    if words and any(token.text in COPULAS for token in tokens[max(0, first - left - 1) : first]):
        left = words + 1
    if words and any(token.text in COPULAS for token in tokens[last + 1 : last + 2 + right]):
        right = words + 1
    lowest, highest = first - (left + MAX_EXTRA_WORDS if left else 0), last + 1
    highest += right + MAX_EXTRA_WORDS if right else 0
    return _same_clause(tokens, first, last, lowest, highest)


def _same_clause(tokens: list[Token], first: int, last: int, lowest: int, highest: int) -> range:
    """Return the words around ``first`` to ``last``, up to an exact token or the next clause; a colon opens none."""
    start, end = first, last + 1
    while start > max(0, lowest) and not tokens[start - 1].exact and tokens[start].mark in ("", ":"):
        start -= 1
    while end < min(len(tokens), highest) and not tokens[end].exact and tokens[end].mark in ("", ":"):
        end += 1
    return range(start, end)


def _word_windows(
    wording: Wording, sentence: Sentence, threshold: float
) -> Iterator[tuple[tuple[int, ...], range]]:
    """Yield windows of words alone around each place of the first content word, for a wording of words alone."""
    if not wording.content:
        return
    tokens, word = sentence.tokens, wording.tokens[wording.content[0]].text
    reach = len(wording.tokens) + MAX_EXTRA_WORDS
    for i, token in enumerate(tokens):
        if token.exact or not _alike(word, token.text, tokens, i, threshold):
            continue
        yield (), _same_clause(tokens, i, i, i - reach, i + reach)


def _alike(word: str, other: str, tokens: list[Token], i: int, threshold: float) -> bool:
    joined = other + tokens[i + 1].text if i + 1 < len(tokens) else other
    return similarity_of(word, other) >= threshold or joined == word or other.startswith(word)


def _words_found(
    wording: Wording, tokens: list[Token], window: range, threshold: float
) -> tuple[float, dict[int, int]] | None:
    """Return the lowest similarity, in [0, 1], and for each content word the place of its match in the window.

    None where a word has no match. A compound may be written in one word or in two.
    """
    free = [i for i in window if not tokens[i].exact]
    lowest, places = 1.0, {}
    content = iter(range(len(wording.content)))
    for k in content:
        word = wording.tokens[wording.content[k]].text
        best = max(free, key=lambda i: similarity_of(word, tokens[i].text), default=None)
        if best is not None and similarity_of(word, tokens[best].text) >= threshold:
            lowest = min(lowest, similarity_of(word, tokens[best].text))
            used = {best}
        else:
            best, used, both = _compound(wording, k, tokens, free)
            if best is None:
                return None
            if both:
                places[wording.content[next(content)]] = best
        places[wording.content[k]] = best
        free = [i for i in free if i not in used]
    return lowest, places


def _compound(
    wording: Wording, k: int, tokens: list[Token], free: list[int]
) -> tuple[int | None, set[int], bool]:
    """Return where word ``k`` stands in two words, or together with the next one in one word (then True)."""
    word = wording.tokens[wording.content[k]].text
    for i in free:
        if i + 1 in free and tokens[i].text + tokens[i + 1].text == word:
            return i, {i, i + 1}, False
    if k + 1 < len(wording.content):
        joined = word + wording.tokens[wording.content[k + 1]].text
        for i in free:
            if similarity_of(joined, tokens[i].text) == 1.0:
                return i, {i}, True
    return None, set(), False


def _is_short(wording: Wording, stretch: list[Token]) -> bool:
    """Whether a stretch of words has at most ``MAX_EXTRA_WORDS`` content words more than the wording."""
    extra = sum(token.text not in FUNCTION_WORDS for token in stretch) - len(wording.content)
    return extra <= MAX_EXTRA_WORDS and len(stretch) <= 2 * len(wording.tokens) + MAX_EXTRA_WORDS


def _in_order(wording: Wording, tokens: list[Token], exact: tuple[int, ...], words: dict[int, int]) -> bool:
    """Whether at most one part, or one block, stands elsewhere than in the wording.

    A run of exact tokens is one part.

    Function words count where the stretch has them: "every square is a rectangle" is not "every rectangle is
    a square", while "parallel lines" is "the lines are parallel".
    """
    core = [*exact, *words.values()]
    free = [i for i in range(min(core), max(core)) if i not in set(core) and not tokens[i].exact]
    order: list[int] = []
    copulas: list[int] = []
    places = iter(exact)
    previous_exact = False
    for i, token in enumerate(wording.tokens):
        if token.exact:
            place = next(places)
            if not previous_exact:
                order.append(place)
        elif i in words:
            order.append(words[i])
        else:
            same = next((j for j in free if tokens[j].text == token.text), None)
            if same is not None:
                order.append(same)
                free.remove(same)
                copulas += [same] if token.text in COPULAS else []
        previous_exact = token.exact
    if _longest_rising(order) >= len(order) - 1 or _is_rotation(order):
        return True
    # "45 dollars is the total cost": where one side of the copula is a value, the sides may change places.
    return (
        len(copulas) == 1
        and _is_rotation([i for i in order if i not in copulas])
        and _value_on_one_side(wording)
    )


def _value_on_one_side(wording: Wording) -> bool:
    copula = next(i for i, token in enumerate(wording.tokens) if token.text in COPULAS)
    sides = wording.tokens[:copula], wording.tokens[copula + 1 :]
    return [any(token.exact for token in side) for side in sides].count(True) == 1


def _is_rotation(order: list[int]) -> bool:
    """Whether ``order`` rises but for one place, where it starts again from below its first: one block moved."""
    falls = sum(a > b for a, b in itertools.pairwise(order))
    return falls == 0 or (falls == 1 and order[-1] < order[0] and len(order) > 2)


def _longest_rising(values: list[int]) -> int:
    """Return the length of the longest non-decreasing subsequence."""
    tails: list[int] = []
    for value in values:
        k = bisect.bisect_right(tails, value)
        tails[k : k + 1] = [value]
    return len(tails)


def _crosses_clauses(wording: Wording, behind_first: list[Token]) -> bool:
    """Whether a stretch with words runs into another clause, as its wording does not: "A, so B is a subset"."""
    marks = [
        token for token in behind_first if token.mark not in ("", ":") and token.text not in ("and", "with")
    ]
    return bool(marks) and not any(token.mark for token in wording.tokens[1:])


def _joins(wording: Wording, tokens: list[Token], first: int, last: int) -> bool:
    """Whether "and" stands within the stretch and not in the wording: "3 apples and children"."""
    joined = wording.content and "and" not in wording.own
    return bool(joined) and any(token.text == "and" for token in tokens[first : last + 1])


def _modifies(wording: Wording, tokens: list[Token], words: dict[int, int]) -> bool:
    """Whether the wording's last noun only describes another one in the text: "12 egg cartons" for "12 eggs"."""
    last = len(wording.tokens) - 1
    place = words.get(last)
    if place is None or place + 1 >= len(tokens) or not wording.tokens[last].text.endswith("s"):
        return False
    found, behind = tokens[place], tokens[place + 1]
    singular = wording.tokens[last].text in (found.text + "s", found.text + "es")
    return singular and not behind.exact and not behind.mark and behind.text not in FUNCTION_WORDS
