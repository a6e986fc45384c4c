"""Mine the key steps of a question from a model's own responses to it: what right ones show and wrong ones do not.

Candidates come from right responses, by the rules (``rules``); those that say the same are one, with all
their wordings. A candidate is kept where two right responses show it, and where it is more likely in a right response
than in a wrong one by a margin. Left out is what the question says itself, and what is nothing but
the answer.
Not covered: whether a right response is right for the right reasons. Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from verl_stepgrpo.data.key_steps.rules import RELATIONS, key_steps_of
from verl_stepgrpo.judging.answers.judge import judge_answer
from verl_stepgrpo.judging.key_steps.match import shown
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.sections import Section, parse_sections
from verl_stepgrpo.settings import RewardSettings

MARGIN = 0.1
"""How much more likely a key step has to be in a right response than in a wrong one."""

MAX_MINED = 5
"""Most key steps of one question."""

MAX_WORDINGS = 4
"""Most wordings of one key step; the matcher reads other spellings of an equation itself."""

MIN_SUPPORT = 2
"""Right responses that have to show a key step."""

THRESHOLD = RewardSettings().match_threshold
"""The default ``match_threshold``."""


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
    def difference(self) -> float:
        """P(found | right) - P(found | wrong), in (-1, 1).

        Each share is estimated with one response more that has it and one that has not (Laplace's rule): of few
        responses little is concluded, and of none that a half has it.
        """
        return (self.right + 1) / (self.of_right + 2) - (self.wrong + 1) / (self.of_wrong + 2)


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
    candidates = _merged(_candidates(right))
    told = shown(as_step(question), candidates, threshold=THRESHOLD)
    candidates = [
        one
        for one, is_told in zip(candidates, told, strict=True)
        if not is_told and not _is_answer(one, ground_truth)
    ]
    mined = [Mined(*pair) for pair in zip(candidates, support_of(candidates, known), strict=True)]
    kept = [one for one in mined if one.support.right >= MIN_SUPPORT and one.support.difference >= margin]
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


def _candidates(right: Sequence[Response]) -> list[tuple[str, int]]:
    """Return what the rules take from right responses, each with in how many, in the order of the texts."""
    texts: dict[tuple[str, ...], str] = {}
    counts: dict[tuple[str, ...], int] = {}
    for response in right:
        for (text,) in key_steps_of(response.sections):
            tokens = tuple(token.text for token in tokenize(text))
            texts.setdefault(tokens, text)
            counts[tokens] = counts.get(tokens, 0) + 1
    return [(text, counts[tokens]) for tokens, text in texts.items()]


def _merged(candidates: Sequence[tuple[str, int]]) -> list[KeyStep]:
    """Return candidates that say the same as one, the commonest wording first."""
    groups: list[list[tuple[str, int]]] = []
    for candidate in candidates:
        text = candidate[0]
        alike = shown(as_step(text), [(group[0][0],) for group in groups], threshold=THRESHOLD)
        same = (
            group
            for group, is_in in zip(groups, alike, strict=True)
            if is_in and shown(as_step(group[0][0]), [(text,)], threshold=THRESHOLD)[0]
        )
        group = next(same, None)
        if group is None:
            groups.append([candidate])
        else:
            group.append(candidate)
    return [
        tuple(text for text, _ in sorted(group, key=lambda one: -one[1])[:MAX_WORDINGS]) for group in groups
    ]


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


def as_step(text: str) -> tuple[Section, ...]:
    # A line that opens with ### would begin another section.
    return parse_sections("### Step 1:\n" + text.replace("###", " "))


def _is_answer(wordings: KeyStep, ground_truth: str) -> bool:
    """Return whether a candidate says the answer and no way to it: "18 dollars", "x = 18"."""
    if any(token.text in "+-*/^" for token in tokenize(wordings[0])):
        return False
    return judge_answer(wordings[0], ground_truth).correct
