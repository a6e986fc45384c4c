"""Leave out of found key steps what tells nothing: what the question says itself, and what is nothing but the answer.

May call the symbolic layer of the judge of answers; else pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from verl_stepgrpo.data.key_steps.equations import RELATIONS
from verl_stepgrpo.data.key_steps.rules import as_step
from verl_stepgrpo.judging.answers.judge import judge_answer
from verl_stepgrpo.judging.key_steps.match import shown
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.reading.tokens import UNITS, Token
from verl_stepgrpo.settings import RewardSettings

THRESHOLD = RewardSettings().match_threshold
"""The default ``match_threshold``."""


def telling(key_steps: Sequence[KeyStep], *, question: str, answer: str) -> list[KeyStep]:
    """Return the key steps that a response does not state by repeating the question, nor by giving the answer.

    Args:
        key_steps: What was found in a solution or in responses.
        question: The question's text.
        answer: Its reference answer; empty where it is not known.
    """
    told = shown(as_step(question), key_steps, threshold=THRESHOLD)
    return [
        one
        for one, is_told in zip(key_steps, told, strict=True)
        if not is_told and not is_answer(one, answer)
    ]


def is_answer(wordings: KeyStep, answer: str) -> bool:
    r"""Return whether a key step says the answer and no way to it: ``18 dollars``, ``x = 3``; not ``\sqrt{9} = 3``."""
    return bool(answer.strip()) and not _is_way(wordings[0]) and judge_answer(wordings[0], answer).correct


def _is_way(text: str) -> bool:
    """Return whether an equation has numbers on two sides, and on one of them something that is done with them."""
    sides: list[list[Token]] = [[]]
    for token in tokenize(text):
        if token.text in RELATIONS:
            sides.append([])
        else:
            sides[-1].append(token)
    numbers = [side for side in sides if any(token.number for token in side)]
    return len(numbers) > 1 and any(map(_calculates, numbers))


def _calculates(side: Sequence[Token]) -> bool:
    """Return whether a side has a sign or a function, beside numbers, names, units and parentheses."""
    return any(
        token.exact and not token.operand and token.text not in UNITS and token.text not in "()°%"
        for token in side
    )
