"""Map places in what the model wrote to the tokens that produced them, exactly.

A response of several turns holds tokens that the model did not write: what a tool answered, and what the chat template
puts between turns. They have places among the response's tokens and none in its text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Turn:
    """Consecutive tokens of a response that the model wrote.

    Attributes:
        start: Number of the response's tokens before them.
        token_ids: The tokens.
        text: They, decoded.
    """

    start: int
    token_ids: Sequence[int]
    text: str


@dataclass(frozen=True)
class Written:
    """What the model wrote of a response.

    Attributes:
        decode: The tokenizer's decoding.
        turns: In their order.
    """

    decode: Decode
    turns: tuple[Turn, ...]

    @classmethod
    def of(cls, decode: Decode, token_ids: Sequence[int], spans: Sequence[Sequence[int]]) -> Written:
        """Return what stands in ``spans`` of ``token_ids``, as ``written_spans`` gives them."""
        parts = [(start, token_ids[start:end]) for start, end in spans]
        return cls(decode, tuple(Turn(start, own, decode(own)) for start, own in parts))

    @property
    def text(self) -> str:
        """The turns, each on a line of its own, so that a header at the beginning of one is found."""
        return "\n".join(turn.text for turn in self.turns)

    def token_end(self, char_end: int) -> int:
        """Return the number of the response's leading tokens whose text covers ``text[:char_end]``."""
        offset = end = 0
        for turn in self.turns:
            # The line break behind a turn has no token: what ends with it ends with the turn.
            own = char_end - offset
            end = turn.start + token_end(self.decode, turn.token_ids, turn.text, own)
            offset += len(turn.text) + 1
            if char_end <= offset:
                break
        return end


def written_spans(mask: Sequence[int]) -> list[list[int]]:
    """Return start and end (exclusive) of each run of tokens that the model wrote.

    Args:
        mask: verl's response mask: 0 for tokens that the model did not write.
    """
    edges = np.diff(np.asarray(mask) != 0, prepend=False, append=False)
    return np.flatnonzero(edges).reshape(-1, 2).tolist()


def token_end(decode: Decode, token_ids: Sequence[int], text: str, char_end: int) -> int:
    """Return the number of leading tokens whose text covers ``text[:char_end]``.

    The smallest n such that decoding the first n tokens gives a text that begins with ``text[:char_end]``.
    A character of several bytes belongs to the token that completes it: until then a byte-level tokenizer
    decodes a replacement character in its place.

    Args:
        decode: The tokenizer's decoding, the one that gave ``text`` for all of ``token_ids``.
        token_ids: Tokens of the response.
        text: The decoded response.
        char_end: Offset in ``text``, exclusive.
    """
    wanted = text[:char_end]
    low, high = 0, len(token_ids)
    while low < high:
        middle = (low + high) // 2
        if decode(token_ids[:middle]).startswith(wanted):
            high = middle
        else:
            low = middle + 1
    return low
