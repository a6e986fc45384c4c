"""Map places in a decoded response to the tokens that produced them, exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]


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
