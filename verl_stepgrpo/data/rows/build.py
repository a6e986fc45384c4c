"""Make verl's rows of an item, and check that the item can be learned from. Opens images; needs no verl.

An item is checked against itself: its own solution has to score full marks, or no response to it could.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verl_stepgrpo.data.prompts.images import content_of, decoded, encoded, mended, name_of
from verl_stepgrpo.data.prompts.length import PromptLength
from verl_stepgrpo.data.prompts.marks import TOKENS, wrong_in_prompt, wrong_in_warm_up
from verl_stepgrpo.data.prompts.text import IMAGE_MARK, prompt
from verl_stepgrpo.data.rows.solutions import (
    is_response,
    sections_of_solution,
    settings_of_row,
    wrong_in_solution,
)
from verl_stepgrpo.data.sources.items import Item, key_steps_of
from verl_stepgrpo.data.sources.layouts import bare_answer
from verl_stepgrpo.data.sources.names import said_of, said_of_others
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.judging.key_steps.match import KeyStepMatch, match_key_steps
from verl_stepgrpo.judging.key_steps.reference import KeyStep, parse_key_steps
from verl_stepgrpo.judging.sections import Kind, final_answer
from verl_stepgrpo.rewards import match_visual, score_response, sections_of
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
    "image": "an image is missing, cannot be opened, or cannot reach the model as a viewer shows it",
    "marks": "the question's marks do not fit its images, or it has the text of a special token",
    "answer": "there is no reference answer: neither its own key nor a final answer in the solution",
    "key_steps": "the key steps are of a type that cannot be read",
    "solution": "its own solution does not score full marks, so that no response could",
    "length": "the prompt has more tokens than --max-prompt-length, image tokens included",
    "failed": "what reads the row failed in a way that was not foreseen; the detail has its error",
}
"""Why an item is dropped."""

NO_WARMUP = {
    "reflective": "the solution takes a step back and tries again",
    "no_solution": "there is no solution to learn from",
    "other_format": "the solution is not written in the format that is asked for (--format)",
    "solution_marks": "the solution has an <image>, a <video> or the text of a special token",
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
        keeps_data_source: Whether a row that has a name of its own for the dataset keeps it.
    """

    data_source: str
    image_root: Path
    embed_images: bool = True
    max_pixels: int | None = None
    max_prompt_length: int | None = None
    reward: RewardSettings = field(default_factory=RewardSettings)
    keeps_data_source: bool = True


def rl_row(
    item: Item,
    options: RowOptions,
    prompt_length: PromptLength | None = None,
    *,
    tokens: Collection[str] = TOKENS,
    counts: Counter[str] | None = None,
) -> dict[str, Any]:
    """Return the row of verl's RL dataset.

    Args:
        item: The item.
        options: How.
        prompt_length: Counts the prompt's tokens, if they are to be counted.
        tokens: Texts that a processor takes for an image or the end of a turn.
        counts: Where images are counted that are stored as a viewer shows them: under ``images/redrawn``.

    Raises:
        DroppedError: The item fails a check.
    """
    _check_marks(item, tokens)
    counts = Counter() if counts is None else counts
    images = [_image(path, options, counts) for path in item.images]
    answer = reference_answer(item, options.reward)
    key_steps, visual = _own_key_steps(item, answer, options.reward)
    question = prompt(item.asked, n_images=len(images), format_=options.reward.format)
    messages = [{"role": "system", "content": item.system}] if item.system else []
    messages += [{"role": "user", "content": question}]
    _check_length(messages, images, options, prompt_length)
    return {
        "data_source": (options.keeps_data_source and item.data_source) or options.data_source,
        "prompt": messages,
        "images": images,
        "reward_model": {"style": "rule", "ground_truth": answer},
        "extra_info": {
            **item.extra_info,
            "index": item.number,
            "id": item.id,
            "key_steps": key_steps,
            "visual_key_steps": visual,
            "solution": item.solution,
            "choices": dict(item.choices) or None,
        },
    }


def sft_row(
    item: Item,
    row: dict[str, Any],
    reward: RewardSettings | None = None,
    *,
    tokens: Collection[str] = TOKENS,
) -> dict[str, Any]:
    """Return the row of verl's SFT dataset, made of the RL row.

    Raises:
        DroppedError: The item has no solution, or one that is in another format than that of ``reward`` (the paper's
            where that is None), that is reflective, or that the warm-up cannot read.
    """
    reward = RewardSettings() if reward is None else reward
    if item.solution is None:
        raise DroppedError("no_solution", "no solution")
    if not is_response(sections_of(item.solution, reward)):
        raise DroppedError("other_format", f"no step and final answer as in {reward.format}")
    if item.is_reflective:
        raise DroppedError("reflective", "the solution takes a step back")
    if wrong := list(wrong_in_warm_up(item.question, item.solution, tokens)):
        raise DroppedError("solution_marks", "; ".join(wrong))
    return {
        "messages": [*row["prompt"], {"role": "assistant", "content": item.solution.strip()}],
        "images": row["images"],
    }


def reference_answer(item: Item, reward: RewardSettings) -> str:
    """Return the dataset's answer, or the final answer of its solution, in whichever format that is.

    Raises:
        DroppedError: It has neither.
    """
    answer = item.answer
    if answer is None and item.solution is not None:
        paid = sections_of(item.solution, reward)
        answer = final_answer(paid) or final_answer(sections_of_solution(item.solution, paid))
    if answer is None or not bare_answer(answer):
        said = said_of(item.unread) + said_of_others(item.others)
        raise DroppedError("answer", f"no answer, and no final answer in the solution{said}")
    return bare_answer(answer)


def _check_length(
    messages: list[dict[str, Any]],
    images: list[dict[str, Any]],
    options: RowOptions,
    prompt_length: PromptLength | None,
) -> None:
    if prompt_length is None or options.max_prompt_length is None:
        return
    length = prompt_length(messages, images)
    if length > options.max_prompt_length:
        raise DroppedError("length", f"{length} tokens; --max-prompt-length is {options.max_prompt_length}")


def _own_key_steps(
    item: Item, answer: str, reward: RewardSettings
) -> tuple[list[list[str]], list[list[str]]]:
    """Return the key steps of an item, and those of its image description, as far as its own solution has them.

    Raises:
        DroppedError: They cannot be read, or the solution would not score full marks.
    """
    try:
        key_steps, visual = key_steps_of(item)
    except DataError as error:
        raise DroppedError("key_steps", str(error)) from None
    found = _key_steps_of_solution(item, answer, list(map(list, key_steps)), reward)
    return found, _visual_of_solution(item, visual, reward)


def _key_steps_of_solution(
    item: Item, answer: str, key_steps: list[list[str]], reward: RewardSettings
) -> list[list[str]]:
    """Return the key steps that the item's own solution has; the others could never be earned by following it.

    Raises:
        DroppedError: The solution would not score full marks under what is left, or reaches another answer.
        VerifierFailedError: math-verify could not be asked about its answer; that is not the item's fault.
    """
    if item.solution is None:
        return key_steps
    reward = settings_of_row(reward, has_images=bool(item.images))
    scored = score_response(item.solution, answer, key_steps, reward, choices=item.choices)
    wrong = wrong_in_solution(item.solution, scored, reward)
    if wrong and is_response(scored.sections) and item.is_reflective:
        wrong.append("it takes a step back: give the answer as answer, and leave the key solution out")
    if wrong:
        raise DroppedError("solution", "; ".join(wrong))
    matches: Sequence[KeyStepMatch] = scored.key_steps
    if not is_response(scored.sections):
        sections = sections_of_solution(item.solution, scored.sections)
        matches = match_key_steps(sections, parse_key_steps(key_steps), threshold=reward.match_threshold)
    return [list(match.wordings) for match in matches if match.matched]


def _visual_of_solution(item: Item, visual: Sequence[KeyStep], reward: RewardSettings) -> list[list[str]]:
    """Return the visual key steps that the description of the item's own solution has; all where it has none."""
    sections = sections_of(item.solution or "", reward)
    if not any(one.kind is Kind.DESCRIPTION for one in sections):
        return [list(wordings) for wordings in visual]
    matches = match_visual(sections, visual, threshold=reward.match_threshold)
    return [list(match.wordings) for match in matches if match.matched]


def _check_marks(item: Item, tokens: Collection[str]) -> None:
    n_images = len(item.images)
    text = item.marked_question if item.n_marks is not None else IMAGE_MARK * n_images + item.question
    text = (item.system or "") + text + item.listing
    if wrong := list(wrong_in_prompt(text, n_images, tokens)):
        raise DroppedError("marks", "; ".join(wrong))


def _image(path: str, options: RowOptions, counts: Counter[str]) -> dict[str, Any]:
    """Return an image as verl takes it, once it has been decoded whole; one that it would show otherwise, redrawn."""
    if re.match(r"(?!file:)\w+://", path):
        # A row has to be the same every time it is read; pages go away.
        raise DroppedError("image", f"{path} is a URL: download the images, and name the files")
    source = path if path.startswith("data:") else str(options.image_root / path.removeprefix("file://"))
    try:
        content = content_of(source)
        image = decoded(content)
        redrawn = mended(image)
    except (OSError, ValueError) as error:  # a DataError is a ValueError; so is what a path with a NUL raises
        said = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise DroppedError("image", f"{name_of({'image': source})}: {said}") from None
    if redrawn is not None:
        if not options.embed_images:
            raise DroppedError(
                "image",
                f"{name_of({'image': source})}: {redrawn.why}: save it as it is shown, or let prepare put the images "
                "into the rows",
            )
        content = encoded(redrawn.image, image.format)
        counts["images/redrawn"] += 1
    bound = {} if options.max_pixels is None else {"max_pixels": options.max_pixels}
    return ({"bytes": content} if options.embed_images else {"image": source}) | bound
