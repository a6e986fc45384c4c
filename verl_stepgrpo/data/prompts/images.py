"""Images of a row and their places in the prompt, as verl's own datasets read them, and as a viewer shows them.

What is said of verl is of 0.9.1 with qwen_vl_utils. ``scaled`` fetches what a URL names; nothing else asks a network.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from verl_stepgrpo.data.prompts.text import IMAGE_MARK
from verl_stepgrpo.errors import DataError

MAX_RATIO = 200
"""qwen_vl_utils refuses an image one of whose sides is more than this many times the other."""

BY_DATASETS = "by_datasets"
"""Set in an image of a row that ``datasets`` decodes for verl: turned upright, its transparency forgotten."""

_KINDS = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp", b"BM": "bmp"}
"""Kinds of images by how their files begin; Pillow looks at the bytes, and a reader of the URL at this."""
_MARK = re.compile(f"({re.escape(IMAGE_MARK)})")
_SHOWN_CHARS = 60
_ALPHA_MODES = frozenset({"RGBA", "LA", "PA"})
_SURE_MODES = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}) | _ALPHA_MODES
"""Pillow's modes that a model is shown as they are, unless something in the image is transparent."""


def parts(content: str) -> list[dict[str, str]]:
    """Return the parts of a message: ``{"type": "image"}`` for each mark, ``{"type": "text", ...}`` between them."""
    pieces = _MARK.split(content)
    return [{"type": "image"} if p == IMAGE_MARK else {"type": "text", "text": p} for p in pieces if p]


def scaled(image: Mapping[str, Any], *, patch_size: int) -> Image.Image:
    """Return an image of a row as a model sees it in verl: within its bounds, in whole patches.

    Args:
        image: ``bytes``, or a path or URL as ``image``, and maybe ``min_pixels`` and ``max_pixels``.
        patch_size: The image processor's, in pixels.

    Raises:
        DataError: It cannot be opened or scaled.
    """
    from qwen_vl_utils import fetch_image

    bounds = {key: image[key] for key in ("min_pixels", "max_pixels") if image.get(key) is not None}
    source = image["image"] if is_url(image) else seen(opened(image), image)
    try:
        return fetch_image({"image": source} | bounds, image_patch_size=patch_size)
    except Exception as error:  # requests', Pillow's and its own have no common type
        raise DataError(f"{name_of(image)} cannot be scaled: {type(error).__name__}: {error}") from error


def opened(image: Mapping[str, Any]) -> Image.Image:
    """Return an image of a row that is no URL, decoded whole.

    Raises:
        DataError: There is none, or it cannot be decoded; the message is a sentence that names it.
    """
    try:
        return decoded(_content(image))
    except OSError as error:
        raise DataError(f"{name_of(image)} cannot be opened: {error.strerror or error}") from error
    except DataError as error:
        raise DataError(f"{name_of(image)} cannot be opened: {error}") from error


def decoded(content: bytes) -> Image.Image:
    """Return the image that the bytes of a file hold, decoded whole.

    Raises:
        DataError: It cannot be decoded.
    """
    if not content:
        raise DataError("it is empty")
    try:
        image = Image.open(io.BytesIO(content))
        image.load()
    except UnidentifiedImageError:
        raise DataError(f"it is of no format that is known; it begins with {content[:16]!r}") from None
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
        raise DataError(f"{type(error).__name__}: {error}") from error
    return image


def seen(image: Image.Image, entry: Mapping[str, Any] | None = None) -> Image.Image:
    """Return an opened image as a model is shown it, but for its size: in RGB.

    Args:
        image: The image.
        entry: Where it stands in the row, which says how it is decoded.

    Raises:
        DataError: It has a shape or colours that verl refuses.
    """
    _check_shape(image)
    if (entry or {}).get(BY_DATASETS):
        image = ImageOps.exif_transpose(image)
    elif image.mode == "RGBA":
        return _on_white(image)
    try:
        return image.convert("RGB")
    except ValueError as error:
        raise DataError(f"its colours cannot be read: {error}") from None


class Mended(NamedTuple):
    """An image as a viewer shows it, and why a model would see another one."""

    image: Image.Image
    why: str


def mended(image: Image.Image, entry: Mapping[str, Any] | None = None) -> Mended | None:
    """Return an opened image as a viewer shows it, or None where a model is shown the same.

    A viewer turns an image as its EXIF data say, has white behind what is transparent, and shows 16 bits of grey as 8.

    Raises:
        DataError: verl refuses the image, or nobody can tell how it is meant.
    """
    _check_shape(image)
    turned = image.getexif().get(ExifTags.Base.Orientation, 1) not in (0, 1)
    transparent = _is_transparent(image)
    if image.mode in _SURE_MODES and not turned and not transparent:
        return None
    model_sees, viewer_sees = seen(image, entry), _shown(image, transparent=transparent)
    if viewer_sees.size == model_sees.size and viewer_sees.tobytes() == model_sees.tobytes():
        return None
    if turned and not (entry or {}).get(BY_DATASETS):
        why = "its EXIF data turn it, which training does not"
    else:
        why = "training forgets its transparency" if transparent else "it has more than 8 bits a channel"
    return Mended(viewer_sees, why)


def encoded(image: Image.Image, like: str | None) -> bytes:
    """Return an RGB image as a file's bytes: a JPEG where ``like``, Pillow's name of a format, is one, else a PNG."""
    content = io.BytesIO()
    if like in ("JPEG", "MPO"):
        image.save(content, format="JPEG", quality=95)
    else:
        image.save(content, format="PNG")
    return content.getvalue()


def is_url(image: Mapping[str, Any]) -> bool:
    """Return whether an image of a row is fetched from elsewhere whenever it is read."""
    return not image.get("bytes") and str(image.get("image")).startswith(("http://", "https://"))


def name_of(image: Mapping[str, Any]) -> str:
    """Return what to call an image of a row in a message: short, whatever it holds."""
    if image.get("bytes") is not None:
        return "an image"
    source = str(image.get("image"))
    return f"{source[:_SHOWN_CHARS]}..." if _is_data(source) and len(source) > _SHOWN_CHARS else source


def content_of(source: str) -> bytes:
    """Return the bytes of a path, a ``file://`` path or a data URL, as qwen_vl_utils reads them.

    Raises:
        OSError: It cannot be read.
        DataError: It is a data URL that holds no base64.
    """
    if _is_data(source):
        try:
            return base64.b64decode(source.partition("base64,")[2])
        except ValueError as error:
            raise DataError(f"it is no base64: {error}") from None
    return Path(source.removeprefix("file://")).read_bytes()


def data_url(content: bytes) -> str:
    """Return the bytes of an image's file as a data URL, which ``content_of`` reads again."""
    kind = next((name for begin, name in _KINDS.items() if content.startswith(begin)), "x-unknown")
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _check_shape(image: Image.Image) -> None:
    width, height = image.size
    if max(width, height) > MAX_RATIO * min(width, height):
        raise DataError(
            f"it has {width} x {height} pixels, and verl refuses an image one of whose sides is more than {MAX_RATIO} "
            "times the other"
        )


def _is_transparent(image: Image.Image) -> bool:
    if image.mode in _ALPHA_MODES:
        return image.getchannel("A").getextrema() != (255, 255)
    return "transparency" in image.info


def _is_data(source: str) -> bool:
    return source.startswith("data:image")


def _content(image: Mapping[str, Any]) -> bytes:
    content = image.get("bytes")
    return content if content is not None else content_of(str(image["image"]))


def _shown(image: Image.Image, *, transparent: bool) -> Image.Image:
    image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        image = _with_8_bits(image)
    if not transparent:
        return image.convert("RGB")
    image = image.convert("RGBA")
    shown = _on_white(image)
    low, high = image.getchannel("A").getextrema()
    if low != high and shown.getcolors(maxcolors=1) is not None:
        raise DataError(
            "what it shows is white, on what is transparent, and white stands behind that: nothing is to be seen. Save "
            "it on the background that is meant"
        )
    return shown


def _with_8_bits(image: Image.Image) -> Image.Image:
    """Return an image of numbers as grey. One whose numbers all are below 256 has 8 bits already."""
    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
        raise DataError(
            f"its pixels are numbers from {values.min():g} to {values.max():g} (mode {image.mode}), and nobody can "
            "tell which is white: save it with 8 bits a channel"
        )
    return Image.fromarray((values // (1 if values.max() <= 0xFF else 257)).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    """Return an RGBA image on white, to the bit as qwen_vl_utils has it."""
    white = Image.new("RGB", image.size, (255, 255, 255))
    white.paste(image, mask=image.getchannel("A"))
    return white
