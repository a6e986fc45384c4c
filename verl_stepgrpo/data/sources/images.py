"""The images of a raw row: which of its keys hold them, and where its texts name them by number. Pure.

One key holds them (``image``, ``images``), or each has a column (``image_1`` to ``image_7``, as of MMMU). A text may
name them by number, in the columns' order or the list's: ``<image 1>`` in MMMU, ``<image1>`` in MATH-Vision.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from verl_stepgrpo.data.prompts.images import data_url
from verl_stepgrpo.data.prompts.text import IMAGE_MARK
from verl_stepgrpo.errors import DataError

IMAGES = ("image_path", "images", "image", "decoded_image")
"""The keys of which one holds all images. ``decoded_image`` is MathVista's and MATH-Vision's, beside a path."""

_COLUMN = re.compile(r"image_?([1-9]\d?)")
_NUMBERED = re.compile(r"<image[ _]?([1-9]\d?)>")
_BASE64 = re.compile(r"(?:/9j/|iVBORw0KGgo|R0lGOD|UklGR)[A-Za-z0-9+/\s]{60,}={0,2}\s*")
"""An image's bytes as base64 without more (R1-Onevision, the TSV files of VLMEvalKit), by how JPEG, PNG, GIF and WebP
begin."""


def image_keys(row: Mapping[str, Any]) -> list[str]:
    """Return the keys of a row that hold images, or would if another did not; the numbered ones where no other does."""
    return _single(row) or list(_columns(row).values())


def key_of_images(row: Mapping[str, Any]) -> str | None:
    """Return the one key that holds a row's images: of several the first with their bytes, else the first.

    None where there is none, or each image has a key of its own.
    """
    single = _single(row)
    return next((key for key in single if _has_bytes(row[key])), single[0] if single else None)


def images_beside(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each key whose images are not read, and the one that is; a path to what that one has the bytes of is."""
    read = key_of_images(row)
    for key in _single(row):
        if read and key != read and not (_has_bytes(row[read]) and isinstance(row[key], str)):
            yield key, read


def images_of_row(row: Mapping[str, Any]) -> dict[int, str]:
    """Return the images of a row by their numbers, each as a path, a URL, or a data URL of its bytes.

    Raises:
        DataError: One of its keys holds something else.
    """
    if key := key_of_images(row):
        value = row[key]
        listed = value if isinstance(value, list) else [value]
        return {number: _image(one, key) for number, one in enumerate(listed, start=1)}
    return {number: _image(row[key], key) for number, key in _columns(row).items()}


def in_place(texts: list[str], images: Mapping[int, str]) -> tuple[list[str], tuple[str, ...]]:
    """Return texts with verl's mark where they first name an image by its number, and the images in that order.

    Images that none of them names go before the first. Where an image is named again, its number stays as a word. Texts
    that name none by number, or that have verl's marks, are left as they are.

    Args:
        texts: In the order in which they stand in the prompt.
        images: By number.

    Raises:
        DataError: They name one that is not there.
    """
    wanted = [int(one[1]) for text in texts for one in _NUMBERED.finditer(text)]
    if not wanted or any(IMAGE_MARK in text for text in texts):
        return texts, tuple(images.values())
    if missing := sorted(set(wanted) - set(images)):
        raise DataError(
            f"it names <image {missing[0]}>, and has {', '.join(f'image {n}' for n in images) or 'no images'}"
        )
    first = [number for number in images if number not in wanted]
    seen: list[int] = []

    def mark(found: re.Match[str]) -> str:
        if (number := int(found[1])) in seen:
            return f"image {number}"
        seen.append(number)
        return IMAGE_MARK

    marked = [_NUMBERED.sub(mark, text) for text in texts]
    marked[0] = IMAGE_MARK * len(first) + marked[0]
    return marked, tuple(images[number] for number in [*first, *seen])


def _single(row: Mapping[str, Any]) -> list[str]:
    return [key for key in IMAGES if row.get(key)]


def _columns(row: Mapping[str, Any]) -> dict[int, str]:
    found = {int(mark[1]): key for key, value in row.items() if value and (mark := _COLUMN.fullmatch(key))}
    return dict(sorted(found.items()))


def _has_bytes(value: Any) -> bool:
    one = value[0] if isinstance(value, list) else value
    return isinstance(one, bytes) or (isinstance(one, Mapping) and bool(one.get("bytes")))


def _image(value: Any, key: str) -> str:
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path") or value.get("image") or value.get("image_url")
    if isinstance(value, bytes) and value:
        return data_url(value)
    if not isinstance(value, str) or not value:
        raise DataError(f"{key} is {value!r:.60}; expected a path, an image's bytes, or a list of them")
    return f"data:image/x-unknown;base64,{value}" if _BASE64.fullmatch(value) else value
