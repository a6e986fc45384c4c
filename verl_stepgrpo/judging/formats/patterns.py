r"""A format of one's own as a YAML file of patterns.

    name: qa
    request: "Write lines that begin with 'Thought:', and then 'Answer:'."
    step: '^Thought( \d+)?:'     # where a step begins; its first group, if it has one, is the step's number
    answer: '^Answer:'           # where the answer begins; it goes on to the next of either, or to the end
    asks: 'Thought:'             # found in a prompt that asks for the format; the request itself where it is left out

Patterns are Python's, multi-line and without regard to case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from verl_stepgrpo.errors import ConfigError, one_line
from verl_stepgrpo.judging.formats import pieces
from verl_stepgrpo.judging.formats.format import Format, section
from verl_stepgrpo.judging.sections import Kind, Section

RESERVED = frozenset({"mulberry", "think", "markdown", "plain"})
"""Names of the formats of this package."""

NEEDED, ALLOWED = ("name", "request", "step", "answer"), ("name", "request", "step", "answer", "asks")


class Patterns(Format):
    """The format that a YAML file describes.

    Raises:
        ConfigError: The file cannot be read, or lacks a key, or has another, or one of its patterns is none.
    """

    def __init__(self, path: Path) -> None:
        facts = _read(path)
        self.name, self._request = facts["name"], facts["request"]  # type: ignore[misc]
        self._step, self._answer = (_pattern(path, key, facts[key]) for key in ("step", "answer"))
        self.asks = _pattern(path, "asks", facts["asks"]) if "asks" in facts else None  # type: ignore[misc]

    def request(self, *, has_image: bool) -> str:
        return self._request

    def sections(self, response: str) -> tuple[Section, ...]:
        marks = [
            *((Kind.STEP, mark) for mark in self._step.finditer(response)),
            *((Kind.FINAL_ANSWER, mark) for mark in self._answer.finditer(response)),
        ]
        marks.sort(key=lambda one: one[1].start())
        ends = [*(mark.start() for _, mark in marks[1:]), len(response)]
        return tuple(
            section(
                response,
                kind,
                mark.start(),
                max(end, mark.end()),
                mark.end(),
                pieces.number_of(mark) if kind is Kind.STEP else None,
            )
            for (kind, mark), end in zip(marks, ends, strict=False)
        )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
    # A date of no calendar is a ValueError of yaml's, and deep brackets are a RecursionError.
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"format={path}: it cannot be read: {one_line(error)}") from error
    keys = set(facts) if isinstance(facts, dict) else set()
    if (
        not keys >= set(NEEDED)
        or not keys <= set(ALLOWED)
        or not all(isinstance(v, str) for v in facts.values())
    ):
        raise ConfigError(
            f"format={path}: it has to have the keys {', '.join(NEEDED)}, all text, and may have asks; it has "
            f"{', '.join(sorted(map(str, keys))) or 'none'}."
        )
    if not facts["request"].strip():
        raise ConfigError(f"format={path}: request is blank; write what a prompt is to say of the format.")
    if facts["name"] in RESERVED:
        raise ConfigError(
            f"format={path}: name={facts['name']} is that of a format of this package; give it a name of its own."
        )
    return facts


def _pattern(path: Path, key: str, text: str) -> re.Pattern[str]:
    if control := re.search(r"[\x00\x07\x08\x0b\x0c\x1b\x85\xa0]", text):
        raise ConfigError(
            f"format={path}: {key}={text!r} has the character {control[0]!r}, which YAML makes of a backslash and a "
            "letter in double quotes; write the pattern in single quotes."
        )
    try:
        pattern = re.compile(text, re.IGNORECASE | re.MULTILINE)
    except re.error as error:
        raise ConfigError(f"format={path}: {key}={text!r} is no pattern of Python's: {error}.") from error
    if pattern.match(""):
        raise ConfigError(
            f"format={path}: {key}={text!r} is found in nothing at all; name what a line opens with."
        )
    return pattern
