"""Images of a row and their places in the prompt, as verl's own dataset reads them."""

from __future__ import annotations

import io
import re
from typing import Any

from PIL import Image

from verl_stepgrpo.data.prompts import IMAGE_MARK

_MARK = re.compile(f"({re.escape(IMAGE_MARK)})")


def parts(content: str) -> list[dict[str, str]]:
    """Return the parts of a message: ``{"type": "image"}`` for each mark, ``{"type": "text", ...}`` between them."""
    pieces = _MARK.split(content)
    return [{"type": "image"} if p == IMAGE_MARK else {"type": "text", "text": p} for p in pieces if p]


def scaled(image: dict[str, Any], *, patch_size: int) -> Image.Image:
    """Return an image of a row as a model sees it in verl: within its bounds, in whole patches.

    Args:
        image: ``bytes``, or a path or URL as ``image``, and maybe ``min_pixels`` and ``max_pixels``.
        patch_size: The image processor's, in pixels.
    """
    from qwen_vl_utils import fetch_image

    source = {"image": Image.open(io.BytesIO(image["bytes"]))} if image.get("bytes") else {}
    rest = {key: value for key, value in image.items() if key != "bytes" and value is not None}
    return fetch_image(rest | source, image_patch_size=patch_size)
