"""Make messages for a chat server of rows of verl's RL file, with images as training shows them, or as they are."""

from __future__ import annotations

import base64
import io
from typing import Any

from verl_stepgrpo.data.prompts.images import is_url, opened, parts, scaled, seen
from verl_stepgrpo.data.prompts.pretrained import load
from verl_stepgrpo.data.rows.read import RLRow
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

    Args:
        question: A row.
        patch_size: What images are scaled by; None leaves them as they are.

    Raises:
        DataError: An image cannot be opened.
    """
    if not question.images:
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


def _image_part(question: RLRow, image: dict[str, Any], patch_size: int | None) -> dict[str, Any]:
    if patch_size is None and is_url(image):
        return {"type": "image_url", "image_url": {"url": image["image"]}}
    content = io.BytesIO()
    try:
        shown = seen(opened(image), image) if patch_size is None else scaled(image, patch_size=patch_size)
        shown.save(content, format="PNG")
    except DataError as error:
        raise DataError(f"row {question.row}: {error}") from None
    encoded = base64.b64encode(content.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}
