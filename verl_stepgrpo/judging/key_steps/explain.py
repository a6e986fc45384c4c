"""Why a key step was not found: the place in the response that comes nearest, and the rule that refused it.

``explain_missed`` asks the very functions that ``match`` asks. It is no part of scoring: for each key step that was
missed it costs about as much as matching it did.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from verl_stepgrpo.judging.key_steps.chains import Chain
from verl_stepgrpo.judging.key_steps.match import KeyStepMatch, Reasoning
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.judging.key_steps.sentences import Segment
from verl_stepgrpo.judging.key_steps.stretches import (
    Fault,
    fault_of_match,
    fault_of_run,
    fault_of_words,
    window_of,
    word_windows,
    words_found,
)
from verl_stepgrpo.judging.key_steps.wordings import Wording, forms_of
from verl_stepgrpo.judging.reading.tokens import Token
from verl_stepgrpo.judging.reading.words import similarity_of
from verl_stepgrpo.judging.sections import Section

NOTHING_NEAR = "nothing near"
"""The rule of a key step that nothing in the response comes near to."""


@dataclass(frozen=True)
class Miss:
    """Why a key step was not found. ``str()`` of it is one line.

    Attributes:
        rule: The name of the rule that refused the nearest place: ``denied``, ``ends later``, ``another number`` and so
            on, or ``NOTHING_NEAR``.
        words: The words of the response that made it; of ``a word is missing`` the key step's word; where nothing is
            near, what is missing; "" where there is no more to say than the rule and the place.
        near: The nearest place, as the response has it, these words included; "" where nothing is near.
        step: Index of the reasoning step of that place, counted from 0; None where nothing is near.
        start: Its offset in the response, in characters.
        end: The offset behind it.
    """

    rule: str
    words: str = ""
    near: str = ""
    step: int | None = None
    start: int | None = None
    end: int | None = None

    def __str__(self) -> str:
        if not self.near:
            return f"{self.rule}: {self.words}" if self.words else self.rule
        words = f" by {_line(self.words)!r}" if self.words else ""
        return f"{self.rule}{words}, nearest place {_line(self.near)!r}"


def explain_missed(
    sections: Sequence[Section],
    matches: Sequence[KeyStepMatch],
    *,
    threshold: float,
    left_out: Collection[int] = (),
) -> tuple[Miss | None, ...]:
    """Return for each key step why it was not found, None for one that was.

    Args:
        sections: The sections of the response, as it was scored.
        matches: What ``match_key_steps`` returned for them (``ScoredResponse.key_steps``).
        threshold: The threshold that it had.
        left_out: The steps, counted from 0, that it left out since they state a false equation.
    """
    reasoning = Reasoning(sections, threshold)
    return tuple(None if m.matched else _explain(m.wordings, reasoning, left_out) for m in matches)


@dataclass(frozen=True)
class _Near:
    """A place that comes near, and how near: the larger ``depth``, the nearer."""

    depth: int
    segment: Segment
    fault: Fault
    missing: str = ""

    def miss(self) -> Miss:
        tokens, text = self.segment.sentence.tokens, self.segment.sentence.text
        both = [*self.fault.stretch, *self.fault.words]
        around = [token for i, token in enumerate(tokens) if min(both) <= i <= max(both)]
        start, end = min(t.start for t in around), max(t.end for t in around)
        made = [tokens[i] for i in self.fault.words if i < len(tokens)]
        words = text[min(t.start for t in made) : max(t.end for t in made)] if made else self.missing
        offset = self.segment.offset
        return Miss(self.fault.rule, words, text[start:end], self.segment.step, offset + start, offset + end)


def _explain(key_step: KeyStep, reasoning: Reasoning, left_out: Collection[int]) -> Miss:
    if not reasoning.index.text:
        return Miss(NOTHING_NEAR, "the response has no steps")
    forms = [form for wording in forms_of(key_step) for form in wording if form.tokens]
    if not forms:
        return Miss(NOTHING_NEAR, "the key step has no word, number or sign")
    found = [
        near
        for form in forms
        for segment in reasoning.index.segments()
        for near in _places(form, segment, reasoning)
    ]
    stated = [near for near in found if near.depth == _STATED]
    if stated:
        listed = any(reasoning.lists_values(wording) for wording in forms_of(key_step))
        near = next((near for near in stated if near.segment.step not in left_out), stated[0])
        rule = "the place serves another key step"
        if near.segment.step in left_out:
            rule = "its step states a false equation"
        if listed:
            rule = "one of a list of values"
        return _Near(_STATED, near.segment, near.fault._replace(rule=rule)).miss()
    if found:
        return max(found, key=lambda near: near.depth).miss()
    return Miss(NOTHING_NEAR, _missing(forms[0], reasoning))


_STATED, _REFUSED, _UNIT, _INCOMPLETE, _APART, _OTHER_VALUE, _OTHER_NUMBER, _OTHER_OPERATION = range(8, 0, -1)
"""How near a place comes, from the nearest on."""


def _places(form: Wording, segment: Segment, reasoning: Reasoning) -> Iterator[_Near]:
    """Yield the places of one sentence that come near to a wording."""
    if form.chain is not None:
        for chain in segment.sentence.chains:
            yield from _relations(form.chain, chain, segment)
    elif form.exact:
        yield from _runs(form, segment, reasoning.threshold)
    else:
        for places, window in word_windows(form, segment.sentence, reasoning.threshold):
            yield _with_words(form, segment, places, window, reasoning.threshold)


def _relations(wanted: Chain, chain: Chain, segment: Segment) -> Iterator[_Near]:
    tokens = segment.sentence.tokens
    stretches = [*chain.occurrences(wanted.readings(), frozenset())]
    for first, last in stretches:
        fault = fault_of_match(chain, tokens, first, last)
        if fault is not None:
            yield _Near(_REFUSED, segment, fault)
        elif not wanted.units <= chain.units:
            yield _Near(_UNIT, segment, Fault("another unit", range(first, last + 1)))
        else:
            yield _Near(_STATED, segment, Fault("", range(first, last + 1)))
    if stretches:
        return
    for link in chain.links():
        stretch = range(link.first, link.last + 1)
        if set(link.forms) & {form for form in wanted.forms if not form.isdecimal()}:
            other = [
                side for side, form in zip(link.sides, link.forms, strict=True) if form not in wanted.forms
            ]
            words = range(other[0][0].first, other[0][-1].last + 1) if other else range(0)
            yield _Near(_OTHER_VALUE, segment, Fault("another value", stretch, words))
        elif sorted(link.numbers()) == sorted(wanted.numbers()):
            yield _Near(_OTHER_OPERATION, segment, Fault("another operation", stretch))
        elif wanted.shape() in (link.shape(), link.shape()[::-1]) and _differ_in_one(link, wanted):
            yield _Near(_OTHER_NUMBER, segment, Fault("another number", stretch))


def _differ_in_one(link: Chain, wanted: Chain) -> bool:
    rest = list(link.numbers())
    for number in wanted.numbers():
        if number in rest:
            rest.remove(number)
    return len(rest) <= 1


def _runs(form: Wording, segment: Segment, threshold: float) -> Iterator[_Near]:
    sentence, n = segment.sentence, len(form.exact)
    for k in range(len(sentence.exact) - n + 1):
        places = sentence.exact[k : k + n]
        other = [i for i, text in zip(places, form.exact, strict=True) if sentence.tokens[i].text != text]
        if not other:
            fault = fault_of_run(form, sentence.tokens, places)
            if fault is None:
                window = window_of(form, sentence.tokens, places[0], places[-1])
                yield _with_words(form, segment, tuple(places), window, threshold)
            elif not form.content or words_found(
                form, sentence.tokens, range(len(sentence.tokens)), threshold
            ):
                yield _Near(_APART, segment, fault)
        elif len(other) <= max(1, n // 3):
            number = sentence.tokens[other[0]].number
            if n == 1 and not (number and _has_words(form, segment, places, threshold)):
                continue
            rule = "another number" if number else "another sign"
            stretch = range(places[0], places[-1] + 1)
            yield _Near(_OTHER_NUMBER, segment, Fault(rule, stretch, range(other[0], other[0] + 1)))


def _has_words(form: Wording, segment: Segment, places: Sequence[int], threshold: float) -> bool:
    """Whether a wording has words, and they stand by the tokens at ``places``."""
    window = window_of(form, segment.sentence.tokens, places[0], places[-1])
    return bool(form.content) and words_found(form, segment.sentence.tokens, window, threshold) is not None


def _with_words(
    form: Wording, segment: Segment, places: tuple[int, ...], window: range, threshold: float
) -> _Near:
    tokens = segment.sentence.tokens
    found = words_found(form, tokens, window, threshold)
    if found is None:
        around = [*places, *window]
        stretch = range(min(around), max(around) + 1)
        return _Near(
            _INCOMPLETE,
            segment,
            Fault("a word is missing", stretch),
            _missing_word(form, tokens, window, threshold),
        )
    fault = fault_of_words(form, tokens, places, found[1])
    if fault is not None:
        return _Near(_REFUSED, segment, fault)
    core = [*places, *found[1].values()]
    return _Near(_STATED, segment, Fault("", range(min(core), max(core) + 1)))


def _missing_word(form: Wording, tokens: Sequence[Token], window: range, threshold: float) -> str:
    words = [form.tokens[i].text for i in form.content]
    near = [tokens[i].text for i in window]
    return next((word for word in words if not any(similarity_of(word, n) >= threshold for n in near)), "")


def _missing(form: Wording, reasoning: Reasoning) -> str:
    """Return which number or word of a wording no step has; "" where each has a place of its own."""
    for number in form.anchors.numbers:
        if not reasoning.index.with_number(number):
            return f"no step has {number}"
    for word in form.anchors.words:
        if not reasoning.index.with_word(word):
            return f"no step has {word!r}"
    return ""


def _line(text: str) -> str:
    return " ".join(text.split())
