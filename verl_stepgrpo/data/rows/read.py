"""Read rows of verl's RL file as verl 0.9.1's own dataset does: the one place that takes such a row apart.

What that dataset refuses is refused here in a sentence. Opens no image. Not covered: videos and audio, which a row must
not have.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from verl_stepgrpo.data.prompts.images import BY_DATASETS
from verl_stepgrpo.data.prompts.marks import PLACEHOLDERS, wrong_in_prompt
from verl_stepgrpo.data.rows.index import traced
from verl_stepgrpo.data.rows.parquet import NEEDED, open_rl_parquet, rows_of
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.files import json_line
from verl_stepgrpo.judging.answers.options import choices_of
from verl_stepgrpo.judging.key_steps.reference import KeyStep, parse_key_steps, parse_visual_key_steps
from verl_stepgrpo.rewards import check_ground_truth

_BOUNDS = ("min_pixels", "max_pixels")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What the responses to a row are judged by, and what the row is called.

    Attributes:
        ground_truth: The reference answer.
        key_steps: The reference's key steps.
        visual_key_steps: Those of the image description.
        solution: ``extra_info.solution``, or None.
        index: ``extra_info.index``, or None.
        id: ``extra_info.id``, or None.
        data_source: verl's name of the dataset, or None.
        choices: The text of each of the question's choices by its letter, as far as the row has them.
    """

    ground_truth: str
    key_steps: tuple[KeyStep, ...]
    solution: str | None = None
    index: Any = None
    id: str | None = None
    data_source: str | None = None
    choices: Mapping[str, str] = field(default_factory=dict)
    visual_key_steps: tuple[KeyStep, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RLRow(Reference):
    """One row of the file.

    Attributes:
        row: Its place in the file, counted from 0.
        index: As a trace has it.
        messages: The prompt; text, with ``<image>`` for each image.
        images: Each with ``bytes``, or a path or URL as ``image``, and maybe ``min_pixels`` and ``max_pixels``.
    """

    row: int
    messages: list[dict[str, Any]]
    images: list[dict[str, Any]]

    @property
    def text(self) -> str:
        """The prompt as one text."""
        return text_of(self.messages)


def read_rows(file: Path) -> Iterator[RLRow]:
    """Yield the rows of a parquet file.

    Raises:
        DataError: The file cannot be read, has no rows or is the warm-up's, or verl or the reward refuses a row.
    """
    for number, row in raw_rows(file):
        try:
            yield row_of(number, row)
        except DataError as error:
            raise DataError(f"{file}, row {number}: {error}") from None


def n_rows(file: Path) -> int:
    """Return how many rows a file has. Raises DataError as ``read_rows`` does."""
    return int(open_rl_parquet(file).metadata.num_rows)


def raw_rows(file: Path, columns: Sequence[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each row's place in a parquet file, and what the file has in it (in these ``columns``, if it has them).

    Raises:
        DataError: The file cannot be read, has no rows, is the warm-up's or lacks a column that is needed.
    """
    parquet = open_rl_parquet(file, [name for name in NEEDED if columns is None or name in columns])
    decoded = _is_decoded_by_datasets(parquet)
    known = parquet.schema_arrow.names
    wanted = known if columns is None else [name for name in columns if name in known]
    for number, row in enumerate(rows_of(file, parquet, wanted)):
        if decoded and row.get("images"):
            row["images"] = [_as_datasets_decodes(image) for image in row["images"]]
        yield number, row


def row_of(number: int, row: Mapping[str, Any]) -> RLRow:
    """Return the row that stands at a place of a file.

    Raises:
        DataError: verl's dataset or the reward refuses it.
    """
    reference = reference_of(row)
    messages, images = prompt_of(row)
    if wrong := list(wrong_in_prompt(text_of(messages), len(images), PLACEHOLDERS)):
        raise DataError("; ".join(wrong))
    known = vars(reference) | {"index": traced(reference.index)}
    return RLRow(row=number, messages=messages, images=images, **known)


def reference_of(row: Mapping[str, Any]) -> Reference:
    """Return what responses to a row are judged by.

    Raises:
        DataError: The reference answer or the key steps are missing or of a wrong type.
    """
    extra_info = _mapping(row, "extra_info")
    solution, row_id = extra_info.get("solution"), extra_info.get("id")
    return Reference(
        ground_truth=check_ground_truth(_mapping(row, "reward_model").get("ground_truth")),
        key_steps=parse_key_steps(extra_info.get("key_steps")),
        solution=solution if isinstance(solution, str) else None,
        index=extra_info.get("index"),
        id=None if row_id is None else str(row_id),
        data_source=row.get("data_source"),
        choices=choices_of(extra_info, _texts_of(row.get("prompt"))),
        visual_key_steps=parse_visual_key_steps(
            extra_info.get("visual_key_steps"), extra_info.get("key_steps")
        ),
    )


def prompt_of(row: Mapping[str, Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the messages of a row, as texts, and its images; whether their marks fit is not looked at.

    Raises:
        DataError: A column is missing or of a type that verl's dataset refuses.
    """
    for column in ("videos", "audios"):
        if row.get(column):
            raise DataError(f"the row has {column}; rows with text and images alone can be read")
    messages, images = row.get("prompt"), row.get("images")
    if not (isinstance(messages, list) and messages and all(_is_message(m) for m in messages)):
        raise DataError(f"prompt is {messages!r:.60}; expected a list of chat messages with role and content")
    if not isinstance(images, (list, type(None))):
        raise DataError(f"images is {images!r:.60}; expected a list")
    if images and not all(isinstance(message["content"], str) for message in messages):
        raise DataError(
            "a message has its content in parts, and verl puts images into text alone: at <image>"
        )
    texts = [{**message, "content": _text(message["content"])} for message in messages]
    return texts, [image_of(image) for image in images or []]


def text_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the messages of a prompt as one text."""
    return "".join(message["content"] for message in messages)


def _mapping(row: Mapping[str, Any], column: str) -> Mapping[str, Any]:
    value = row.get(column) or {}
    if not isinstance(value, Mapping):
        raise DataError(f"{column} is {value!r:.60} ({type(value).__name__}); expected an object")
    return value


def _texts_of(prompt: Any) -> str:
    """Return the text of a prompt, as far as it is one; what is wrong with it is said where it is read."""
    messages = prompt if isinstance(prompt, list) else []
    contents = [message.get("content") for message in messages if isinstance(message, Mapping)]
    parts = [part for content in contents for part in (content if isinstance(content, list) else [content])]
    texts = (part.get("text") if isinstance(part, Mapping) else part for part in parts)
    return "".join(text for text in texts if isinstance(text, str))


def _is_message(message: Any) -> bool:
    is_object = isinstance(message, Mapping) and isinstance(message.get("role"), str)
    return is_object and isinstance(message.get("content"), (str, list))


def _text(content: str | list[Any]) -> str:
    if isinstance(content, str):
        return content
    for part in content:
        if not (
            isinstance(part, Mapping) and part.get("type") == "text" and isinstance(part.get("text"), str)
        ):
            raise DataError(
                f"a part of a message is {part!r:.60}; expected text, with <image> where one of the images goes"
            )
    return "".join(part["text"] for part in content)


def image_of(image: Any) -> dict[str, Any]:
    """Return an entry of the column ``images`` without what verl does not look at.

    Raises:
        DataError: verl's dataset does not take it.
    """
    if isinstance(image, str):
        return {"image": image}
    if not isinstance(image, Mapping):
        raise DataError(f"an image is {image!r:.60} ({type(image).__name__}); expected an object, or a path")
    kept = {key: image[key] for key in (*_BOUNDS, BY_DATASETS) if image.get(key) is not None}
    if "bytes" in image:
        if not isinstance(image["bytes"], bytes) or not image["bytes"]:
            raise DataError(
                f"an image has bytes={image['bytes']!r:.60}: verl opens them wherever the key stands, and no path then"
            )
        return {"bytes": image["bytes"], **kept}
    source = image.get("image", image.get("image_url"))
    if not isinstance(source, str) or not source:
        raise DataError(f"an image is {dict(image)!r:.60}; verl reads bytes, or a path or URL as image")
    return {"image": source, **kept}


def _is_decoded_by_datasets(parquet: pq.ParquetFile) -> bool:
    """Return whether the file says that its images are of datasets' own type, as one that it wrote does."""
    try:
        features = json_line(parquet.schema_arrow.metadata[b"huggingface"])["info"]["features"]
        images = features["images"]
        inner = images[0] if isinstance(images, list) else images.get("feature", images)
        return bool(inner.get("_type") == "Image")
    except (TypeError, KeyError, ValueError, AttributeError, IndexError):
        return False


def _as_datasets_decodes(image: Any) -> Any:
    """Return an image of such a file as verl's dataset gets it: of its bytes, or without any of its path."""
    if not isinstance(image, Mapping):
        return image
    if image.get("bytes") is None and isinstance(image.get("path"), str):
        return {"image": image["path"], BY_DATASETS: True}
    return {**image, BY_DATASETS: True}
