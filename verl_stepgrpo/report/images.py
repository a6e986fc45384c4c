"""The images of the groups that a report shows, small, as data URIs. Reads verl's parquet; asks no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from verl_stepgrpo.counts import counted
from verl_stepgrpo.data.prompts.images import is_url, name_of, opened
from verl_stepgrpo.data.rows.index import as_key, traced
from verl_stepgrpo.data.rows.read import image_of, raw_rows, reference_of
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.report.collect import Question

MAX_SIDE = 512
"""Longer side of an image in the report, in pixels; a larger one is scaled down."""

LOSSLESS_PIXELS = 128 * 128
"""Up to here an image is kept pixel by pixel: drawings and glyphs this small suffer from compression."""

COLUMNS = ("data_source", "reward_model", "extra_info", "images")
"""What is read of a row."""


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
            for number, row in raw_rows(file, COLUMNS):
                try:
                    reference = reference_of(row)
                except DataError:
                    continue  # training refuses it, so that no trace has it
                source = None if reference.data_source is None else str(reference.data_source)
                question = (source, as_key(traced(reference.index)))
                if question in left:
                    place, truth = f"{file}, row {number}", left.pop(question)
                    places[question] = self._add_row(place, row, reference.ground_truth, truth)
        if left and files:
            self.troubles.append(
                f"{counted(len(left), 'question has', 'questions have')} no row in {', '.join(map(str, files))}"
            )
        return places

    def _add_row(self, place: str, row: Mapping[str, Any], stated: str, truth: str) -> list[int]:
        if stated != truth:
            self.troubles.append(
                f"{place}: its answer is {stated!r:.40}, the trace's {truth!r:.40}; is it the run's file?"
            )
            return []
        places = []
        for image in row.get("images") or ():
            try:
                uri = thumbnail(image_of(image))
            except DataError as error:
                self.troubles.append(f"{place}: {error}")
            else:
                places.append(self._places.setdefault(uri, len(self._places)))
                self.uris += [uri] * (len(self._places) - len(self.uris))
        return places


def thumbnail(image: Mapping[str, Any]) -> str:
    """Return an image of a row (``bytes``, or a path as ``image``) as a data URI, at most ``MAX_SIDE`` pixels long.

    Raises:
        DataError: It cannot be opened, or is somewhere else than on this machine.
    """
    if is_url(image):
        raise DataError(f"{name_of(image)} is a URL, which is not fetched")
    small = ImageOps.exif_transpose(opened(image)).convert("RGBA")
    small.thumbnail((MAX_SIDE, MAX_SIDE))
    # White behind what is transparent, as verl's reader of images has it.
    small = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
    content = io.BytesIO()
    small.save(content, format="WEBP", lossless=small.width * small.height <= LOSSLESS_PIXELS, quality=80)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
