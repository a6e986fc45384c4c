"""Look through a prepared dataset for what will hurt training: rows that pay for nothing, or for anything.

Reads verl's RL parquet as a stream, images included only as far as their size is needed. What is looked at against
other rows (decoys) is looked at in a sample.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from verl_stepgrpo.data.index import check_index
from verl_stepgrpo.data.parquet import open_rl_parquet
from verl_stepgrpo.data.prompt_length import PromptLength
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.key_steps import KeyStep, match_key_steps, parse_key_steps
from verl_stepgrpo.rewards import check_ground_truth
from verl_stepgrpo.sections import parse_sections
from verl_stepgrpo.settings import RewardSettings

MAX_ANSWER_WORDS = 8
"""Longer answers are judged by their exact text alone, so that hardly any response has them."""
MIN_PIXELS = 4 * 28 * 28
"""qwen_vl_utils enlarges smaller images to this, unless the row bounds them itself (``min_pixels``)."""
DECOY_ROWS, DECOY_SOLUTIONS = 400, 50
"""Rows whose key steps are looked for in other rows' solutions, and how many of those."""
MIN_DECOY_SOLUTIONS = 10
"""In fewer a rate would say nothing."""
MAX_DECOY_RATE = 0.2
"""A key step that stands in a larger share of other rows' solutions says little about its own."""

CHECKS = {
    "unreadable": "the reference answer or the key steps are missing or of a wrong type",
    "index": "extra_info.index is missing, no trace can hold it, or an earlier row has it: training refuses the file",
    "no_key_steps": "the row has no key steps: its StepRAR is its answer alone",
    "empty_key_step": "a key step is blank",
    "never_matched": "a key step is not found in its own solution, or, without one, in its own words",
    "matches_anything": f"a key step stands in more than {MAX_DECOY_RATE:.0%} of other rows' solutions",
    "repeated_key_step": "two key steps of the row share a wording",
    "answer_kind": f"the answer has more than {MAX_ANSWER_WORDS} words: only its exact text would be right",
    "duplicate": "question and images stand in an earlier row too",
    "overlong": "the prompt has more tokens than --max-prompt-length, image tokens included",
    "tiny_image": "the image has fewer than 4 visual tokens: verl enlarges it (min_pixels bounds that)",
}
"""What is looked for."""


@dataclass(frozen=True)
class Finding:
    """Something that will hurt: the row's place in its file, one of ``CHECKS``, and what it is here."""

    row: int
    check: str
    detail: str


def lint(
    path: Path, *, prompt_length: PromptLength | None = None, max_prompt_length: int | None = None
) -> Iterator[Finding]:
    """Yield what is found in a parquet file of verl's RL rows.

    Raises:
        DataError: The file cannot be read, has no rows, or is the warm-up's.
    """
    seen: dict[bytes, int] = {}
    indices: dict[str, int] = {}
    sampled: list[tuple[int, tuple[KeyStep, ...], str]] = []
    file = open_rl_parquet(path)
    every = max(1, file.metadata.num_rows // DECOY_ROWS)
    for number, row in enumerate(_rows(file)):
        try:
            answer = check_ground_truth((row.get("reward_model") or {}).get("ground_truth"))
            extra_info = row.get("extra_info") or {}
            raw, key_steps = extra_info.get("key_steps"), parse_key_steps(extra_info.get("key_steps"))
        except DataError as error:
            yield Finding(number, "unreadable", str(error))
            continue
        yield from _of_index(number, extra_info.get("index"), indices)
        solution = extra_info.get("solution") or _pasted(key_steps)
        if not key_steps:
            has = f"has {', '.join(extra_info) or 'nothing'}"
            said = f".key_steps is {raw!r:.60}" if "key_steps" in extra_info else f" {has}"
            yield Finding(number, "no_key_steps", f"extra_info{said}")
        yield from _of_key_steps(number, raw, key_steps, solution)
        yield from _of_answer(number, answer)
        yield from _of_images(number, row)
        yield from _of_duplicates(number, row, seen)
        if prompt_length is not None and max_prompt_length is not None:
            length = prompt_length(row["prompt"], row.get("images") or [])
            if length > max_prompt_length:
                yield Finding(number, "overlong", f"{length} tokens")
        if number % every == 0:
            sampled.append((number, key_steps, solution))
    yield from _of_decoys(sampled)


def _rows(file: pq.ParquetFile) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(batch_size=256):
        yield from batch.to_pylist()


def _pasted(key_steps: Sequence[KeyStep]) -> str:
    """Return a response that states each key step in its first wording, where a row has no solution of its own."""
    return "".join(f"### Step {i}:\n{wordings[0]}\n" for i, wordings in enumerate(key_steps, start=1))


def _of_key_steps(number: int, raw: Any, key_steps: Sequence[KeyStep], solution: str) -> Iterator[Finding]:
    if _has_blank(raw):
        yield Finding(number, "empty_key_step", json.dumps(raw, default=str, ensure_ascii=False)[:200])
    sections = parse_sections(solution)
    for match in match_key_steps(sections, key_steps, threshold=RewardSettings.match_threshold):
        if not match.matched:
            yield Finding(number, "never_matched", match.wordings[0])
    said: set[str] = set()
    for wordings in key_steps:
        if not said.isdisjoint(wordings):
            yield Finding(number, "repeated_key_step", wordings[0])
        said |= set(wordings)


def _has_blank(raw: Any) -> bool:
    items = raw.get("Steps") if isinstance(raw, Mapping) else raw
    if not isinstance(items, list):
        return False
    return any(
        not (w or "").strip() for item in items for w in ([item] if isinstance(item, str) else item or [""])
    )


def _of_answer(number: int, answer: str) -> Iterator[Finding]:
    if len(answer.split()) > MAX_ANSWER_WORDS:
        yield Finding(number, "answer_kind", answer[:200])


def _of_images(number: int, row: Mapping[str, Any]) -> Iterator[Finding]:
    for image in row.get("images") or []:
        if image.get("min_pixels"):
            continue
        source = io.BytesIO(image["bytes"]) if image.get("bytes") else image.get("image")
        try:
            with Image.open(source) as opened:
                width, height = opened.size
        except (OSError, AttributeError) as error:
            yield Finding(number, "unreadable", f"an image cannot be opened: {error}")
            continue
        if width * height < MIN_PIXELS:
            yield Finding(number, "tiny_image", f"{width} x {height}")


def _of_index(number: int, index: Any, seen: dict[str, int]) -> Iterator[Finding]:
    try:
        check_index(index, number, seen)
    except DataError as error:
        yield Finding(number, "index", str(error))


def _of_duplicates(number: int, row: Mapping[str, Any], seen: dict[bytes, int]) -> Iterator[Finding]:
    digest = hashlib.sha256(json.dumps(row.get("prompt"), default=str).encode())
    for image in row.get("images") or []:
        digest.update(image.get("bytes") or str(image.get("image")).encode())
    first = seen.setdefault(digest.digest()[:12], number)
    if first != number:
        yield Finding(number, "duplicate", f"of row {first}")


def _of_decoys(sampled: Sequence[tuple[int, tuple[KeyStep, ...], str]]) -> Iterator[Finding]:
    """Yield key steps that stand in many other rows' solutions, those left out that these rows have too."""
    step = max(1, len(sampled) // DECOY_SOLUTIONS)
    others = [
        (number, set(_wordings(key_steps)), parse_sections(text))
        for number, key_steps, text in sampled[::step]
    ]
    for number, key_steps, _ in sampled:
        for key_step in key_steps:
            looked = [
                sections for other, own, sections in others if other != number and own.isdisjoint(key_step)
            ]
            found = sum(
                match_key_steps(sections, [key_step], threshold=RewardSettings.match_threshold)[0].matched
                for sections in looked
            )
            if len(looked) >= MIN_DECOY_SOLUTIONS and found / len(looked) > MAX_DECOY_RATE:
                yield Finding(number, "matches_anything", f"{key_step[0]!r} in {found} of {len(looked)}")


def _wordings(key_steps: Iterable[KeyStep]) -> Iterator[str]:
    return (wording for key_step in key_steps for wording in key_step)
