"""The files of traces: a compressed JSONL a training step and validation, one row a response, with all that was judged.

verl's own dumps hold neither the row's identity nor its components; everything that looks at a run later
(paired evaluation, replay, report) reads these files. Layout under ``algorithm.stepgrpo.trace_dir``:
``train/step-000001.jsonl.gz`` and ``val/step-000000.jsonl.gz``; without ``.gz`` as earlier versions wrote them, which
are read alike. Imports neither torch nor verl.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import IO

from verl_stepgrpo.counts import counted
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.files import SetAside, read_lines
from verl_stepgrpo.settings import NODE
from verl_stepgrpo.traces import packed
from verl_stepgrpo.traces.rows import TRAIN, VAL, TraceRow, parse_row

HEADER = "header.jsonl"
"""File of a ``trace_dir``, or of an evaluation's folder, with one line for each start of the run."""

SUFFIXES = (".jsonl.gz", ".jsonl")
"""What the name of a step's file ends with: as it is written, and as earlier versions wrote it."""

_STEP = re.compile(r"step-(\d+)\.jsonl(?:\.gz)?")
_FOLDERS = ("train", "val", ".")
UNTRAINED = "untrained"
"""Folder of a ``trace_dir`` for a step that the run ended before: what reads the ``trace_dir`` leaves it out."""
_RESPONSES = "responses.jsonl"

logger = logging.getLogger("verl_stepgrpo")


def open_trace(path: Path, mode: str) -> IO[str]:
    """Open a trace for writing. A lone surrogate, which a server's JSON may hold, is written as JSON's escape of it."""
    return path.open(mode, encoding="utf-8", errors="backslashreplace")


def write_rows(file: IO[str], rows: Iterable[TraceRow]) -> None:
    """Write each row as one line."""
    file.writelines(json.dumps(row.to_json(), ensure_ascii=False) + "\n" for row in rows)


class TraceWriter:
    """Writes the rows of a training run below one folder, as far as the folder can be written.

    A step's file is replaced by the first rows of the step in this process, so that a resumed run leaves no rows of
    the attempt before, and extended by the ones that follow. A full disk costs the traces of the steps meanwhile, and
    never the run: traces are not worth that.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._begun: set[Path] = set()
        self._untraced: list[int] = []

    def write(self, split: str, step: int, rows: Iterable[TraceRow | bytes]) -> Path | None:
        """Add ``rows`` to the file of ``split`` and ``step``; return its path, or None where it cannot be written.

        A row may be a line of ``traces.packed``. The first of several steps that cannot be written is said, and when
        writing goes on, how many there were.
        """
        path = self.folder / split / f"step-{step:06d}{SUFFIXES[0]}"
        try:
            self._add(path, rows)
        except OSError as error:
            if not self._untraced:
                logger.error(
                    "%s cannot be written: %s. Training goes on without traces (%s.trace_dir) until it can.",
                    path,
                    error.strerror or error,
                    NODE,
                )
            self._untraced.append(step)
            return None
        if self._untraced:
            logger.warning(
                "Traces are written again; those of %s since step %d are missing or cut short.",
                counted(len(self._untraced), "write"),
                self._untraced[0],
            )
            self._untraced = []
        return path

    def _add(self, path: Path, rows: Iterable[TraceRow | bytes]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path not in self._begun:
            path.with_suffix("").unlink(missing_ok=True)  # of an attempt of an earlier version
        with path.open("ab" if path in self._begun else "wb", buffering=0) as file:
            self._begun.add(path)
            end = file.tell() if file.seekable() else None
            try:
                _write_all(
                    file, b"".join(row if isinstance(row, bytes) else packed.line(row) for row in rows)
                )
            except OSError:
                # Behind a torn member of a compressed file nothing could be read.
                if end is not None:
                    with contextlib.suppress(OSError):
                        file.truncate(end)
                raise


def _write_all(file: IO[bytes], data: bytes) -> None:
    """Write all of it to an unbuffered file, which a disk that has just become full may take a part of."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def steps_of(trace_dir: Path, split: str = ".") -> list[Path]:
    """Return the files of a split's steps (``train`` or ``val``) in a ``trace_dir``, in their order."""
    found = {
        path: int(name[1])
        for path in (trace_dir / split).glob("step-*")
        if (name := _STEP.fullmatch(path.name))
    }
    return sorted(found, key=lambda path: found[path])


def step_of(path: Path) -> int:
    """Return the step of a step's file."""
    name = _STEP.fullmatch(path.name)
    assert name is not None, path
    return int(name[1])


def later_steps(folder: Path, step: int) -> list[Path]:
    """Return the trace files in a ``trace_dir`` of steps that a run which goes on after ``step`` has yet to make.

    For a run that begins, at step 0, these are all there are: they are of another one.
    """
    found = [path for split in (TRAIN, VAL, UNTRAINED) for path in steps_of(folder, split)]
    return [path for path in found if step == 0 or step_of(path) > step]


def set_aside_later_steps(folder: Path, step: int) -> Path | None:
    """Move what ``later_steps`` finds, and where a run begins the header too, into a folder of their own.

    Returns:
        The folder, ``abandoned-<time>``; None where there is nothing to move.
    """
    files = later_steps(folder, step)
    if step == 0 and (folder / HEADER).exists():
        files.append(folder / HEADER)
    if not files:
        return None
    aside = folder / f"abandoned-{datetime.now(timezone.utc):%Y%m%dT%H%M%S}"
    for path in files:
        place = aside / path.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    return aside


def read_trace(path: str | Path) -> list[TraceRow]:
    """Return the rows of one trace file.

    Raises:
        ValueError: A line is no row, or of another schema.
    """
    return list(iter_traces([Path(path)], set_aside=refuse))


def refuse(line: SetAside) -> None:
    """Raise ValueError: for readers of what this package alone wrote."""
    raise ValueError(str(line))


def iter_traces(paths: Iterable[Path], *, set_aside: Callable[[SetAside], None]) -> Iterator[TraceRow]:
    """Yield the rows of trace files, one at a time; hand each line that is none to ``set_aside``.

    A killed run leaves a truncated line, and other JSONL may lie beside traces.
    """
    for path in paths:
        yield from read_lines(path, parse_row, set_aside=set_aside)


def trace_files(source: Path) -> list[Path]:
    """Return the trace files of ``source``, training before validation, in the order of their steps.

    Args:
        source: A ``trace_dir``, one of the folders in it, the folder of an evaluation, or a single file.

    Raises:
        DataError: There are none.
    """
    if source.is_file():
        return [source]
    found = [path for folder in _FOLDERS for path in steps_of(source, folder)]
    found += sorted(source.glob(_RESPONSES))
    if not source.exists():
        raise DataError(f"{source} does not exist; expected a file or folder of traces")
    if not found:
        expected = " or ".join([*(f"{split}/step-*{SUFFIXES[0]}" for split in (TRAIN, VAL)), _RESPONSES])
        raise DataError(
            f"{source} has no traces; expected a file, or a folder with {expected}, as "
            f"{NODE}.trace_dir and verl-stepgrpo eval leave them"
        )
    return found


def stands_twice(path: Path, step: str) -> DataError:
    """Return the error for a ``step`` that ``path`` has, and another place of the same traces, too."""
    return DataError(f"{path}: step {step} stands in another place too; name the traces of one run alone")


def no_rows(source: Path, set_aside: Sequence[SetAside]) -> DataError:
    """Return the error for a ``source`` that has no row at all."""
    reason = f": {set_aside[0].reason}" if set_aside else ""
    return DataError(f"no line of {source} ({len(set_aside)} in all) is a row of a trace{reason}")
