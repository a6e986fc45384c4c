"""Make verl's rows of an item, and check that the item can be learned from. Opens images; needs no verl.

An item is checked against itself: its own solution has to score full marks, or no response to it could.
"""

from __future__ import annotations

import dataclasses
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from verl_stepgrpo.data.prompt_length import PromptLength
from verl_stepgrpo.data.prompts import prompt
from verl_stepgrpo.data.sources import Item
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.key_steps import parse_key_steps
from verl_stepgrpo.rewards import faults_of_order, missing_parts, score_response
from verl_stepgrpo.sections import final_answer, parse_sections
from verl_stepgrpo.settings import RewardSettings


class DroppedError(Exception):
    """An item cannot be used, or not in the warm-up: ``reason`` is one of ``REASONS`` or of ``NO_WARMUP``.

    The message says what is wrong with this one.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


REASONS = {
    "unreadable": "the row is no item: a key is missing or of a wrong type",
    "image": "an image is missing or cannot be opened",
    "marks": "the question has another number of <image> marks than there are images",
    "answer": "there is no reference answer: neither its own key nor a final answer in the solution",
    "key_steps": "the key steps are of a type that cannot be read",
    "solution": "its own solution does not score full marks, so that no response could",
    "length": "the prompt has more tokens than --max-prompt-length, image tokens included",
}
"""Why an item is dropped."""

NO_WARMUP = {
    "reflective": "the solution takes a step back and tries again",
    "no_solution": "there is no solution to learn from",
}
"""Why an item that RL has is not in the warm-up."""


@dataclass(frozen=True)
class RowOptions:
    """How items become rows.

    Attributes:
        data_source: verl's name for the dataset, in metrics.
        image_root: Folder that relative image paths start from.
        embed_images: Whether rows hold the images' bytes, or their paths.
        max_pixels: Larger images are scaled down to this by verl; None leaves the processor's own limit.
        max_prompt_length: Longest prompt in tokens; None checks no length.
        reward: The settings that the solution has to score full marks under.
    """

    data_source: str
    image_root: Path
    embed_images: bool = True
    max_pixels: int | None = None
    max_prompt_length: int | None = None
    reward: RewardSettings = field(default_factory=RewardSettings)


def rl_row(item: Item, options: RowOptions, prompt_length: PromptLength | None = None) -> dict[str, Any]:
    """Return the row of verl's RL dataset.

    Raises:
        DroppedError: The item fails a check.
    """
    images = _images(item, options)
    answer = reference_answer(item)
    try:
        key_steps = [list(wordings) for wordings in parse_key_steps(item.key_steps)]
    except DataError as error:
        raise DroppedError("key_steps", str(error)) from None
    key_steps = _key_steps_of_solution(item, answer, key_steps, options.reward)
    messages = [{"role": "user", "content": prompt(item.question, n_images=len(images))}]
    if prompt_length is not None and options.max_prompt_length is not None:
        length = prompt_length(messages, images)
        if length > options.max_prompt_length:
            raise DroppedError(
                "length", f"{length} tokens; --max-prompt-length is {options.max_prompt_length}"
            )
    return {
        "data_source": options.data_source,
        "prompt": messages,
        "images": images,
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {
            "index": item.number,
            "id": item.id,
            "key_steps": key_steps,
            "solution": item.solution,
        },
    }


def sft_row(item: Item, row: dict[str, Any]) -> dict[str, Any]:
    """Return the row of verl's SFT dataset, made of the RL row.

    Raises:
        DroppedError: The item has no solution, or a reflective one.
    """
    if item.solution is None:
        raise DroppedError("no_solution", "no solution")
    if item.is_reflective:
        raise DroppedError("reflective", "the solution takes a step back")
    return {
        "messages": [*row["prompt"], {"role": "assistant", "content": item.solution.strip()}],
        "images": row["images"],
    }


def reference_answer(item: Item) -> str:
    """Return the dataset's answer, or the final answer of its solution.

    Raises:
        DroppedError: It has neither.
    """
    answer = item.answer
    if answer is None and item.solution is not None:
        answer = final_answer(parse_sections(item.solution))
    if answer is None or not answer.strip():
        raise DroppedError("answer", "no answer, and no final answer in the solution")
    return answer.strip()


def _key_steps_of_solution(
    item: Item, answer: str, key_steps: list[list[str]], reward: RewardSettings
) -> list[list[str]]:
    """Return the key steps that the item's own solution has; the others could never be earned by following it.

    Raises:
        DroppedError: The solution would not score full marks under what is left.
    """
    if item.solution is None:
        return key_steps
    if not item.images:
        reward = dataclasses.replace(reward, image_description="optional")  # the prompt asks for none
    scored = score_response(item.solution, answer, key_steps, reward)
    wrong = [] if scored.answer.correct else [f"its answer is judged wrong ({scored.answer.reason})"]
    if not scored.complete:
        needs_description = reward.image_description == "required"
        missing = missing_parts(scored.sections, needs_description=needs_description)
        wrong.append(f"it is not complete ({', '.join(missing)})")
    if not scored.ordered:
        wrong.append(f"it is not in order ({', '.join(faults_of_order(scored.sections))})")
    if wrong and not scored.sections:
        wrong.append("where it is no response in the format, leave the key solution out")
    if wrong:
        raise DroppedError("solution", "; ".join(wrong))
    return [list(match.wordings) for match in scored.key_steps if match.matched]


def _images(item: Item, options: RowOptions) -> list[dict[str, Any]]:
    if item.n_marks is not None and item.n_marks != len(item.images):
        raise DroppedError("marks", f"{item.n_marks} marks for {len(item.images)} images")
    return [_image(path, options) for path in item.images]


def _image(path: str, options: RowOptions) -> dict[str, Any]:
    """Return an image as verl takes it, once it has been decoded whole."""
    if re.match(r"\w+://", path):
        # A row has to be the same every time it is read; pages go away.
        raise DroppedError("image", f"{path} is a URL: download the images, and name the files")
    place = options.image_root / path
    try:
        content = place.read_bytes()
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise DroppedError("image", f"{place}: {type(error).__name__}: {error}") from None
    bound = {} if options.max_pixels is None else {"max_pixels": options.max_pixels}
    return ({"bytes": content} if options.embed_images else {"image": str(place)}) | bound
