"""Tiny models with random weights, of the architectures that the recipes train."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import transformers

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples" / "digits"))

from build_model import CHAT_TEMPLATE, ROPE, SPECIAL_TOKENS, build_tokenizer, texts_of_digits  # noqa: E402

VISION = {"depth": 2, "num_heads": 4}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "Qwen2VL": ("Qwen2VL", VISION | {"embed_dim": 64, "hidden_size": 128, "mlp_ratio": 2}),
    "Qwen2_5_VL": (
        "Qwen2VL",
        VISION
        | {"hidden_size": 64, "out_hidden_size": 128, "intermediate_size": 128, "fullatt_block_indexes": [1]},
    ),
    "Qwen3VL": (
        "Qwen2VL",
        VISION
        | {
            "hidden_size": 64,
            "out_hidden_size": 128,
            "intermediate_size": 128,
            "deepstack_visual_indexes": [0],
            "num_position_embeddings": 64,
        },
    ),
}
"""By transformers' prefix: the prefix of its image processor, and the settings of the vision tower."""


def build(architecture: str, folder: Path) -> None:
    """Write a model of 0.5 to 1 million parameters, and its processor, into ``folder``."""
    image_prefix, vision = ARCHITECTURES[architecture]
    tokenizer = build_tokenizer(texts_of_digits(2))
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
        "bos_token_id": None,
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "rope_parameters": ROPE,
    }
    if architecture == "Qwen3VL":
        text |= {
            "head_dim": 32,
            "rope_parameters": {**ROPE, "mrope_section": [8, 4, 4], "mrope_interleaved": True},
        }
    config = getattr(transformers, f"{architecture}Config")(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = getattr(transformers, f"{architecture}ForConditionalGeneration")(config)
    _say_text_only(model, tokenizer)
    model.generation_config.eos_token_id = [ids["<|im_end|>"], ids["<|endoftext|>"]]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    model.save_pretrained(folder)
    processor(architecture, image_prefix, tokenizer).save_pretrained(folder)


def _say_text_only(model: Any, tokenizer: Any) -> None:
    """Make an untrained model write tokens that are text by themselves, so that what it writes can be compared.

    Of single bytes of a character, and of tokens that end a response, nothing is left in a response's text.
    """
    said = [tokenizer.decode([i], skip_special_tokens=True) for i in range(len(tokenizer))]
    unreadable = [i for i, text in enumerate(said) if not text.isascii() or not text.strip()]
    with torch.no_grad():
        # Embeddings are tied: the logit of such a row is 0, and of hundreds of others one is above.
        model.get_input_embeddings().weight[unreadable] = 0.0


def processor(architecture: str, image_prefix: str, tokenizer: Any) -> Any:
    patch_size = 16 if architecture == "Qwen3VL" else 14
    size = {"shortest_edge": (2 * patch_size) ** 2, "longest_edge": 64 * (2 * patch_size) ** 2}
    video = "Qwen3VL" if architecture == "Qwen3VL" else "Qwen2VL"
    return getattr(transformers, f"{architecture}Processor")(
        image_processor=getattr(transformers, f"{image_prefix}ImageProcessor")(
            size=size, patch_size=patch_size
        ),
        tokenizer=tokenizer,
        video_processor=getattr(transformers, f"{video}VideoProcessor")(size=size, patch_size=patch_size),
        chat_template=CHAT_TEMPLATE,
    )


def warm_up(folder: Path, examples: list[tuple[str, Any, str]], *, steps: int = 120) -> None:
    """Train the model in ``folder`` on (question, image or None, response), so that what it writes earns something."""
    reader = transformers.AutoProcessor.from_pretrained(folder)
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    images = [[image] for _, image, _ in examples if image is not None]
    texts = []
    for question, image, response in examples:
        asked = [{"type": "image"}] * (image is not None) + [{"type": "text", "text": question}]
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": response}]
        texts.append(reader.apply_chat_template(messages, tokenize=False))
    batch = reader(text=texts, images=images or None, padding=True, padding_side="right", return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
