"""Mapping places in the text to tokens, for byte-level BPE with characters of several bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from verl_stepgrpo.bridge.token_ends import token_end

Coder = tuple[Callable[[str], list[int]], Callable[[Sequence[int]], str]]


def byte_level_bpe() -> Coder:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(["### Step 1: the first digit is 3. 图像 π ≈ 3"] * 20, trainer)
    return lambda text: tokenizer.encode(text).ids, lambda ids: tokenizer.decode(list(ids))


ENCODE, DECODE = byte_level_bpe()


@given(st.text(alphabet="ab 3#\nπ≈图像🙂é", max_size=60), st.data())
def test_the_tokens_before_the_end_cover_the_text_and_one_fewer_does_not(
    text: str, data: st.DataObject
) -> None:
    ids = ENCODE(text)
    char_end = data.draw(st.integers(0, len(text)))
    n = token_end(DECODE, ids, text, char_end)
    assert DECODE(ids[:n]).startswith(text[:char_end])
    assert n == 0 or not DECODE(ids[: n - 1]).startswith(text[:char_end])


def test_a_character_of_several_tokens_belongs_to_the_one_that_completes_it() -> None:
    text = "a🙂b"
    ids = ENCODE(text)
    assert len(ids) == 6
    assert [token_end(DECODE, ids, text, end) for end in range(4)] == [0, 1, 5, 6]


@pytest.mark.parametrize("text", ["", "abc"])
def test_the_whole_text_needs_all_tokens(text: str) -> None:
    ids = ENCODE(text)
    assert token_end(DECODE, ids, text, len(text)) == len(ids)
