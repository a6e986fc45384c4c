"""Have a model behind an OpenAI-compatible server write the key steps of solutions: first which, then how else said.

The paper's two stages (arXiv 2503.12937, section 3.2: extraction, then augmentation with equivalent wordings), each one
request a solution. What a server answered is kept in a file, so that an interrupted run pays for nothing twice; a row
that keeps failing is set aside with its error. Nothing of an answer is believed unread: it has to fit the schema, a key
step has to stand in its own solution, and a wording with other numbers than the key step's is left out. Asked by
section, as R1-VL's own prompt asks (GitHub jingyi0000/R1-VL, prompts/extract_key_steps.py), it gives those of the image
description, too; these have to stand there.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, Field, ValidationError

from verl_stepgrpo.counts import counted
from verl_stepgrpo.data.rows.solutions import sections_of_solution
from verl_stepgrpo.judging.key_steps.match import KeyStepMatch, match_key_steps
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.judging.reading.reader import tokenize
from verl_stepgrpo.judging.sections import Kind
from verl_stepgrpo.rewards import match_visual
from verl_stepgrpo.serving.client import ChatServer, FailedError

MAX_KEY_STEPS = 12
MAX_WORDINGS = 6
MAX_QUOTED = 500
"""Characters of a wrong answer that are shown to the model again: what broke off at the context's end would fill it."""
MAX_ATTEMPTS = 3
"""How often a solution is sent whose answer does not fit the schema."""

EXTRACT = """Below is a solution. List its key steps: the few equations, values and short phrases \
without which the solution would not hold. Copy each from the text of its steps as it stands there, a phrase with at \
most three words, and none twice. Leave out the image description, the rationales and the final answer.

{solution}"""
EXTRACT_BY_SECTION = """Below is a solution of a question about an image. List its key elements by section: as \
image_description the few objects, numbers, values and places of its image description that the solution rests on, and \
as key_steps the few equations, values and short phrases of its steps without which the solution would not hold. Copy \
each from the text of its own section as it stands there, a phrase with at most three words, and none twice. Leave out \
the rationales and the final answer.

{solution}"""
AUGMENT = """Below are key steps of a solution, as a JSON list. Give for each, in the same order, a list of up to five \
other ways to write just the same: an equation in TeX, in plain characters and in words, a phrase with its words in \
another order. Do not change a number, and do not calculate further.

{key_steps}"""


class Extracted(BaseModel):
    """What the first stage has to answer."""

    key_steps: list[str] = Field(min_length=1, max_length=MAX_KEY_STEPS)


class ExtractedBySection(Extracted):
    """What it has to answer where those of the image description are asked for, too; there may be none."""

    image_description: list[str] = Field(max_length=MAX_KEY_STEPS)


class Augmented(BaseModel):
    """What the second stage has to answer: one list for each key step, of both sections."""

    wordings: list[list[str]] = Field(max_length=2 * MAX_KEY_STEPS)


Answer = TypeVar("Answer", Extracted, ExtractedBySection, Augmented)


class Written(NamedTuple):
    """The key steps of a solution, those of its steps and those of its image description."""

    steps: list[KeyStep]
    visual: list[KeyStep]


class Cache:
    """Answers by what was asked, in a SQLite file.

    Raises:
        OSError: Of each method: the file cannot be used; ``filename`` is ``path``.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        with self._naming():
            self._connection = sqlite3.connect(path)
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS answers (asked TEXT PRIMARY KEY, answer TEXT)"
            )

    def get(self, asked: str) -> str | None:
        with self._naming():
            query = "SELECT answer FROM answers WHERE asked = ?"
            found = self._connection.execute(query, (asked,)).fetchone()
        return found[0] if found else None

    def put(self, asked: str, answer: str) -> None:
        with self._naming(), self._connection:
            self._connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (asked, answer))

    def __len__(self) -> int:
        with self._naming():
            return self._connection.execute("SELECT count(*) FROM answers").fetchone()[0]

    def close(self) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:  # a full disk, a file of something else, another process that writes
            raise OSError(errno.EIO, str(error), str(self._path)) from error


class KeyStepWriter:
    """Asks one server for key steps."""

    def __init__(self, server: ChatServer, cache: Cache) -> None:
        self.cached = 0
        """Answers that stood in the cache."""
        self.dropped: Counter[str] = Counter()
        """What was not believed, by what was wrong with it."""
        self._server = server
        self._cache = cache

    async def key_steps(
        self, solution: str | None, *, wants_steps: bool = True, wants_visual: bool = False
    ) -> Written:
        """Return the key steps of a solution, each with its wordings, the solution's own first.

        Args:
            solution: The solution.
            wants_steps: Whether those of its steps are wanted.
            wants_visual: Whether those of its image description are; it may be found to have none.

        Raises:
            FailedError: There is no solution, or the server could not be had, or kept answering something else.
        """
        if solution is None:
            raise FailedError("it has no solution")
        steps, visual = await self._extracted(solution, wants_visual=wants_visual)
        if not wants_steps:
            steps = []
        elif not steps:
            raise FailedError("none of the key steps stands in the solution")
        key_steps = await self._augmented([*steps, *visual])
        return Written(key_steps[: len(steps)], key_steps[len(steps) :])

    async def _extracted(self, solution: str, *, wants_visual: bool) -> tuple[list[str], list[str]]:
        """Return what the server names as key steps of the steps and of the description, as far as it stands there."""
        if not wants_visual:
            plain = await self._ask(Extracted, EXTRACT.format(solution=solution), lambda answer: None)
            return self._in_solution(plain.key_steps, solution), []
        asked = EXTRACT_BY_SECTION.format(solution=solution)
        found = await self._ask(ExtractedBySection, asked, lambda answer: None)
        return (
            self._in_solution(found.key_steps, solution),
            self._in_description(found.image_description, solution),
        )

    async def _augmented(self, own: Sequence[str]) -> list[KeyStep]:
        """Return key steps with the wordings that the server gives for each."""
        if not own:
            return []
        asked = AUGMENT.format(key_steps=json.dumps(own, ensure_ascii=False))

        def check(answer: Augmented) -> str | None:
            n = len(answer.wordings)
            return None if n == len(own) else f"{counted(n, 'list')} for {counted(len(own), 'key step')}"

        augmented = await self._ask(Augmented, asked, check)
        return [self._equivalent(*pair) for pair in zip(own, augmented.wordings, strict=True)]

    async def _ask(self, form: type[Answer], prompt: str, check: Callable[[Answer], str | None]) -> Answer:
        asked = hashlib.sha256(
            json.dumps([self._server.options.model, form.__name__, prompt]).encode()
        ).hexdigest()
        known = self._cache.get(asked)
        if known is not None:
            with contextlib.suppress(ValidationError):  # one that another version took
                answer = form.model_validate_json(known)
                self.cached += 1
                return answer
        messages: list[Any] = [{"role": "user", "content": prompt}]
        for _ in range(MAX_ATTEMPTS):
            text = await self._request(form, messages)
            try:
                answer = form.model_validate_json(text)
                wrong = check(answer)
            except ValidationError as error:
                wrong = "; ".join(f"{e['loc']}: {e['msg']}" for e in error.errors()[:3])
            if wrong is None:
                self._cache.put(asked, text)
                return answer
            self.dropped["answers that do not fit the schema"] += 1
            messages = [
                *messages[:1],
                {"role": "assistant", "content": text[:MAX_QUOTED]},
                {
                    "role": "user",
                    "content": f"That does not fit the schema: {wrong}. Answer again, with JSON alone.",
                },
            ]
        raise FailedError(f"{MAX_ATTEMPTS} answers did not fit the schema; the last: {wrong}")

    async def _request(self, form: type[BaseModel], messages: list[Any]) -> str:
        schema = {"name": form.__name__, "schema": form.model_json_schema()}
        texts = await self._server.complete(
            messages, temperature=0.0, response_format={"type": "json_schema", "json_schema": schema}
        )
        return texts[0] if texts else ""

    def _in_solution(self, found: Sequence[str], solution: str) -> list[str]:
        matches = match_key_steps(sections_of_solution(solution), _each_once(found), threshold=1.0)
        return self._matched(matches, "key steps that their solution lacks")

    def _in_description(self, found: Sequence[str], solution: str) -> list[str]:
        matches = match_visual(sections_of_solution(solution), _each_once(found), threshold=1.0)
        return self._matched(matches, "visual key steps that their image description lacks")

    def _matched(self, matches: Sequence[KeyStepMatch], otherwise: str) -> list[str]:
        self.dropped[otherwise] += sum(not match.matched for match in matches)
        return [match.wordings[0] for match in matches if match.matched]

    def _equivalent(self, own: str, others: Sequence[str]) -> KeyStep:
        """Return the key step with those wordings that have the same numbers."""
        wanted = _numbers(own)
        unique = dict.fromkeys(text.strip() for text in others if text.strip())
        kept = [text for text in unique if text != own and _numbers(text) == wanted]
        self.dropped["wordings with other numbers"] += sum(_numbers(text) != wanted for text in unique)
        return (own, *kept[: MAX_WORDINGS - 1])


def has_description(solution: str | None) -> bool:
    """Return whether a solution describes an image, so that it can have visual key steps."""
    sections = sections_of_solution(solution or "")
    return any(one.kind is Kind.DESCRIPTION and one.says_something for one in sections)


def _each_once(texts: Sequence[str]) -> list[KeyStep]:
    return [(text,) for text in dict.fromkeys(text.strip() for text in texts) if text]


def _numbers(text: str) -> Counter[str]:
    return Counter(token.text for token in tokenize(text) if token.number)
