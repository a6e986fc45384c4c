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

import functools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.judging.key_steps.relations import Chain
from verl_stepgrpo.judging.key_steps.sentences import SentenceIndex, segments_of
from verl_stepgrpo.judging.key_steps.stretches import Stretch, relations_of, stretches_of
from verl_stepgrpo.judging.key_steps.wordings import Wording, forms_of
from verl_stepgrpo.judging.sections import Kind, Section

MAX_STEP_CHARS = 20_000
"""Characters of one reasoning step that are searched; a longer one is a runaway generation."""

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


class Reasoning:
    """The reasoning steps of one response, in sentences."""

    def __init__(self, sections: Sequence[Section], threshold: float) -> None:
        steps = [section for section in sections if section.kind is Kind.STEP]
        self.threshold = threshold
        self.segments = [
            segment
            for i, section in enumerate(steps)
            for segment in segments_of(section.body[:MAX_STEP_CHARS], i, section.body_start)
        ]
        self.index = SentenceIndex([segment.sentence for segment in self.segments], threshold)

    def stretches(self, wording: Wording) -> Iterator[Stretch]:
        """Yield all stretches that match."""
        return self._stretches(wording, self.index.may_hold(wording.anchors), any_number=False)

    def lists_values(self, forms: Sequence[Wording]) -> bool:
        """Whether the response has the wording with so many other numbers that it lists instead of stating one."""
        wanted = forms[0].numbers
        if not wanted:
            return False
        if forms[0].chain is not None:
            return self._lists_relations(forms[0].chain)
        listed = {s.numbers for form in forms for s in self._stretches_with_others(form)}
        if len(listed) > MAX_SAME_SHAPE:
            return True
        if len(forms[0].tokens) == 1:
            return False
        return any(
            sum(numbers[:i] + numbers[i + 1 :] == wanted[:i] + wanted[i + 1 :] for numbers in listed)
            > MAX_VALUES
            for i in range(len(wanted))
        )

    def _stretches_with_others(self, wording: Wording) -> Iterator[Stretch]:
        """Yield all stretches that match whatever the wording's numbers are; none where few numbers could be one."""
        bits = self.index.may_hold_others(wording.anchors, len(wording.numbers))
        if self.index.distinct_numbers(bits) > MAX_VALUES:
            yield from self._stretches(wording, bits, any_number=True)

    @functools.cached_property
    def _chains(self) -> list[Chain]:
        return [chain for segment in self.segments for chain in segment.sentence.chains]

    def _lists_relations(self, wanted: Chain) -> bool:
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

    def _stretches(self, wording: Wording, bits: int, *, any_number: bool) -> Iterator[Stretch]:
        while bits:
            lowest = bits & -bits
            bits ^= lowest
            segment = self.segments[lowest.bit_length() - 1]
            if wording.chain is not None:
                yield from relations_of(wording, wording.chain, segment)
                continue
            yield from stretches_of(wording, segment, self.threshold, any_number=any_number)


_RELATION = re.compile(r"[=<>≤≥≠≈]|\\[lgn]e|\b(?:is|are|equals?|gives|makes|yields|leaves)\b")


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
    reasoning = Reasoning(sections, threshold)
    candidates = [_candidates(key_step, reasoning) for key_step in key_steps]
    chosen: dict[int, Stretch] = {}
    for i in sorted(range(len(key_steps)), key=lambda i: (len(candidates[i]), -max(map(len, key_steps[i])))):
        free = [c for c in candidates[i] if not any(c.overlaps(other) for other in chosen.values())]
        if free:
            chosen[i] = max(free, key=lambda stretch: stretch.similarity)
    return tuple(
        _match(key_step, chosen[i]) if i in chosen else KeyStepMatch.missed(key_step)
        for i, key_step in enumerate(key_steps)
    )


def _match(key_step: KeyStep, found: Stretch) -> KeyStepMatch:
    return KeyStepMatch(
        key_step, True, found.wording.text, found.similarity, found.step, found.start, found.end
    )


def _candidates(key_step: KeyStep, reasoning: Reasoning) -> list[Stretch]:
    """Return the stretches that match any wording, none where the response only lists values in its place."""
    found = []
    for forms in forms_of(key_step):
        stretches = [stretch for form in forms for stretch in reasoning.stretches(form)]
        if stretches and not reasoning.lists_values(forms):
            found += stretches
    return found
