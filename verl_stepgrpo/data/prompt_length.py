"""Count a prompt's tokens as verl's own dataset does: by the model's processor, image tokens included."""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable
from typing import Any

from PIL import Image

from verl_stepgrpo.data.sources import IMAGE_MARK
from verl_stepgrpo.errors import ConfigError

PromptLength = Callable[[list[dict[str, Any]], list[dict[str, Any]]], int]
"""Number of tokens of a prompt: its messages and its images, both as verl's rows have them."""


def check_prompt_limit(max_prompt_length: int | None, model: str | None) -> None:
    """Raise ConfigError where prompts have a longest length and no model that their tokens are counted for."""
    if max_prompt_length is not None and model is None:
        raise ConfigError("--max-prompt-length needs --model: its processor counts the tokens.")


@functools.lru_cache(maxsize=1)
def prompt_length_of(model: str) -> PromptLength:
    """Return what counts the tokens of prompts for a model (a folder or a name); loaded once a process."""
    from qwen_vl_utils import fetch_image
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(model)
    patch_size = processor.image_processor.patch_size

    def prompt_length(messages: list[dict[str, Any]], images: list[dict[str, Any]]) -> int:
        turns = [{"role": m["role"], "content": _parts(m["content"])} for m in messages]
        text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        if not images:
            return len(processor.tokenizer(text, add_special_tokens=False)["input_ids"])
        opened = [fetch_image(_openable(image), image_patch_size=patch_size) for image in images]
        return len(processor(text=[text], images=opened)["input_ids"][0])

    return prompt_length


def _parts(content: str) -> list[dict[str, str]]:
    pieces = re.split(f"({IMAGE_MARK})", content)
    return [{"type": "image"} if p == IMAGE_MARK else {"type": "text", "text": p} for p in pieces if p]


def _openable(image: dict[str, Any]) -> dict[str, Any]:
    """Return an image as qwen_vl_utils takes it: a path, or an opened picture in place of bytes."""
    opened = {"image": Image.open(io.BytesIO(image["bytes"]))} if "bytes" in image else {}
    return {key: value for key, value in image.items() if key != "bytes"} | opened
