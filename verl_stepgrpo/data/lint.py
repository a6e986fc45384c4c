"""Look through a prepared dataset for what will hurt training: rows that pay for nothing, or for anything.

Reads verl's RL parquet as a stream, and decodes each image once. What has to be looked at against other rows (decoys)
is looked at in a sample.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from verl_stepgrpo.data.key_steps.cut import cut_of
from verl_stepgrpo.data.key_steps.responses import Shown
from verl_stepgrpo.data.prompts.images import is_url, mended, name_of, opened
from verl_stepgrpo.data.prompts.length import PromptLength
from verl_stepgrpo.data.prompts.marks import TOKENS, wrong_in_prompt
from verl_stepgrpo.data.prompts.text import other_format
from verl_stepgrpo.data.rows.index import check_index, traced
from verl_stepgrpo.data.rows.parquet import open_rl_parquet
from verl_stepgrpo.data.rows.read import Reference, prompt_of, raw_rows, reference_of, text_of
from verl_stepgrpo.data.rows.solutions import sections_of_solution, settings_of_row, wrong_in_solution
from verl_stepgrpo.errors import ConfigError, DataError, EndedError
from verl_stepgrpo.judging.answers.symbolic import VerifierFailedError
from verl_stepgrpo.judging.key_steps.explain import explain_missed
from verl_stepgrpo.judging.key_steps.match import match_key_steps
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.judging.sections import Section, parse_sections
from verl_stepgrpo.rewards import score_response, sections_of
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
    "unreadable": "a column that verl or the reward reads is missing or of a wrong type",
    "index": "extra_info.index is missing, no trace can hold it, or an earlier row has it: training refuses the file",
    "no_key_steps": "the row has no key steps: its StepRAR is its answer alone",
    "empty_key_step": "a key step is blank",
    "cut_key_step": "a key step was cut out of its text: its brackets do not close, or a mark stands at its edge",
    "solution": "its own solution would not be paid in full, for its answer or its form",
    "never_matched": "a key step is not found in its own solution, or, without one, in its own words",
    "matches_anything": f"a key step stands in more than {MAX_DECOY_RATE:.0%} of other rows' solutions",
    "teaches_nothing": "a key step is found in all responses, in none, or more in wrong ones than in right (--traces)",
    "repeated_key_step": "two key steps of the row share a wording",
    "answer_kind": f"the answer has more than {MAX_ANSWER_WORDS} words: only its exact text would be right",
    "duplicate": "question and images stand in an earlier row too",
    "overlong": "the prompt has more tokens than --max-prompt-length, image tokens included",
    "other_format": "the prompt asks for another format than the one that is paid (--format)",
    "marks": "the prompt's marks do not fit its images, or it has the text of a special token",
    "image": "an image cannot be opened, or does not reach the model as a viewer shows it",
    "tiny_image": "the image has fewer than 4 visual tokens: verl enlarges it (min_pixels bounds that)",
    "failed": "what reads the row failed in a way that was not foreseen",
}
"""What is looked for."""

_Sampled = tuple[int, tuple[KeyStep, ...], tuple[Section, ...]]
"""A row's place, its key steps, and the sections that have them."""


@dataclass(frozen=True)
class Finding:
    """Something that will hurt.

    Attributes:
        row: The row's place in its file, counted from 0.
        check: One of ``CHECKS``.
        detail: What it is here.
        id, index: What the row calls itself (``extra_info``), as a trace has it; None where it does not.
    """

    row: int
    check: str
    detail: str
    id: str | None = None
    index: Any = None

    @property
    def place(self) -> str:
        """The row, with the names that it has."""
        names = {"id": self.id, "index": self.index}
        return ", ".join(
            [f"row {self.row}", *(f"{key} {name}" for key, name in names.items() if name is not None)]
        )


def lint(
    path: Path,
    *,
    prompt_length: PromptLength | None = None,
    max_prompt_length: int | None = None,
    tokens: Collection[str] = TOKENS,
    format_: str = "mulberry",
    responses: Shown | None = None,
) -> Iterator[Finding]:
    """Yield what is found in a parquet file of verl's RL rows.

    Args:
        path: The file.
        prompt_length: Counts a prompt's tokens.
        max_prompt_length: Above how many it is found; None for none.
        tokens: Texts that a processor takes for an image or the end of a turn.
        format_: The format that will be paid.
        responses: What responses to the rows show of their key steps; None for none.

    Raises:
        DataError: The file cannot be read, has no rows, is the warm-up's or lacks a column that is needed.
        ConfigError: The model reads no images.
    """
    look = _Look(prompt_length, max_prompt_length, tokens, RewardSettings(format=format_), responses)
    sampled: list[_Sampled] = []
    every = max(1, open_rl_parquet(path).metadata.num_rows // DECOY_ROWS)
    names: dict[int, dict[str, Any]] = {}
    for number, row in raw_rows(path):
        named = _names_of(row)
        try:
            found = list(look.at(number, row))
        except (ConfigError, EndedError):
            raise
        except Exception as error:  # Pillow and a processor raise what they like; one row must not end all
            found = [Finding(number, "failed", f"{type(error).__name__}: {error}")]
        yield from (replace(finding, **named) for finding in found)
        if number % every == 0 and look.reference is not None:
            reference = look.reference
            sampled.append((number, reference.key_steps, _shown(reference, look.reward)))
            names[number] = named
    yield from (replace(finding, **names[finding.row]) for finding in _of_decoys(sampled))


def _names_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``id`` and ``index`` of a row, one that cannot be read too."""
    extra_info = row.get("extra_info")
    known = extra_info if isinstance(extra_info, Mapping) else {}
    row_id = known.get("id")
    return {"id": None if row_id is None else str(row_id), "index": traced(known.get("index"))}


@dataclass
class _Look:
    """Looks at rows one after another; knows what the earlier ones had.

    Attributes:
        reference: What the last row is judged by; None where that cannot be read.
    """

    prompt_length: PromptLength | None
    max_prompt_length: int | None
    tokens: Collection[str]
    reward: RewardSettings
    responses: Shown | None = None
    reference: Reference | None = None
    seen: dict[bytes, int] = field(default_factory=dict)
    indices: dict[str, int] = field(default_factory=dict)

    def at(self, number: int, row: Mapping[str, Any]) -> Iterator[Finding]:
        """Yield what is found in a row."""
        self.reference = None
        try:
            self.reference = reference_of(row)
        except DataError as error:
            yield Finding(number, "unreadable", str(error))
        else:
            yield from _of_index(number, self.reference.index, self.indices)
            yield from _of_reference(number, self.reference, row.get("extra_info") or {}, self.reward)
            yield from _of_solution(number, self.reference, self.reward, has_images=bool(row.get("images")))
            yield from self._of_responses(number, self.reference)
        try:
            messages, images = prompt_of(row)
        except DataError as error:
            yield Finding(number, "unreadable", str(error))
            return
        wrong = [
            *(
                Finding(number, "marks", said)
                for said in wrong_in_prompt(text_of(messages), len(images), self.tokens)
            ),
            *_of_images(number, images),
        ]
        yield from wrong
        if other := other_format(text_of(messages), self.reward.format):
            yield Finding(number, "other_format", f"it asks for {other}, and {self.reward.format} is paid")
        yield from _of_duplicates(number, messages, images, self.seen)
        if not any(finding.check in ("marks", "image") for finding in wrong):
            yield from self._of_length(number, messages, images)

    def _of_responses(self, number: int, reference: Reference) -> Iterator[Finding]:
        if self.responses is None:
            return
        name = str(reference.index) if reference.id is None else reference.id
        for key_step, fault in self.responses.faults(name, reference.ground_truth, reference.key_steps):
            yield Finding(number, "teaches_nothing", f"{key_step[0]}: {fault}")

    def _of_length(self, number: int, messages: list[Any], images: list[Any]) -> Iterator[Finding]:
        if self.prompt_length is None or self.max_prompt_length is None:
            return
        length = self.prompt_length(messages, images)
        if length > self.max_prompt_length:
            yield Finding(number, "overlong", f"{length} tokens")


def _of_reference(
    number: int, reference: Reference, extra_info: Mapping[str, Any], reward: RewardSettings
) -> Iterator[Finding]:
    raw, key_steps = extra_info.get("key_steps"), reference.key_steps
    if not key_steps:
        has = f"has {', '.join(extra_info) or 'nothing'}"
        said = f".key_steps is {raw!r:.60}" if "key_steps" in extra_info else f" {has}"
        yield Finding(number, "no_key_steps", f"extra_info{said}")
    yield from _of_key_steps(number, raw, key_steps, _shown(reference, reward))
    yield from _of_answer(number, reference.ground_truth)


def _of_solution(
    number: int, reference: Reference, reward: RewardSettings, *, has_images: bool
) -> Iterator[Finding]:
    """Yield why the row's own solution would not be paid in full, in the words of the checks that refuse it."""
    if not reference.solution:
        return
    reward = settings_of_row(reward, has_images=has_images)
    scored = score_response(
        reference.solution, reference.ground_truth, settings=reward, choices=reference.choices
    )
    try:
        wrong = wrong_in_solution(reference.solution, scored, reward)
    except VerifierFailedError as error:
        yield Finding(number, "failed", str(error))
        return
    if wrong:
        yield Finding(number, "solution", "; ".join(wrong))


def _shown(reference: Reference, reward: RewardSettings) -> tuple[Section, ...]:
    """Return the sections of a row's solution, or of a response that states each key step, where it has none."""
    if reference.solution:
        return sections_of_solution(reference.solution, sections_of(reference.solution, reward))
    steps = enumerate(reference.key_steps, start=1)
    return parse_sections("".join(f"### Step {i}:\n{wordings[0]}\n" for i, wordings in steps))


def _of_key_steps(
    number: int, raw: Any, key_steps: Sequence[KeyStep], sections: Sequence[Section]
) -> Iterator[Finding]:
    if _has_blank(raw):
        yield Finding(number, "empty_key_step", json.dumps(raw, default=str, ensure_ascii=False)[:200])
    for wording in _wordings(key_steps):
        if (cut := cut_of(wording)) is not None:
            yield Finding(number, "cut_key_step", f"{wording} ({cut})")
    threshold = RewardSettings.match_threshold
    matches = match_key_steps(sections, key_steps, threshold=threshold)
    for match, miss in zip(matches, explain_missed(sections, matches, threshold=threshold), strict=True):
        if miss is not None:
            yield Finding(number, "never_matched", f"{match.wordings[0]} ({miss})")
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


def _of_images(number: int, images: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    for image in images:
        if is_url(image):
            yield Finding(
                number, "image", f"{name_of(image)} is a URL: it is fetched anew whenever the row is read"
            )
            continue
        try:
            found = opened(image)
            other = mended(found, image)
        except DataError as error:
            yield Finding(number, "image", str(error))
            continue
        if other is not None:
            yield Finding(number, "image", f"{name_of(image)}: {other.why}")
        width, height = found.size
        if width * height < MIN_PIXELS and not image.get("min_pixels"):
            yield Finding(number, "tiny_image", f"{width} x {height}")


def _of_index(number: int, index: Any, seen: dict[str, int]) -> Iterator[Finding]:
    try:
        check_index(index, number, seen)
    except DataError as error:
        yield Finding(number, "index", str(error))


def _of_duplicates(
    number: int, messages: Sequence[Any], images: Sequence[Mapping[str, Any]], seen: dict[bytes, int]
) -> Iterator[Finding]:
    digest = hashlib.sha256(json.dumps(messages, default=str).encode())
    for image in images:
        digest.update(image.get("bytes") or str(image["image"]).encode())
    first = seen.setdefault(digest.digest()[:12], number)
    if first != number:
        yield Finding(number, "duplicate", f"of row {first}")


def _of_decoys(sampled: Sequence[_Sampled]) -> Iterator[Finding]:
    """Yield key steps that stand in many other rows' solutions, those left out that these rows have too."""
    step = max(1, len(sampled) // DECOY_SOLUTIONS)
    others = [
        (number, set(_wordings(key_steps)), sections) for number, key_steps, sections in sampled[::step]
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
