"""The images of the groups that a report shows, small, as data URIs. Reads verl's parquet; asks no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from verl_stepgrpo.data.index import traced
from verl_stepgrpo.data.parquet import open_rl_parquet
from verl_stepgrpo.report.collect import Question

MAX_SIDE = 512
"""Longer side of an image in the report, in pixels; a larger one is scaled down."""

LOSSLESS_PIXELS = 128 * 128
"""Up to here an image is kept pixel by pixel: drawings and glyphs this small suffer from compression."""

READ_AT_ONCE = 64
"""Rows of a parquet file in memory, with their images."""


@dataclass
class Images:
    """Images, each once.

    Attributes:
        uris: The images.
        troubles: What was not found or could not be opened, one sentence each.
    """

    uris: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def add(self, files: Sequence[Path], wanted: Mapping[Question, str]) -> dict[Question, list[int]]:
        """Add the images of questions from ``files``, and return their places in ``uris``.

        Args:
            files: verl's parquet.
            wanted: The questions, with their reference answers.

        Raises:
            DataError: A file is not verl's parquet.
        """
        left, places = dict(wanted), {}
        for file in files:
            for number, row in _rows(file):
                question = _question(row)
                if question in left:
                    places[question] = self._add_row(f"{file}, row {number}", row, left.pop(question))
        if left and files:
            self.troubles.append(f"{len(left)} questions have no row in {', '.join(map(str, files))}")
        return places

    def _add_row(self, place: str, row: Mapping[str, Any], truth: str) -> list[int]:
        stated = str((row.get("reward_model") or {}).get("ground_truth"))
        if stated != truth:
            self.troubles.append(
                f"{place}: its answer is {stated!r:.40}, the trace's {truth!r:.40}; is it the run's file?"
            )
            return []
        places = []
        for image in row.get("images") or ():
            try:
                uri = thumbnail(image)
            except (OSError, ValueError, Image.DecompressionBombError) as error:
                self.troubles.append(f"{place}: an image cannot be opened: {error}")
            else:
                places.append(self._places.setdefault(uri, len(self._places)))
                self.uris += [uri] * (len(self._places) - len(self.uris))
        return places


def thumbnail(image: Mapping[str, Any]) -> str:
    """Return an image of a row (``bytes``, or a path as ``image``) as a data URI, at most ``MAX_SIDE`` pixels long.

    Raises:
        OSError, ValueError: It cannot be opened, or is somewhere else than on this machine.
    """
    with Image.open(_source(image)) as opened:
        small = ImageOps.exif_transpose(opened).convert("RGBA")
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    # White behind what is transparent, as verl's reader of images has it.
    small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
    content = io.BytesIO()
    small.save(content, format="WEBP", lossless=small.width * small.height <= LOSSLESS_PIXELS, quality=80)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"


def _source(image: Mapping[str, Any]) -> io.BytesIO | str:
    if image.get("bytes"):
        return io.BytesIO(image["bytes"])
    path = str(image.get("image") or image.get("path")).removeprefix("file://")
    if "://" in path or path.startswith("data:"):
        raise ValueError(f"{path:.60} is not a file")
    return path


def _question(row: Mapping[str, Any]) -> Question:
    source = row.get("data_source")
    return None if source is None else str(source), traced((row.get("extra_info") or {}).get("index"))


def _rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    parquet = open_rl_parquet(file)
    needed = ("data_source", "reward_model", "extra_info", "images")
    columns = [name for name in needed if name in parquet.schema_arrow.names]
    number = 0
    for batch in parquet.iter_batches(batch_size=READ_AT_ONCE, columns=columns):
        for row in batch.to_pylist():
            yield number, row
            number += 1
