"""Read verl's RL parquet as questions for a chat server, with images as training shows them."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verl_stepgrpo.data.images import parts, scaled
from verl_stepgrpo.data.index import traced
from verl_stepgrpo.data.parquet import open_rl_parquet
from verl_stepgrpo.data.pretrained import load
from verl_stepgrpo.errors import ConfigError, DataError
from verl_stepgrpo.key_steps import KeyStep, parse_key_steps
from verl_stepgrpo.rewards import check_ground_truth

READ_AT_ONCE = 64
"""Rows; with their images they are the most that is held in memory beside those being asked."""


@dataclass(frozen=True)
class Question:
    """One row of the parquet.

    Attributes:
        row: Its place in the file, counted from 0.
        messages: The prompt; text, with ``<image>`` for each image.
        images: As the row has them.
        ground_truth: The reference answer.
        key_steps: The reference's key steps.
        index: ``extra_info.index`` as a trace has it, or None.
        data_source: verl's name of the dataset, or None.
    """

    row: int
    messages: list[dict[str, Any]]
    images: list[dict[str, Any]]
    ground_truth: str
    key_steps: tuple[KeyStep, ...]
    index: Any = None
    data_source: str | None = None

    @property
    def text(self) -> str:
        """The prompt as one text."""
        return "".join(message["content"] for message in self.messages)


def read_questions(file: Path) -> Iterator[Question]:
    """Yield the questions of a parquet file.

    Raises:
        DataError: The file cannot be read, has no rows or is the warm-up's, or a row cannot be asked or scored.
    """
    number = 0
    for batch in open_rl_parquet(file).iter_batches(batch_size=READ_AT_ONCE):
        for row in batch.to_pylist():
            try:
                yield question_of(number, row)
            except DataError as error:
                raise DataError(f"{file}, row {number}: {error}") from None
            number += 1


def n_rows(file: Path) -> int:
    """Return how many questions a file has. Raises DataError as ``read_questions`` does."""
    return int(open_rl_parquet(file).metadata.num_rows)


def check_file(file: Path) -> None:
    """Raise DataError where ``read_questions`` can read no question of a file."""
    next(read_questions(file))


def question_of(number: int, row: Mapping[str, Any]) -> Question:
    """Return the question that a row holds.

    Raises:
        DataError: A value is missing or of a wrong type, or there are more or fewer images than marks.
    """
    messages, images = row.get("prompt"), row.get("images") or []
    if not isinstance(messages, list) or not all(isinstance(m.get("content"), str) for m in messages):
        raise DataError(f"prompt is {messages!r:.60}; expected a list of chat messages with role and content")
    marks = sum(part["type"] == "image" for message in messages for part in parts(message["content"]))
    if marks != len(images):
        raise DataError(f"the prompt has {marks} <image> marks for {len(images)} images")
    extra_info = row.get("extra_info") or {}
    return Question(
        row=number,
        messages=messages,
        images=images,
        ground_truth=check_ground_truth((row.get("reward_model") or {}).get("ground_truth")),
        key_steps=parse_key_steps(extra_info.get("key_steps")),
        index=traced(extra_info.get("index")),
        data_source=row.get("data_source"),
    )


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


def chat_messages(question: Question, patch_size: int | None) -> list[dict[str, Any]]:
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


def _image_part(question: Question, image: dict[str, Any], patch_size: int) -> dict[str, Any]:
    content = io.BytesIO()
    try:
        scaled(image, patch_size=patch_size).save(content, format="PNG")
    except (OSError, ValueError) as error:
        raise DataError(f"row {question.row}: an image cannot be opened: {error}") from None
    encoded = base64.b64encode(content.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{encoded}"}}
