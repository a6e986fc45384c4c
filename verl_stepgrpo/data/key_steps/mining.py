"""Mine the key steps of a question from a model's own responses to it: what right ones show and wrong ones do not.

Candidates come from right responses, by the rules (``rules``); those that say the same are one, with all
their wordings. A candidate is kept where two right responses show it, and where it is more likely in a right response
than in a wrong one by a margin. Left out is what the question says itself, and what is nothing but
the answer.
Not covered: whether a right response is right for the right reasons. Pure: no I/O.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from verl_stepgrpo.data.key_steps.equations import RELATIONS
from verl_stepgrpo.data.key_steps.rules import as_step, key_steps_of, reading_of
from verl_stepgrpo.data.key_steps.telling import THRESHOLD, telling
from verl_stepgrpo.judging.key_steps.match import shown
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.sections import Section

MARGIN = 0.1
"""How much more likely a key step has to be in a right response than in a wrong one."""

MAX_MINED = 5
"""Most key steps of one question."""

MAX_WORDINGS = 4
"""Most wordings of one key step; the matcher reads other spellings of an equation itself."""

MIN_SUPPORT = 2
"""Right responses that have to show a key step."""


@dataclass(frozen=True)
class Response:
    """One response to a question.

    Attributes:
        text: What the model wrote.
        sections: Its sections, in the format that it was asked for.
        is_right: Whether its answer is right.
    """

    text: str
    sections: tuple[Section, ...]
    is_right: bool


@dataclass(frozen=True)
class Support:
    """In how many responses something was found.

    Attributes:
        right, wrong: Right and wrong responses that have it.
        of_right, of_wrong: Right and wrong responses.
    """

    right: int
    of_right: int
    wrong: int
    of_wrong: int

    @property
    def difference(self) -> Fraction:
        """P(found | right) - P(found | wrong), in (-1, 1), exactly: a margin that it has is not lost to rounding.

        Each share is estimated with one response more that has it and one that has not (Laplace's rule): of few
        responses little is concluded, and of none that a half has it.
        """
        return Fraction(self.right + 1, self.of_right + 2) - Fraction(self.wrong + 1, self.of_wrong + 2)

    def exceeds(self, margin: float) -> bool:
        """Return whether the difference is at least ``margin``, as that is written: 0.1 is a tenth."""
        return self.difference >= as_written(margin)


@dataclass(frozen=True)
class Mined:
    """A key step with what speaks for it."""

    wordings: KeyStep
    support: Support


def mine(
    question: str, ground_truth: str, responses: Sequence[Response], *, margin: float = MARGIN
) -> list[Mined]:
    """Return the key steps of a question, at most ``MAX_MINED``, in the order in which right responses have them.

    Args:
        question: The question's text.
        ground_truth: Its reference answer.
        responses: Responses to it, as they were sampled.
        margin: Lowest ``Support.difference``.
    """
    known = sampled(responses)
    right = [one for one in known if one.is_right]
    if len(right) < MIN_SUPPORT:
        return []
    candidates = telling(_merged(_candidates(right)), question=question, answer=ground_truth)
    mined = [Mined(*pair) for pair in zip(candidates, support_of(candidates, known), strict=True)]
    kept = [one for one in mined if one.support.right >= MIN_SUPPORT and one.support.exceeds(margin)]
    # Equations first, and of all else what none of them says.
    order = sorted(kept, key=lambda one: (not _is_equation(one.wordings[0]), -one.support.difference))
    best: list[Mined] = []
    for one in order:
        text = one.wordings[0]
        if _is_equation(text) or not any(_says(other.wordings[0], text) for other in best):
            best.append(one)
    return [one for one in kept if one in best[:MAX_MINED]]


def sampled(responses: Sequence[Response]) -> list[Response]:
    """Return responses that count each by itself; where all are one text, as by greedy decoding, that is one."""
    return list(responses[: 1 if len({one.text.strip() for one in responses}) == 1 else None])


def support_of(key_steps: Sequence[KeyStep], responses: Sequence[Response]) -> list[Support]:
    """Return in how many responses each key step is found, each by itself."""
    found = [shown(one.sections, key_steps, threshold=THRESHOLD) for one in responses]
    supports = []
    for i in range(len(key_steps)):
        counts = {True: 0, False: 0}
        for one, has in zip(responses, found, strict=True):
            counts[one.is_right] += has[i]
        n_right = sum(one.is_right for one in responses)
        supports.append(Support(counts[True], n_right, counts[False], len(responses) - n_right))
    return supports


def _candidates(right: Sequence[Response]) -> list[tuple[KeyStep, int]]:
    """Return what the rules take from right responses, each with in how many, in the order of the texts."""
    wordings: dict[tuple[str, ...], KeyStep] = {}
    counts: Counter[tuple[str, ...]] = Counter()
    for response in right:
        for key_step in key_steps_of(response.sections):
            tokens = reading_of(key_step)
            wordings[tokens] = tuple(dict.fromkeys((*wordings.get(tokens, ()), *key_step)))
            counts[tokens] += 1
    return [(key_step, counts[tokens]) for tokens, key_step in wordings.items()]


def _merged(candidates: Sequence[tuple[KeyStep, int]]) -> list[KeyStep]:
    """Return candidates that say the same as one, the commonest wording first."""
    groups: list[list[tuple[KeyStep, int]]] = []
    for candidate in candidates:
        same = (group for group in groups if _say_the_same(candidate[0], group[0][0]))
        group = next(same, None)
        if group is None:
            groups.append([candidate])
        else:
            group.append(candidate)
    return [_wordings(group) for group in groups]


def _say_the_same(one: KeyStep, other: KeyStep) -> bool:
    """Return whether a wording of each states the other."""
    return _states(one, other) and _states(other, one)


def _states(one: KeyStep, other: KeyStep) -> bool:
    return any(shown(as_step(wording), [other], threshold=THRESHOLD)[0] for wording in one)


def _wordings(group: Sequence[tuple[KeyStep, int]]) -> KeyStep:
    """Return the wordings of key steps that say the same: of each its own first, and then what else they may be."""
    common = [key_step for key_step, _ in sorted(group, key=lambda one: -one[1])]
    others = [wording for key_step in common for wording in key_step[1:]]
    return tuple(dict.fromkeys([*(key_step[0] for key_step in common), *others]))[:MAX_WORDINGS]


def _is_equation(text: str) -> bool:
    return any(token.text in RELATIONS for token in tokenize(text))


def _says(one: str, other: str) -> bool:
    """Return whether a key step has the numbers of another that is no equation.

    What is said to be a number has to be what an equation comes to: "3 + 5 = 8" says "sum is 8", and not that the first
    digit is 3.
    """
    tokens = tokenize(one)
    if any(token.text == "is" for token in tokenize(other)):
        last = max((i for i, token in enumerate(tokens) if token.text in RELATIONS), default=None)
        return last is not None and _numbers(other) <= _numbers(one[tokens[last].end :])
    return _numbers(other) <= _numbers(one)


def _numbers(text: str) -> set[str]:
    """Return the numbers of a phrase; what has none is told apart by its text."""
    return {token.text for token in tokenize(text) if token.number} or {text}


def as_written(margin: float) -> Fraction:
    """Return a margin as it is written: ``Fraction(0.1)`` is more than a tenth."""
    return Fraction(str(margin))
