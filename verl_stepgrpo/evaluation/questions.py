"""Make messages for a chat server of rows of verl's RL file, with images as training shows them."""

from __future__ import annotations

import base64
import io
from typing import Any

from verl_stepgrpo.data.images import parts, scaled
from verl_stepgrpo.data.pretrained import load
from verl_stepgrpo.data.rl_rows import RLRow
from verl_stepgrpo.errors import ConfigError, DataError


def patch_size_of(model: str) -> int:
    """Return the patch size of a model's image processor, in pixels.

    Raises:
        ConfigError: ``model`` (a folder or a name) has no image processor that can be loaded.
    """
    from transformers import AutoImageProcessor

    try:
        return load(AutoImageProcessor, model).patch_size
    except (ConfigError, AttributeError) as error:
        raise ConfigError(
            f"{model!r} has no image processor, which says how images are scaled: {error}. Name the folder "
            "or the hub's name of the model that is served: --processor."
        ) from error


def chat_messages(question: RLRow, patch_size: int | None) -> list[dict[str, Any]]:
    """Return the messages for an OpenAI-compatible server, images inline.

    Raises:
        DataError: An image cannot be opened.
    """
    if not question.images or patch_size is None:
        return question.messages
    images = iter(question.images)
    return [
        {
            "role": message["role"],
            "content": [
                part if part["type"] == "text" else _image_part(question, next(images), patch_size)
                for part in parts(message["content"])
            ],
        }
        for message in question.messages
    ]


def _image_part(question: RLRow, image: dict[str, Any], patch_size: int) -> dict[str, Any]:
    content = io.BytesIO()
    try:
        scaled(image, patch_size=patch_size).save(content, format="PNG")
    except DataError as error:
        raise DataError(f"row {question.row}: {error}") from None
    encoded = base64.b64encode(content.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}
