"""Map places in what the model wrote to the tokens that produced them, exactly.

A response of several turns holds tokens that the model did not write: what a tool answered, and what the chat template
puts between turns. They have places among the response's tokens and none in its text.

Ends are found in one pass over the tokens, with the incremental decoder of the tokenizers library (``token_ends``);
``token_end`` decodes whole prefixes instead. It says what is meant, and serves tokenizers that have no such decoder.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Decode = Callable[[Sequence[int]], str]

MAX_WITHHELD = 8
"""Tokens in a row of which the incremental decoder makes no text before it is given up: a character has at most 4, so
that these are no text, and it decodes all of them again with each further one."""

WRITTEN_SPANS = "stepgrpo_written_spans"
"""Key of an agent loop's extra fields, while a session is scored: start and end of each run of tokens that the model
wrote."""


@dataclass(frozen=True)
class Decoding:
    """How tokens become text: special ones are skipped.

    Attributes:
        decode: The tokenizer's decoding.
        backend: Its ``tokenizers.Tokenizer``; None where it has none, as one in Python.
        special: Tokens that have no text.
    """

    decode: Decode
    backend: Any = None
    special: frozenset[int] = frozenset()

    @classmethod
    def of(cls, tokenizer: Any) -> Decoding:
        """Return that of a tokenizer of transformers."""

        def decode(token_ids: Sequence[int]) -> str:
            return tokenizer.decode(token_ids, skip_special_tokens=True)

        backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        if not hasattr(backend, "get_added_tokens_decoder"):
            return cls(decode)
        added = backend.get_added_tokens_decoder()
        return cls(decode, backend, frozenset(token for token, one in added.items() if one.special))


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
        decoding: The tokenizer's.
        turns: In their order.
    """

    decoding: Decoding
    turns: tuple[Turn, ...]

    @classmethod
    def of(cls, decoding: Decoding, token_ids: Sequence[int], spans: Sequence[Sequence[int]]) -> Written:
        """Return what stands in ``spans`` of ``token_ids``, as ``written_spans`` gives them."""
        parts = [(start, token_ids[start:end]) for start, end in spans]
        return cls(decoding, tuple(Turn(start, own, decoding.decode(own)) for start, own in parts))

    @property
    def text(self) -> str:
        """The turns, each on a line of its own, so that a header at the beginning of one is found."""
        return "\n".join(turn.text for turn in self.turns)

    def token_ends(self, char_ends: Sequence[int]) -> list[int]:
        """Return, for each end, the number of the response's leading tokens whose text covers ``text[:end]``.

        Args:
            char_ends: Offsets in ``text``, exclusive, none below the one before.
        """
        found: list[int] = []
        offset = 0
        for turn in self.turns:
            # The line break behind a turn has no token: what ends with it ends with the turn.
            stop = offset + len(turn.text) + 1
            n_here = bisect_left(char_ends, stop + 1, lo=len(found))
            own = [char_end - offset for char_end in char_ends[len(found) : n_here]]
            ends = token_ends(self.decoding, turn.token_ids, turn.text, own)
            found += [turn.start + n for n in ends]
            offset = stop
        return found + [0] * (len(char_ends) - len(found))  # of a response in which nothing was written


def written_spans(mask: Sequence[int]) -> list[list[int]]:
    """Return start and end (exclusive) of each run of tokens that the model wrote.

    Args:
        mask: verl's response mask: 0 for tokens that the model did not write.
    """
    edges = np.diff(np.asarray(mask) != 0, prepend=False, append=False)
    return np.flatnonzero(edges).reshape(-1, 2).tolist()


def token_ends(
    decoding: Decoding, token_ids: Sequence[int], text: str, char_ends: Sequence[int]
) -> list[int]:
    """Return ``token_end`` of each of ``char_ends``, none of which is below the one before."""
    places = _places(decoding, token_ids, text, max(char_ends, default=0))
    if places is None:
        return [token_end(decoding.decode, token_ids, text, char_end) for char_end in char_ends]
    return [places.token_end(decoding.decode, token_ids, text, min(end, len(text))) for end in char_ends]


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


@dataclass(frozen=True)
class _Places:
    """Where the incremental decoder gave text: by token, in the order of both.

    Attributes:
        tokens: Numbers of leading tokens, the first 0.
        chars: The number of characters that were given by then.
    """

    tokens: list[int]
    chars: list[int]

    def token_end(self, decode: Decode, token_ids: Sequence[int], text: str, char_end: int) -> int:
        i = bisect_left(self.chars, char_end)
        n = self.tokens[i]
        if i == 0 or n - self.tokens[i - 1] == 1:
            return n
        # The decoder holds text back while its last character may be incomplete, with all that stands before it.
        return self._within(decode, token_ids, text, char_end, i)

    def _within(self, decode: Decode, token_ids: Sequence[int], text: str, char_end: int, i: int) -> int:
        before, base, chunk = self.tokens[i - 1], self.chars[i - 1], text[self.chars[i - 1] : self.chars[i]]
        window = token_ids[before : self.tokens[i]]
        if decode(window) == chunk:
            return before + token_end(decode, window, chunk, char_end - base)
        return token_end(decode, token_ids[: self.tokens[i]], text, char_end)


def _places(decoding: Decoding, token_ids: Sequence[int], text: str, char_end: int) -> _Places | None:
    """Return where the text up to ``char_end`` was given; None where it cannot be told so."""
    if decoding.backend is None:
        return None
    from tokenizers.decoders import DecodeStream

    stream, backend, special = DecodeStream(skip_special_tokens=True), decoding.backend, decoding.special
    tokens, chars, given, withheld = [0], [0], [], 0
    for n, token in enumerate(token_ids, start=1):
        if chars[-1] >= char_end:
            break
        if token in special:
            continue
        try:
            chunk = stream.step(backend, token)
        except (
            Exception
        ):  # the library raises its bare class where one more token changes what stands before it
            return None
        if chunk is None:
            withheld += 1
            if withheld > MAX_WITHHELD:
                return None
            continue
        withheld = 0
        given.append(chunk)
        tokens.append(n)
        chars.append(chars[-1] + len(chunk))
    if not text.startswith("".join(given)):  # transformers made other text of it
        return None
    if chars[-1] < char_end:  # what the decoder held back to the end
        tokens.append(len(token_ids))
        chars.append(len(text))
    return _Places(tokens, chars)
