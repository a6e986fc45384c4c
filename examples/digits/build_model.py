"""Build a tiny Qwen2-VL (about 0.9 million parameters, random weights) with a tokenizer of its own.

The architecture is transformers' and vLLM's real Qwen2-VL, only small, so that everything a 2B model goes
through (processor, visual tokens, M-RoPE, weight sync to vLLM) is gone through here too.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from build_data import COUNTS, MIN_PIXELS, question, solution
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
VOCAB_SIZE = 400
# Qwen2's own pre-tokenisation; it splits numbers into single digits.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
INITIALIZER_RANGE = 0.08
"""Standard deviation of the random weights. transformers' 0.02 suits wide models; with it, a model 128 wide
takes several times as many steps to learn to look at the image."""
ROPE = {"rope_type": "default", "rope_theta": 100.0, "mrope_section": [2, 2, 12]}
"""M-RoPE of the text model. Two digits side by side differ in their column alone, and the column gets the
lowest frequencies: with Qwen2-VL's own theta and sections their positions would differ by under 0.01 rad."""
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def texts_of_digits(n_digits: int) -> list[str]:
    """Return texts that have all words and numbers of the task with ``n_digits`` digits."""
    return [*(solution(d) for d in itertools.product(range(10), repeat=n_digits)), question(n_digits)]


def build_tokenizer(texts: Sequence[str]) -> Qwen2Tokenizer:
    """Return a byte-level BPE tokenizer trained on ``texts``, questions and responses of a task."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator([*texts, "user\n", "assistant\n", "system\n"], trainer)
    model = json.loads(raw.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(pair) for pair in model["merges"]],
        unk_token="<|endoftext|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        bos_token=None,
        extra_special_tokens=SPECIAL_TOKENS,
        model_max_length=2048,
    )


def build_processor(tokenizer: Qwen2Tokenizer) -> Qwen2VLProcessor:
    size = {"shortest_edge": MIN_PIXELS, "longest_edge": 64 * MIN_PIXELS}
    return Qwen2VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(size=size),
        chat_template=CHAT_TEMPLATE,
    )


def build_model(tokenizer: Qwen2Tokenizer) -> Qwen2VLForConditionalGeneration:
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 128,
            "intermediate_size": 384,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 2048,
            "rope_parameters": ROPE,
            "tie_word_embeddings": True,
            "initializer_range": INITIALIZER_RANGE,
            "bos_token_id": None,
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 2,
            "embed_dim": 64,
            "hidden_size": 128,
            "num_heads": 4,
            "mlp_ratio": 2,
            "initializer_range": INITIALIZER_RANGE,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
        initializer_range=INITIALIZER_RANGE,
    )
    model = Qwen2VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = [ids["<|im_end|>"], ids["<|endoftext|>"]]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model


def save_model(folder: Path, texts: Sequence[str], seed: int) -> str:
    """Write an untrained model and its processor for the task of ``texts``, and return what it is in words."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer(texts)
    model = build_model(tokenizer)
    model.save_pretrained(folder)
    build_processor(tokenizer).save_pretrained(folder)
    n_parameters = sum(p.numel() for p in model.parameters())
    longest = max(len(tokenizer(text)["input_ids"]) for text in texts)
    return f"{n_parameters / 1e6:.2f}M parameters, vocabulary {len(tokenizer)}, a response has up to {longest} tokens"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--digits", type=int, default=2, choices=COUNTS, help="digits an image shows")
    args = parser.parse_args()

    print(save_model(args.out, texts_of_digits(args.digits), args.seed))


if __name__ == "__main__":
    main()
