"""Write the key steps of a dataset, by rules, a model or responses: into JSONL for ``prepare``, or verl's parquet."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verl_stepgrpo.counts import counted
from verl_stepgrpo.data.key_steps.columns import write_key_steps
from verl_stepgrpo.data.key_steps.responses import Found, Responses, Task, find
from verl_stepgrpo.data.key_steps.rules import rule_key_steps
from verl_stepgrpo.data.key_steps.telling import telling
from verl_stepgrpo.data.rows.build import DroppedError, reference_answer
from verl_stepgrpo.data.sources.items import Item, is_verls, key_steps_of, read_items
from verl_stepgrpo.data.sources.raw_rows import files_of
from verl_stepgrpo.errors import ConfigError, DataError
from verl_stepgrpo.files import SetAside, open_whole
from verl_stepgrpo.judging.key_steps.reference import KeyStep
from verl_stepgrpo.running.parallel import in_order
from verl_stepgrpo.settings import RewardSettings

if TYPE_CHECKING:
    from verl_stepgrpo.serving.client import ServerOptions

_COLUMNS = ("prompt", "reward_model", "extra_info")
"""What of verl's rows is read; their images are not."""


@dataclass
class Summary:
    """How many rows have key steps, how many have no solution to find them in, how many were set aside, what of them is
    not read and so not in the file (``unread``, ``others``, as in ``prepare``'s report), and what was used for it.

    ``in_place`` says that the source is verl's parquet, all of whose rows are in the file. Of key steps by responses:
    ``mined`` rows got theirs from these, ``pruned`` key steps were left out, rows that have none are counted by why
    (``without``), responses to none of the rows as well (``left_out``), and lines that are no responses are
    ``set_aside``. ``visual`` rows have key steps of the image description."""

    written: int = 0
    visual: int = 0
    passed_on: int = 0
    failed: int = 0
    in_place: bool = False
    unread: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    usage: dict[str, int] = field(default_factory=dict)
    mined: int = 0
    pruned: int = 0
    without: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    set_aside: list[SetAside] = field(default_factory=list)


def failed_file(out: Path) -> Path:
    return out.with_suffix(".failed.jsonl")


def cache_file(out: Path) -> Path:
    return out.with_suffix(".cache.sqlite")


def kept(out: Path) -> int:
    """Return how many answers an interrupted run into ``out`` need not ask for again."""
    if not cache_file(out).exists():
        return 0
    from verl_stepgrpo.data.key_steps.model import Cache

    with contextlib.closing(Cache(cache_file(out))) as cache:
        return len(cache)


def by_rules(source: Path, out: Path, *, progress: Callable[[int], None]) -> Summary:
    """Write key steps by ``rule_key_steps``; a row keeps those it has; without any it is set aside.

    Raises:
        ConfigError: ``out`` is ``source``, or is not named ``.jsonl``.
        DataError: ``source`` cannot be read, or has no rows.
    """
    with _Files(source, out) as files:
        for item in files.items():
            try:
                key_steps, wanting = (item.key_steps, "") if item.key_steps else _by_rules(item)
            except Exception as error:  # no solution, however odd, may keep the others' key steps
                key_steps, wanting = [], f"{type(error).__name__}: {error}"
            files.add(item, key_steps, wanting)
            progress(1)
        return files.summary


def _by_rules(item: Item) -> tuple[list[KeyStep], str]:
    """Return the key steps that the rules find in the solution of an item, and why there are none."""
    if item.solution is None:
        return [], "it has no solution"
    found = rule_key_steps(item.solution)
    kept = telling(found, question=item.asked, answer=_reference_answer(item))
    said = "the rules find none in its solution"
    return kept, f"{said} but what the question or the answer says itself" if found else said


def by_model(
    source: Path,
    out: Path,
    options: ServerOptions,
    *,
    api_key: str | None,
    visual: bool = False,
    progress: Callable[[int], None],
) -> Summary:
    """Write key steps by a model; a row that has some keeps them.

    Args:
        source: The dataset.
        out: The file to write.
        options: The server and its model.
        api_key: The server's.
        visual: Whether those of the image description are asked for, too, where a solution has one.
        progress: Called with the number of rows that are done.

    Raises:
        ConfigError: OpenAI's own server is meant, and there is no key; or ``out`` is ``source``, or not ``.jsonl``.
        DataError: ``source`` cannot be read or has no rows, the server refuses the key, or does not have the model.
        EndedError: The server is gone; what it answered is kept.
    """
    return asyncio.run(_by_model(source, out, options, api_key, visual, progress))


async def _by_model(
    source: Path,
    out: Path,
    options: ServerOptions,
    api_key: str | None,
    visual: bool,
    progress: Callable[[int], None],
) -> Summary:
    from verl_stepgrpo.data.key_steps.model import Cache, KeyStepWriter, Written, has_description
    from verl_stepgrpo.serving.client import ChatServer, FailedError, in_order

    cache = Cache(cache_file(out))
    try:
        async with ChatServer(options, api_key) as server:
            writer = KeyStepWriter(server, cache)

            async def work(item: Item) -> Written:
                wants_steps = not (item.key_steps or _serves_rl_alone(item))
                wants_visual = visual and not item.visual_key_steps and has_description(item.solution)
                own = Written(item.key_steps, item.visual_key_steps)
                if not wants_steps and not wants_visual:
                    return own
                found = await writer.key_steps(
                    item.solution, wants_steps=wants_steps, wants_visual=wants_visual
                )
                return Written(own.steps or found.steps, own.visual or found.visual)

            with _Files(source, out) as files:
                results = in_order(files.items(), work, options.concurrency)
                async for item, result in results:
                    if isinstance(result, FailedError):
                        files.set_aside(item, str(result))
                    else:
                        files.add(item, result.steps, "", visual=result.visual)
                    progress(1)
            files.summary.usage = {
                "requests": server.usage.requests,
                "answers from the run before": writer.cached,
                "tokens read": server.usage.prompt_tokens,
                "tokens written": server.usage.completion_tokens,
                **writer.dropped,
            }
            return files.summary
    finally:
        cache.close()


def support_file(out: Path) -> Path:
    return out.with_suffix(".support.jsonl")


def by_responses(
    source: Path,
    traces: Path,
    out: Path,
    *,
    margin: float,
    prune: bool,
    num_proc: int,
    progress: Callable[[int], None],
) -> Summary:
    """Write key steps by responses to the questions; a row that has some keeps them, or with ``prune`` the good ones.

    What speaks for each goes to ``support_file``. A row that gets none is passed on.

    Raises:
        ConfigError: ``out`` is ``source``, or is not named ``.jsonl``.
        DataError: ``source`` or the traces cannot be read or have no rows, or no response is to a row of ``source``.
    """
    asked = _Asked(Responses(traces), margin, prune)
    with _Files(source, out) as files, open_whole(support_file(out)) as support:
        for found in in_order(find, asked.tasks(files.items()), num_proc=num_proc):
            item = asked.items.popleft()
            files.add(item, [one.wordings for one in found.key_steps], "", passes_on=True)
            files.summary.mined += bool(found.key_steps) and not item.key_steps
            files.summary.pruned += len(found.pruned)
            if found.why_none:
                files.summary.without[found.why_none] += 1
            support.write(json.dumps(_support(item, found), ensure_ascii=False) + "\n")
            progress(1)
        left_out = asked.left_out()
        if not asked.answered:
            reasons = ", ".join(f"{counted(n, 'response')}: {why}" for why, n in left_out.items())
            raise DataError(
                f"none of the responses in {traces} is to a question of {source} ({reasons}): they are told by id, or "
                "else by index, reference answer and question; name the file that was asked"
            )
        files.summary.left_out = left_out
        files.summary.set_aside = asked.responses.set_aside
        return files.summary


@dataclass
class _Asked:
    """The questions with their responses, on their way to what finds key steps.

    Attributes:
        responses: All of them.
        margin: As ``Task`` has it.
        prune: As ``Task.prunes``.
        items: The questions that are on their way, in their order.
        answered: How many questions had responses.
        matched: How many responses were to one.
    """

    responses: Responses
    margin: float
    prune: bool
    items: deque[Item] = field(default_factory=deque)
    answered: int = 0
    matched: int = 0

    def tasks(self, items: Iterable[Item]) -> Iterator[Task]:
        for item in items:
            rows = self.responses.of(item)
            self.answered += bool(rows)
            self.matched += len(rows)
            self.items.append(item)
            known = next((row.ground_truth for row in rows if row.ground_truth is not None), None)
            truth = known if known is not None else _reference_answer(item)
            yield Task(item.asked, item.key_steps, rows, truth, item.choices, self.margin, self.prune)

    def left_out(self) -> Counter[str]:
        """Return how many responses were to no question, by why."""
        rejected = self.responses.rejected
        unknown = self.responses.n - self.matched - rejected.total()
        return rejected + Counter({"no row has their id, or index": unknown})


def _reference_answer(item: Item) -> str:
    """Return the reference answer of a row, as ``prepare`` takes it; nothing where it has none."""
    try:
        return reference_answer(item, RewardSettings())
    except DroppedError:
        return ""


def _support(item: Item, found: Found) -> dict[str, Any]:
    """Return what speaks for the key steps of a row, and against those that were left out."""
    kept = [{"wordings": one.wordings, **dataclasses.asdict(one.support)} for one in found.key_steps]
    pruned = [
        {"wordings": one.wordings, **dataclasses.asdict(one.support), "why": why} for one, why in found.pruned
    ]
    said = {"why_none": found.why_none} if found.why_none else {}
    return {"row": item.number, "id": item.id, "key_steps": kept, "pruned": pruned, **said}


class _Files:
    """The rows with key steps, and those set aside. The files get their names when all of them are in them."""

    def __init__(self, source: Path, out: Path) -> None:
        if out.resolve() in (path.resolve() for path in files_of(source)):
            raise ConfigError(f"--out={out} is the source itself; name another file.")
        in_place = is_verls(source)
        ending, kind = (".parquet", "verl's parquet, as the source is") if in_place else (".jsonl", "JSONL")
        if out.suffix != ending:
            raise ConfigError(
                f"--out={out}: the rows are written as {kind}; name a file that ends with {ending}."
            )
        next(read_items(source))  # a source that cannot be read is met before anything is written
        out.parent.mkdir(parents=True, exist_ok=True)
        self.summary = Summary(in_place=in_place)
        self._found: dict[int, Sequence[KeyStep]] = {}
        self._visual: dict[int, Sequence[KeyStep]] = {}
        self._source, self._target = source, out
        self._writing = contextlib.ExitStack()

    def __enter__(self) -> _Files:
        with contextlib.ExitStack() as writing:
            self._out = writing.enter_context(
                open_whole(self._target, "wb" if self.summary.in_place else "w")
            )
            self._failed = writing.enter_context(open_whole(failed_file(self._target)))
            self._writing = writing.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: Any) -> None:
        if self.summary.in_place and kind is None:
            with self._writing:
                write_key_steps(files_of(self._source), self._found, self._out, self._visual)
        else:
            self._writing.__exit__(kind, *error)

    def items(self) -> Iterator[Item]:
        """Yield the items of the source, their key steps parsed; a row that cannot be read is set aside."""
        for number, item in read_items(self._source, _COLUMNS if self.summary.in_place else None):
            self.summary.unread.update(f"{name}: {hint}" for name, hint in item.unread)
            self.summary.others.update(item.others)
            try:
                if isinstance(item, DataError):
                    raise item
                key_steps, visual = map(list, key_steps_of(item))
                readable = dataclasses.replace(item, key_steps=key_steps, visual_key_steps=visual)
            except DataError as error:
                self._set_aside(number, str(error))
            else:
                yield readable

    def add(
        self,
        item: Item,
        key_steps: list[KeyStep],
        error: str,
        *,
        visual: list[KeyStep] | None = None,
        passes_on: bool = False,
    ) -> None:
        """Write an item with its key steps; where it has none pass it on, if RL can use it so, or set it aside.

        With ``passes_on`` it is passed on in any case. ``visual`` are those of the image description, where they are
        not those that it has.
        """
        if not key_steps and not passes_on and not _serves_rl_alone(item):
            self.set_aside(item, error)
            return
        visual = item.visual_key_steps if visual is None else visual
        if self.summary.in_place:
            self._note(item, key_steps, visual)
        else:
            self._write(self._out, _row(item, key_steps, visual))
        self.summary.visual += bool(visual)
        if key_steps:
            self.summary.written += 1
        else:
            self.summary.passed_on += 1

    def set_aside(self, item: Item, error: str) -> None:
        """Note why an item did not get its key steps; in verl's parquet it keeps what it has."""
        if self.summary.in_place:
            self._note(item, item.key_steps, item.visual_key_steps)
        self._set_aside(item.number, error)

    def _note(self, item: Item, key_steps: Sequence[KeyStep], visual: Sequence[KeyStep]) -> None:
        self._found[item.number], self._visual[item.number] = key_steps, visual

    def _set_aside(self, number: int, error: str) -> None:
        self._write(self._failed, {"row": number, "error": error})
        self.summary.failed += 1

    @staticmethod
    def _write(file: Any, row: dict[str, Any]) -> None:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _serves_rl_alone(item: Item) -> bool:
    return item.solution is None and item.answer is not None and not item.key_steps


def _row(item: Item, key_steps: Sequence[KeyStep], visual: Sequence[KeyStep]) -> dict[str, Any]:
    row: dict[str, Any] = {
        # Rows set aside leave no gap in the file, so that places in it do not lead back to the source.
        "id": str(item.number) if item.id is None else item.id,
        "system": item.system,
        "question": item.marked_question,
        "images": list(item.images),
        "solution": item.solution,
        "choices": dict(item.choices) or None,
        "answer": item.answer,
        "key_steps": [list(wordings) for wordings in key_steps] or None,
        "visual_key_steps": [list(wordings) for wordings in visual] or None,
    }
    return {key: value for key, value in row.items() if value is not None}
