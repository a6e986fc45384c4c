"""Count a prompt's tokens as verl's own dataset does: by the model's processor, image tokens included."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from verl_stepgrpo.data.prompts.images import parts, scaled
from verl_stepgrpo.data.prompts.marks import TOKENS
from verl_stepgrpo.data.prompts.pretrained import load
from verl_stepgrpo.data.prompts.text import IMAGE_MARK
from verl_stepgrpo.errors import ConfigError

PromptLength = Callable[[list[dict[str, Any]], list[dict[str, Any]]], int]
"""Number of tokens of a prompt: its messages and its images, both as verl's rows have them."""


def check_prompt_limit(max_prompt_length: int | None, model: str | None) -> None:
    """Raise ConfigError where prompts have a longest length and no model that their tokens are counted for."""
    if max_prompt_length is not None and model is None:
        raise ConfigError("--max-prompt-length needs --model: its processor counts the tokens.")


@functools.lru_cache(maxsize=1)
def _processor_of(model: str) -> Any:
    from transformers import AutoProcessor

    try:
        return load(AutoProcessor, model)
    except ConfigError as error:
        raise ConfigError(f"--model={model}: its processor cannot be loaded: {error}") from error


def special_tokens_of(model: str | None) -> frozenset[str]:
    """Return the texts that a processor takes for an image or the end of a turn; with a model also those of its own.

    Raises:
        ConfigError: The model's processor cannot be loaded.
    """
    if model is None:
        return TOKENS
    processor = _processor_of(model)
    own = [getattr(processor, f"{kind}_token", None) for kind in ("image", "video", "audio")]
    own += getattr(processor, "tokenizer", processor).all_special_tokens
    # A mark that is its processor's token too is put into the text by verl.
    return TOKENS | {token for token in own if token and token != IMAGE_MARK}


def prompt_length_of(model: str) -> PromptLength:
    """Return what counts the tokens of prompts for a model (a folder or a name); loaded once a process.

    Raises:
        ConfigError: The model's processor cannot be loaded.
    """
    processor = _processor_of(model)
    # A model of text alone has a tokenizer in its place.
    tokenizer = getattr(processor, "tokenizer", processor)
    image_processor = getattr(processor, "image_processor", None)

    def prompt_length(messages: list[dict[str, Any]], images: list[dict[str, Any]]) -> int:
        turns = [
            {"role": m["role"], "content": parts(m["content"]) if images else m["content"]} for m in messages
        ]
        text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        if not images:
            return len(tokenizer(text, add_special_tokens=False)["input_ids"])
        if image_processor is None:
            raise ConfigError(f"--model={model} reads no images, and the data has some.")
        opened = [scaled(image, patch_size=image_processor.patch_size) for image in images]
        return len(processor(text=[text], images=opened)["input_ids"][0])

    return prompt_length
