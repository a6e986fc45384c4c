"""Find the reference's key steps in the reasoning steps of a response.

A key step is a few words or an equation that any correct solution needs, stored in several equivalent
wordings; one match among them is enough. Numbers, variables and operators have to agree exactly and on
token borders (``judging.reading.tokens`` makes their spellings the same); words may differ softly (typos, plural,
inflection, order within reason). Only reasoning steps are searched, one stretch of text serves one key step only,
and what the text denies or only lists does not count.

Source: Zhang et al., arXiv 2503.12937, section 3.2 (soft key-step matching). Departure: the paper does
not say how soft the match is; see ``match_key_steps``.

Pure: no I/O, no torch, no verl. Not covered: whether a step is true (``calculations``); only its wording is compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from verl_stepgrpo.judging.key_steps.chains import Chain
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.judging.key_steps.rules import COMPUTATION
from verl_stepgrpo.judging.key_steps.sentences import Anchors, SentenceIndex
from verl_stepgrpo.judging.key_steps.stretches import Stretch, relations_of, stretches_of
from verl_stepgrpo.judging.key_steps.wordings import Wording, forms_of
from verl_stepgrpo.judging.lazy import lazy
from verl_stepgrpo.judging.sections import Section

MAX_VALUES = 5
"""Different numbers that a response may put in the place of one of a key step's ("x = 1, x = 2, ..."). With
more it lists values instead of stating one, and the key step does not count."""

MAX_SAME_SHAPE = 20
"""Different numbers, all places together, with which a response may have a key step's words and operators."""

MAX_UNUSED = 12
"""Results of operations that a response may state and use in no other one; with more it lists what can be done with a
question's numbers ("48 + 2 = 50, 48 - 2 = 46, ..."). None of 2,600 solutions of models to GSM8K has more than 6."""


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
        self.threshold = threshold
        self.index = SentenceIndex.of_steps(sections, threshold)

    def stretches(self, wording: Wording) -> list[Stretch]:
        """Return all stretches that match."""
        bits = self.index.may_hold(wording.anchors)
        if not bits:
            return []
        segments = self.index.segments(bits)
        if wording.chain is not None:
            return [found for segment in segments for found in relations_of(wording, wording.chain, segment)]
        return [
            found
            for segment in segments
            for found in stretches_of(wording, segment, self.threshold, any_number=False)
        ]

    @lazy
    def unused_results(self) -> set[str]:
        """The results of operations with numbers that are operands of no other operation."""
        results: set[str] = set()
        operands: set[str] = set()
        chains = (chain for segment in self.index.segments() for chain in segment.sentence.chains)
        for link in (link for chain in chains for link in chain.links() if link.kind == COMPUTATION):
            for side in link.sides:
                numbers = {item.text for item in side if item.kind == "n"}
                (results if len(side) == 1 else operands).update(numbers)
        return results - operands

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
        bits = self.index.may_hold(Anchors((), wording.anchors.words))
        numbers = self.index.numbers(bits)
        if len(set().union(*numbers)) <= MAX_VALUES and max(map(len, numbers), default=0) <= MAX_VALUES:
            return
        for segment, has in zip(self.index.segments(bits), numbers, strict=True):
            if len(has) >= len(wording.numbers):
                yield from stretches_of(wording, segment, self.threshold, any_number=True)

    def _lists_relations(self, wanted: Chain) -> bool:
        """Whether the relation ``wanted`` stands with so many other numbers that they are listed."""
        numbers = wanted.numbers()
        index, own = self.index, max(1, len(numbers) - 1)  # numbers that each link of a chain has of its own
        if index.relations <= MAX_VALUES:
            return False
        bits = index.everywhere
        most = index.relations_in(bits, own)
        if most > MAX_UNUSED and wanted.kind == COMPUTATION and len(self.unused_results) > MAX_UNUSED:
            return True
        if most <= MAX_SAME_SHAPE:
            # Too few for a list of any shape: only such with one other number are counted.
            bits = index.may_hold_all_but_one(numbers)
            if most <= MAX_VALUES or index.relations_in(bits, own) <= MAX_VALUES:
                return False
        shape = wanted.shape()
        listed = {
            tuple(sorted(link.numbers()))
            for segment in self.index.segments(bits)
            for chain in segment.sentence.chains
            for link in chain.links()
            if link.shape() in (shape, shape[::-1])
        }
        if len(listed) > MAX_SAME_SHAPE:
            return True
        others = [Counter(numbers) - Counter(found) for found in listed]
        instead = Counter(next(iter(other)) for other in others if other.total() == 1)
        # The relation itself is one of them.
        return any(n + 1 > MAX_VALUES for n in instead.values())


def match_key_steps(
    sections: Sequence[Section],
    key_steps: Sequence[KeyStep],
    *,
    threshold: float,
    left_out: Collection[int] = (),
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
        left_out: Steps, counted from 0, in which no key step counts.
    """
    reasoning = Reasoning(sections, threshold)
    candidates = [_candidates(key_step, reasoning) for key_step in key_steps]
    if left_out:
        candidates = [
            [found for found in stretches if found.step not in left_out] for stretches in candidates
        ]
    found = [i for i, stretches in enumerate(candidates) if stretches]
    if len(found) > 1:
        found.sort(key=lambda i: (len(candidates[i]), -max(map(len, key_steps[i]))))
    chosen: dict[int, Stretch] = {}
    for i in found:
        free = [c for c in candidates[i] if not any([c.overlaps(other) for other in chosen.values()])]
        if free:
            chosen[i] = free[0] if len(free) == 1 else max(free, key=lambda stretch: stretch.similarity)
    return tuple(
        [
            _match(key_step, chosen[i]) if i in chosen else KeyStepMatch.missed(key_step)
            for i, key_step in enumerate(key_steps)
        ]
    )


def _match(key_step: KeyStep, found: Stretch) -> KeyStepMatch:
    return KeyStepMatch(
        key_step, True, found.wording.text, found.similarity, found.step, found.start, found.end
    )


def _candidates(key_step: KeyStep, reasoning: Reasoning) -> list[Stretch]:
    """Return the stretches that match any wording, none where the response only lists values in its place."""
    found: list[Stretch] = []
    for forms in forms_of(key_step):
        stretches = reasoning.stretches(forms[0])
        for form in forms[1:]:
            stretches += reasoning.stretches(form)
        if stretches and not reasoning.lists_values(forms):
            found += stretches
    return found


def shown(sections: Sequence[Section], key_steps: Sequence[KeyStep], *, threshold: float) -> tuple[bool, ...]:
    """Return whether each key step stands in a response by itself, whatever stretches the others would take."""
    reasoning = Reasoning(sections, threshold)
    return tuple(bool(_candidates(key_step, reasoning)) for key_step in key_steps)
