r"""Read the texts of a row, in whichever of the published layouts it is: turns, answer and solution. Pure.

Turns are ``messages`` (role and content) as of Mulberry and ShareGPT, ``conversations`` (from and value) as of LLaVA,
or verl's ``prompt``. An answer may be wrapped in ``<answer>``, ``\boxed{}`` or dollars, or stand behind ``####`` under
its solution, as GSM8K's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verl_stepgrpo.data.prompts.text import IMAGE_MARK
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.judging.answers.normalise import normalise
from verl_stepgrpo.judging.answers.statement import statement
from verl_stepgrpo.judging.marks import boxes, hashes, tags
from verl_stepgrpo.judging.sections import says_something

TURNS = ("messages", "conversations")
"""The keys that hold turns, in the order they are looked for."""
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_DOLLARS = re.compile(r"\$\$([^$]+)\$\$|\$([^$]+)\$|\\\((.+)\\\)|\\\[(.+)\\\]", re.DOTALL)
MAX_SHORT = 8
"""Words of an answer that is no solution; of longer ones the exact text alone would be right."""
_STEPS = re.compile(
    r"[\r\n]|\d[^=]*=|[^\W\d_]{2}[.!?;]\s+\S|^(?:#|\*\*|<think)|^step\b"
    r"|\b(?:so|hence|thus|therefore|because|since)\b|\bI(?:'m| am| can| do)|\bsorry\b",
    re.IGNORECASE,
)
"""What says of a short text that it is a way to an answer, or none: lines, sentences, a calculation, a header, a
conclusion, an excuse."""
_TRUTH = re.compile(r"(yes|no)\b[,.:;!]?(?!\s+(?:one|body|answer)\b)", re.IGNORECASE)
_CALCULATED = re.compile(r"<<[^<>\n]*>>")
"""What GSM8K's calculator was told, within its solutions."""


@dataclass(frozen=True)
class Turns:
    """One question of a chat, with what stands before it and the answer behind it."""

    question: str
    solution: str | None = None
    system: str | None = None


def is_verl_row(columns: Mapping[str, Any] | list[str]) -> bool:
    """Return whether a row, or the columns of a file, are of verl's RL dataset."""
    return "prompt" in columns and "reward_model" in columns


def turns_of(messages: Any, key: str) -> Turns:
    """Return what a chat of one question says.

    Raises:
        DataError: It is no chat, a role is unknown, or it has more than one question or answer.
    """
    if not isinstance(messages, list) or not all(isinstance(m, Mapping) for m in messages):
        raise DataError(f"{key} is {messages!r:.60}; expected a list of objects with role and content")
    said: dict[str, str] = {}
    for message in messages:
        role = message.get("role", message.get("from"))
        known = _ROLES.get(role) if isinstance(role, str) else None
        if known is None:
            raise DataError(
                f"{key} has a turn of {role!r:.60}; the roles that are read are {', '.join(_ROLES)}"
            )
        if known in said:
            raise DataError(
                f"{key} has several turns of {role}, and a row is one question: make each question a row of its own, "
                "with what it needs of the turns before it"
            )
        said[known] = _content(message.get("content", message.get("value")), key)
    if not said.get("user"):
        raise DataError(f"{key} has no text of a user")
    return Turns(said["user"], said.get("assistant"), said.get("system") or None)


def bare_answer(text: str) -> str:
    r"""Return an answer without ``<answer>``, ``\boxed{}`` and dollars where they are around all of it."""
    while (inner := _unwrapped(text.strip())) is not None:
        text = inner
    return text.strip()


def answer_and_solution(answer: str | None, solution: str | None) -> tuple[str | None, str | None]:
    """Return the answer and the solution that two columns hold, whichever of them has which.

    A solution that is an answer in its wrapper alone is the answer; an answer with ``####`` under a solution is both; a
    solution with ``<answer>`` gives the answer that is wanting.
    """
    if answer is not None and solution is None and (found := _under_hashes(answer)):
        answer, solution = found, _CALCULATED.sub("", answer)
    elif solution is not None and _under_hashes(solution):
        solution = _CALCULATED.sub("", solution)
    if solution is not None and answer is None:
        if _unwrapped(solution.strip()) is not None:
            answer, solution = solution, None
        elif tagged := list(tags(solution, 0)):
            answer = tagged[-1].text
    return None if answer is None else bare_answer(answer), solution


def said_shortly(text: str) -> str | None:
    """Return the answer that an assistant's turn of one sentence and a few words is; None for any other.

    Visual questions are answered so: "B", "Red.", "It is 18.", which says 18. What calculates is a step of a solution.
    """
    text = text.strip()
    if len(text.split()) > MAX_SHORT or _STEPS.search(text) or not says_something(text):
        return None
    truth = _TRUTH.match(text)
    return truth[1] if truth else statement(normalise(text)) or text


def _content(content: Any, key: str) -> str:
    """Return what a turn says: its text, or its parts, with a mark where one of them is an image."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, Mapping) for part in content):
        raise DataError(
            f"{key} has a turn that says {content!r:.60}; expected text, or parts of text and images"
        )
    # A table has all keys in each part, those of other types without a value.
    return "".join(
        IMAGE_MARK if part.get("type") == "image" else str(part.get("text") or "") for part in content
    )


def _unwrapped(text: str) -> str | None:
    """Return what stands in a wrapper that is all of ``text``; None where there is none."""
    if (text.startswith("<answer>") and text.endswith("</answer>")) and text.count("<answer>") == 1:
        return text.removeprefix("<answer>").removesuffix("</answer>")
    if text.startswith("\\boxed{") and (found := boxes(text, 0)) and text == f"\\boxed{{{found[0].text}}}":
        return found[0].text
    if mark := _DOLLARS.fullmatch(text):
        inner = next(group for group in mark.groups() if group is not None)
        return None if "\\)" in inner or "\\]" in inner else inner
    return None


def _under_hashes(text: str) -> str | None:
    """Return the number that stands behind ``####`` at the end of a text that says more."""
    found = list(hashes(text, 0))
    last = found[-1] if found else None
    is_end = last is not None and not text[last.start :].strip().lstrip("#").strip().removeprefix(last.text)
    return last.text if last and is_end and text[: last.start].strip() else None
