"""Mapping places in the text to tokens: the pass with the incremental decoder is the search over whole prefixes."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from verl_stepgrpo.bridge import token_ends as module
from verl_stepgrpo.bridge.token_ends import MAX_WITHHELD, Decoding, Written, token_end, token_ends

TEXTS = ["### Step 1: the first digit is 3. 图像 π ≈ 3", "“So” 🙂 it’s — 42。\n### Step 2:\nis 3"] * 20
SPECIAL = ["<|im_end|>", "<|image_pad|>"]


def trained(tokenizer: Tokenizer, trainer: Any) -> Tokenizer:
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.add_tokens(["<tool_call>", "é图"])
    return tokenizer


def byte_level(size: int) -> Tokenizer:
    """As Qwen's: bytes, some of which are merged with the begin of a character of several."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    return trained(tokenizer, trainer)


def metaspace() -> Tokenizer:
    """As Llama's: a space is a character of its own, the first one is no text, and bytes stand for what is unknown."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<unk>"], initial_alphabet=[*"ab3#. "], show_progress=False
    )
    tokenizer = trained(tokenizer, trainer)
    tokenizer.add_tokens(bytes_)
    return tokenizer


def word_piece() -> Tokenizer:
    """As BERT's: one more token changes what stands before it."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(cleanup=True)
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False)
    return trained(tokenizer, trainer)


TOKENIZERS = {
    "bytes": PreTrainedTokenizerFast(tokenizer_object=byte_level(260)),
    "byte pairs": PreTrainedTokenizerFast(tokenizer_object=byte_level(340)),
    "metaspace": PreTrainedTokenizerFast(tokenizer_object=metaspace()),
    "word pieces": PreTrainedTokenizerFast(tokenizer_object=word_piece()),
}


def slowly(decoding: Decoding, ids: Sequence[int], text: str, ends: Sequence[int]) -> list[int]:
    return [token_end(decoding.decode, ids, text, end) for end in ends]


@pytest.mark.parametrize("name", TOKENIZERS)
class TestOnePass:
    @given(
        text=st.text(alphabet="ab 3#\n.'π≈图像🙂é“”—\u200d\ufffd", max_size=60),
        special=st.lists(st.tuples(st.integers(0, 60), st.sampled_from(SPECIAL)), max_size=3),
    )
    def test_it_finds_what_the_search_over_whole_prefixes_finds(
        self, name: str, text: str, special: list[tuple[int, str]]
    ) -> None:
        for place, token in special:
            text = text[:place] + token + text[place:]
        self.compare(name, TOKENIZERS[name].backend_tokenizer.encode(text).ids)

    @given(data=st.data())
    def test_also_for_tokens_that_make_no_text_or_half_a_character(
        self, name: str, data: st.DataObject
    ) -> None:
        most = len(TOKENIZERS[name]) + 2  # two that no token has
        self.compare(name, data.draw(st.lists(st.integers(0, most), max_size=40)))

    def test_bytes_that_never_become_a_character(self, name: str) -> None:
        self.compare(name, [0] * 8 + [102, 296, 230])

    @staticmethod
    def compare(name: str, ids: list[int]) -> None:
        decoding = Decoding.of(TOKENIZERS[name])
        text = decoding.decode(ids)
        every = list(range(len(text) + 1))
        TestOnePass.agree(decoding, ids, text, every)
        for end in every[-3:]:  # a pass that stops earlier
            TestOnePass.agree(decoding, ids, text, [end])

    @staticmethod
    def agree(decoding: Decoding, ids: list[int], text: str, ends: list[int]) -> None:
        """Both give the fewest tokens that cover the text; the search halves, and may miss fewer among half characters.

        There a longer prefix may cover less than a shorter one: a byte more turns a replacement character into none.
        """
        pairs = zip(
            ends, token_ends(decoding, ids, text, ends), slowly(decoding, ids, text, ends), strict=True
        )
        for end, n, searched in pairs:
            is_fewer = n < searched and decoding.decode(ids[:n]).startswith(text[:end])
            assert n == searched or is_fewer, (end, n, searched)


@given(st.text(alphabet="ab 3#\nπ≈图像🙂é", max_size=60), st.data())
def test_the_tokens_before_the_end_cover_the_text_and_one_fewer_does_not(
    text: str, data: st.DataObject
) -> None:
    decoding = Decoding.of(TOKENIZERS["byte pairs"])
    ids = TOKENIZERS["byte pairs"].backend_tokenizer.encode(text).ids
    char_end = data.draw(st.integers(0, len(text)))
    (n,) = token_ends(decoding, ids, text, [char_end])
    assert decoding.decode(ids[:n]).startswith(text[:char_end])
    assert n == 0 or not decoding.decode(ids[: n - 1]).startswith(text[:char_end])


def test_a_character_of_several_tokens_belongs_to_the_one_that_completes_it() -> None:
    text, decoding = "a🙂b", Decoding.of(TOKENIZERS["bytes"])
    ids = TOKENIZERS["bytes"].backend_tokenizer.encode(text).ids
    assert len(ids) == 6
    assert token_ends(decoding, ids, text, [0, 1, 2, 3]) == [0, 1, 5, 6]


@pytest.mark.parametrize("text", ["", "abc"])
def test_the_whole_text_needs_all_tokens(text: str) -> None:
    ids = TOKENIZERS["bytes"].backend_tokenizer.encode(text).ids
    assert token_ends(Decoding.of(TOKENIZERS["bytes"]), ids, text, [len(text)]) == [len(ids)]


def long_response() -> tuple[list[int], str, list[int]]:
    """Return the tokens of about 4,700 characters in 20 steps, their text and where the steps end."""
    text = "".join(f"### Step {i}:\n{'The digit is 3, 图像 π ≈ “3” 🙂. ' * 8}\n" for i in range(1, 21))
    ids = TOKENIZERS["byte pairs"].backend_tokenizer.encode(text).ids
    ends = [*(match.start() for match in re.finditer(r"(?<=\n)### Step", text)), len(text)]
    return ids, text, ends


def test_a_long_response_is_gone_through_once() -> None:
    ids, text, ends = long_response()
    decoding, decoded = Decoding.of(TOKENIZERS["byte pairs"]), itertools.count()

    def counting(token_ids: Sequence[int]) -> str:
        assert len(token_ids) <= MAX_WITHHELD + 1  # no more than one character's
        next(decoded)
        return decoding.decode(token_ids)

    fast = token_ends(Decoding(counting, decoding.backend, decoding.special), ids, text, ends)
    assert fast == slowly(decoding, ids, text, ends)
    assert next(decoded) <= 5 * len(ends)


def test_a_tokenizer_without_such_a_decoder_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Decoding.of(TOKENIZERS["byte pairs"])
    in_python = type("InPython", (), {"decode": staticmethod(TOKENIZERS["byte pairs"].decode)})()
    slow = Decoding.of(in_python)
    assert slow.backend is None
    ids, text, ends = long_response()
    searched: list[int] = []
    monkeypatch.setattr(module, "token_end", lambda *given: searched.append(given[3]) or token_end(*given))
    assert token_ends(slow, ids, text, ends) == token_ends(fast, ids, text, ends)
    assert set(ends) <= set(searched)


@given(st.lists(st.text(alphabet="ab\n图🙂", max_size=8), max_size=4), st.data())
def test_ends_in_several_turns_are_places_in_the_whole_response(
    texts: list[str], data: st.DataObject
) -> None:
    tokenizer = TOKENIZERS["byte pairs"]
    ids: list[int] = []
    spans = []
    for text in texts:
        ids += tokenizer.backend_tokenizer.encode("tool ").ids  # what the model did not write
        own = tokenizer.backend_tokenizer.encode(text).ids
        spans.append([len(ids), len(ids) + len(own)])
        ids += own
    written = Written.of(Decoding.of(tokenizer), ids, spans)
    assert written.text == "\n".join(texts)
    ends = sorted(data.draw(st.lists(st.integers(0, len(written.text)), max_size=5)))
    assert written.token_ends(ends) == [in_its_turn(written, end) for end in ends]


def in_its_turn(written: Written, char_end: int) -> int:
    """Return the end of one place: in the first turn that reaches to it; a break between turns is the one's before."""
    offset = 0
    for turn in written.turns:
        if char_end <= offset + len(turn.text) + 1:
            return turn.start + token_end(
                written.decoding.decode, turn.token_ids, turn.text, char_end - offset
            )
        offset += len(turn.text) + 1
    return 0


def test_the_benchmark_compares_the_two_ways_on_equal_ends() -> None:
    import token_ends as benchmark

    decoding = Decoding.of(TOKENIZERS["byte pairs"])
    row = benchmark.row(
        3, decoding, lambda text: TOKENIZERS["byte pairs"].backend_tokenizer.encode(text).ids, Random(0)
    )
    cells = [float(cell.replace(",", "")) for cell in row.strip("| ").split("|")]
    assert cells[1] == 3
    assert cells[4] > 2 * cells[3]  # the search, beside the pass
