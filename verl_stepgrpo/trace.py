"""Traces: one JSONL file a training step and validation, one row a response, with all that was judged.

verl's own dumps hold neither the row's identity nor its components; everything that looks at a run later
(paired evaluation, replay, report) reads these files. Layout under ``algorithm.stepgrpo.trace_dir``:
``train/step-000001.jsonl`` and ``val/step-000000.jsonl``. Imports neither torch nor verl.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from verl_stepgrpo.errors import DataError
from verl_stepgrpo.rewards import ScoredResponse

SCHEMA = 1
"""Version of the row's layout. Grows when a key changes its meaning or goes; new keys may come without."""

REQUIRED = ("step", "uid", "session", "components", "key_steps", "answer", "steps", "total")
"""Keys that every row has. A training row also has ``advantage``, and every row ``response``, ``prompt``,
``ground_truth``, ``index`` and ``data_source`` where the reward manager knew them."""

_FILES = ("train/step-*.jsonl", "val/step-*.jsonl", "step-*.jsonl", "responses.jsonl")

TRACE_KEY = "stepgrpo_trace"
"""Key of ``reward_extra_info`` that carries one row from the reward worker to the trainer."""


def describe(result: ScoredResponse, *, step_token_ends: Sequence[int] | None = None) -> dict[str, Any]:
    """Return what ``result`` holds as plain JSON values.

    Args:
        result: The scored response.
        step_token_ends: For each step, the number of leading tokens that cover the response up to its end; None
            where the response's tokens are not known.
    """
    token_ends = [None] * len(result.steps) if step_token_ends is None else step_token_ends
    components = result.components()
    return {
        "schema": SCHEMA,
        "components": components,
        "key_step_share": result.key_step_share,
        "answer": {
            "text": result.answer.text,
            "layer": result.answer.layer,
            "reason": result.answer.reason,
        },
        "key_steps": [
            {
                "wordings": list(match.wordings),
                "matched": match.matched,
                "wording": match.wording,
                "similarity": round(match.similarity, 4),
                "step": match.step,
                "start": match.start,
                "end": match.end,
            }
            for match in result.key_steps
        ],
        "steps": [
            {
                "number": step.number,
                "start": step.start,
                "end": step.end,
                "token_end": token_end,
                "key_step_share": share,
            }
            for step, token_end, share in zip(result.steps, token_ends, result.step_shares, strict=True)
        ],
        "total": result.total,
    }


def open_trace(path: Path, mode: str) -> IO[str]:
    """Open a trace for writing. A lone surrogate, which a server's JSON may hold, is written as JSON's escape of it."""
    return path.open(mode, encoding="utf-8", errors="backslashreplace")


def write_rows(file: IO[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write each row as one line."""
    file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


class TraceWriter:
    """Writes rows below one folder. A step's file is replaced by the first rows of the step in this process,
    so that a resumed run leaves no rows of the attempt before, and extended by the ones that follow."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._begun: set[Path] = set()

    def write(self, split: str, step: int, rows: Iterable[dict[str, Any]]) -> Path:
        """Add ``rows`` to the file of ``split`` (``train`` or ``val``) and ``step``; return its path."""
        path = self.folder / split / f"step-{step:06d}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = "a" if path in self._begun else "w"
        with open_trace(path, mode) as file:
            write_rows(file, rows)
        self._begun.add(path)
        return path


@dataclass(frozen=True)
class SetAside:
    """A line of a trace that is no row, and why."""

    path: Path
    line: int
    reason: str


def read_trace(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of one trace file.

    Raises:
        ValueError: A line is no row, or of another schema.
    """
    return list(iter_traces([Path(path)], set_aside=refuse))


def refuse(line: SetAside) -> None:
    """Raise ValueError: for readers of what this package alone wrote."""
    raise ValueError(f"{line.path}:{line.line}: {line.reason}")


def iter_traces(paths: Iterable[Path], *, set_aside: Callable[[SetAside], None]) -> Iterator[dict[str, Any]]:
    """Yield the rows of trace files, one at a time; hand each line that is none to ``set_aside``.

    A killed run leaves a truncated line, and other JSONL may lie beside traces.
    """
    for path in paths:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    row = parse_row(line)
                except ValueError as error:
                    set_aside(SetAside(path, number, str(error)))
                else:
                    yield row


def parse_row(line: bytes) -> dict[str, Any]:
    """Return the row that a line of a trace holds.

    Raises:
        ValueError: It is not JSON, or not a row of this schema.
    """
    try:
        row = json.loads(line)
    except ValueError as error:  # of JSON or of UTF-8
        raise ValueError(f"not JSON: {error}") from None
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None
    if not isinstance(row, dict) or "schema" not in row:
        raise ValueError("not a row of a trace: it has no schema")
    if row["schema"] != SCHEMA:
        raise ValueError(f"schema {row['schema']!r}; this version reads {SCHEMA}")
    missing = [key for key in REQUIRED if key not in row]
    if missing:
        raise ValueError(f"it lacks {', '.join(missing)}")
    return row


def trace_files(source: Path) -> list[Path]:
    """Return the trace files of ``source``, training before validation, in the order of their steps.

    Args:
        source: A ``trace_dir``, one of the folders in it, the folder of an evaluation, or a single file.

    Raises:
        DataError: There are none.
    """
    if source.is_file():
        return [source]
    found = [path for pattern in _FILES for path in sorted(source.glob(pattern))]
    if not source.exists():
        raise DataError(f"{source} does not exist; expected a file or folder of traces")
    if not found:
        raise DataError(
            f"{source} has no traces; expected a file, or a folder with {' or '.join(_FILES)}, as "
            "algorithm.stepgrpo.trace_dir and verl-stepgrpo eval leave them"
        )
    return found


def stands_twice(path: Path, step: str) -> DataError:
    """Return the error for a ``step`` that ``path`` has, and another place of the same traces, too."""
    return DataError(f"{path}: step {step} stands in another place too; name the traces of one run alone")


def no_rows(source: Path, set_aside: Sequence[SetAside]) -> DataError:
    """Return the error for a ``source`` that has no row at all."""
    reason = f": {set_aside[0].reason}" if set_aside else ""
    return DataError(f"none of the {len(set_aside)} lines of {source} is a row of a trace{reason}")
