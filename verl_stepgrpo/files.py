"""Write files whole, add lines to a file, and read lines back that a killed run may have torn.

What is written with ``write_whole`` or ``open_whole`` stands beside the file until all of it is on the disk, and takes
the file's name in one step: whatever ends the process or the machine, a reader finds the older file or the new one.
Errors of the disk name the file, as those of ``open`` do. Pure but for the files.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, TypeVar

from verl_stepgrpo.errors import DataError

Row = TypeVar("Row")

_BLOCK = 1 << 16


@dataclass(frozen=True)
class SetAside:
    """A line that is no row, and why."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.reason}"


def write_whole(path: Path, content: str | bytes) -> None:
    """Write ``content``, text as UTF-8, to ``path``, or leave there what is there.

    Raises:
        OSError: It cannot be written; ``filename`` is ``path``.
    """
    with open_whole(path, "w" if isinstance(content, str) else "wb") as file:
        file.write(content)


@contextlib.contextmanager
def open_whole(path: Path, mode: Literal["w", "wb"] = "w") -> Iterator[IO[Any]]:
    """Open a file that becomes ``path`` when the block ends, and nothing at all where the block raises.

    Raises:
        OSError: It cannot be written; ``filename`` is ``path``.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    if path.exists() and not (path.is_file() or path.is_dir()):  # a device or a pipe has no older contents
        with _writer(os.open(path, os.O_WRONLY | os.O_CLOEXEC), path, mode) as file:
            yield file
        return
    begun = path.with_name(f".{path.name}.begun")
    with _naming(path):
        descriptor = _begin(begun)
    with _writer(descriptor, path, mode) as file:
        try:
            yield file
            _sync(file, path)
            with _naming(path):
                begun.replace(path)
        except BaseException:
            begun.unlink(missing_ok=True)
            raise
    _sync_folder(path.parent)


@contextlib.contextmanager
def open_lines(path: Path) -> Iterator[IO[str]]:
    """Open a file for more lines of text, behind the last whole one; what a killed run left of a line goes.

    Raises:
        OSError: It cannot be written; ``filename`` is ``path``.
    """
    with path.open("ab+") as file:
        end = _end_of_lines(file)
        if end < file.seek(0, os.SEEK_END):
            file.truncate(end)
        with _writer(os.dup(file.fileno()), path, "w") as lines:
            yield lines
            _sync(lines, path)


def read_lines(
    path: Path, parse: Callable[[bytes], Row], *, set_aside: Callable[[SetAside], None]
) -> Iterator[Row]:
    """Yield what ``parse`` makes of each line of ``path``, one at a time.

    A line for which it raises ValueError is handed to ``set_aside`` with its place: a killed run leaves a torn one, a
    power cut one of zeros, and other JSONL may lie beside ours. So is what follows where a compressed file breaks off.
    """
    number = 0
    try:
        for number, line in enumerate(lines_of(path), start=1):
            try:
                row = parse(line)
            except ValueError as error:
                set_aside(SetAside(path, number, str(error)))
            else:
                yield row
    except BrokenOffError as error:
        set_aside(SetAside(path, number + 1, str(error)))


class BrokenOffError(ValueError):
    """A compressed file ends in the middle, or goes on with something else; or a line is too long to be one of ours."""


MAX_LINE = 1 << 26
"""Bytes of the longest line that is read: a small compressed file may hold one that fills the memory."""


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, of one whose name ends with ``.gz`` as they were before they were compressed.

    Raises:
        BrokenOffError: Behind the last line that can be read: a compressed file is none from there on, or the next line
            is longer than ``MAX_LINE``.
    """
    if path.suffix != ".gz":
        with path.open("rb") as file:
            yield from _bounded(file)
        return
    with gzip.open(path) as compressed:
        try:
            yield from _bounded(compressed)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise BrokenOffError(f"the compressed file breaks off: {error}") from None


def _bounded(file: IO[bytes] | gzip.GzipFile) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            raise BrokenOffError(f"the line is longer than {MAX_LINE >> 20} MiB")
        yield line


class NotJSONError(ValueError):
    """A text that is no JSON.

    Attributes:
        reason: Why not.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"not JSON: {reason}")
        self.reason = reason


def json_line(line: bytes | str) -> Any:
    """Return the JSON value of a line or a file.

    Raises:
        NotJSONError: It is none.
    """
    try:
        return json.loads(line)
    except ValueError as error:  # of JSON or of UTF-8
        raise NotJSONError(str(error)) from None
    except RecursionError:
        raise NotJSONError("nested too deeply") from None


def check_characters(name: str, text: str) -> None:
    """Raise DataError where a text holds half of a character, as JSON can and no file in UTF-8; ``name`` is its own."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise DataError(
            f"{name} holds {half!r}, half of a character (a lone surrogate), which no file can hold. Write the "
            "character whole, or leave it out."
        ) from None


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have an OSError name ``path``: one of a write names nothing, and others what is none of the user's."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


class _Raw(io.FileIO):
    """A descriptor whose errors name a file, whoever else is writing one at the time."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "w")
        self._path = path

    def write(self, data: Any) -> int:
        with _naming(self._path):
            return super().write(data)


def _writer(descriptor: int, path: Path, mode: str) -> IO[Any]:
    """Return a file for a descriptor. A lone surrogate, which UTF-8 does not have, becomes JSON's escape of it."""
    buffered = io.BufferedWriter(_Raw(descriptor, path))
    if "b" in mode:
        return buffered
    return io.TextIOWrapper(buffered, encoding="utf-8", errors="backslashreplace", newline="\n")


def _begin(begun: Path) -> int:
    """Return the descriptor of an empty file, whose name this process alone has until it closes it.

    One that a killed run left is taken over.
    """
    while True:
        descriptor = os.open(begun, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o666)
        try:
            _lock(descriptor, begun)
            if _is_at(descriptor, begun):
                os.ftruncate(descriptor, 0)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # of a writer that was done with it in this moment


def _lock(descriptor: int, begun: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(error.errno, "another process is writing it", os.fspath(begun)) from None
    except OSError:
        pass  # a file system without locks


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sync(file: IO[Any], path: Path) -> None:
    file.flush()
    with _naming(path):
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Have the disk keep the names in a folder; some file systems cannot be asked."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _end_of_lines(file: IO[bytes]) -> int:
    """Return where the last line that ends with a newline ends."""
    end = file.seek(0, os.SEEK_END)
    while end > 0:
        start = max(0, end - _BLOCK)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0
