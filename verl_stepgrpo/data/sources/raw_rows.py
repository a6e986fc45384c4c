"""Read the rows of a raw dataset as they lie: JSON, JSONL, parquet, a folder of parquet shards, a name on the hub.

Streams: a file of any size is read in constant memory, parquet in batches. What a row means is ``items``' matter.
Only a name on the Hugging Face hub asks a network, through ``datasets``, which keeps what it loads.
"""

from __future__ import annotations

import codecs
import contextlib
import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import ijson
import pyarrow as pa

from verl_stepgrpo.data.prompts.pretrained import hub_answers
from verl_stepgrpo.data.sources.tables import READ_AT_ONCE, TABLE_ERRORS, open_parquet
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.files import NotJSONError, json_line

DEEPEST = 500
"""Objects and lists within each other in a list of JSON; a line of JSON may be about twice as deep."""

_OTHER_FILES = {
    b"\x1f\x8b": "packed with gzip: unpack it",
    b"PK\x03\x04": "a ZIP archive: unpack it",
    codecs.BOM_UTF16_LE: "UTF-16: save it as UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16: save it as UTF-8",
}
"""What a file is that begins so."""
_TABLES = frozenset({".csv", ".tsv"})
_PARQUET = b"PAR1"
_ARROW = ".arrow"
"""How the files end that ``datasets`` keeps of what it loads: streams of Arrow's record batches."""
_FILE_ENDINGS = frozenset({".json", ".jsonl", ".parquet"})
_HUB_NAME = re.compile(
    r"(?P<name>[\w-][\w.-]*/[\w.-]+)(?::(?P<config>[\w.-]+)(?=:))?(?::(?P<split>[\w.-]+))?"
)
_SHARD = re.compile(r"[-_.]?\d+(?:-of-\d+)?(?:-[0-9a-f]{16})?$")
"""What numbers a shard: ``train-00000-of-00002``, ``0000``."""


def files_of(source: Path) -> list[Path]:
    """Return the files that a source is: itself, the shards of a folder, or what the hub's was loaded into.

    Args:
        source: A file, a folder, ``folder:split``, or a name on the hub, ``owner/name``, ``owner/name:split`` or
            ``owner/name:config:split``.

    Raises:
        DataError: A folder has no parquet or shards of several splits, or the hub does not give what is named.
    """
    if source.is_dir():
        return _shards(source, None)
    folder, _, split = str(source).rpartition(":")
    if folder and Path(folder).is_dir():
        return _shards(Path(folder), split)
    named = _HUB_NAME.fullmatch(str(source))
    if named is None or source.exists() or source.suffix.lower() in _FILE_ENDINGS:
        return [source]
    return list(_of_hub(named["name"], named["config"], named["split"]))


def name_of_source(source: Path) -> str:
    """Return what a dataset is called by default: the last part of its path or name, without ending and split."""
    return Path(str(source).partition(":")[0]).stem


def folder_of(source: Path) -> Path:
    """Return where relative paths of images start by default: the folder of a file, or the folder itself."""
    folder = Path(str(source).rpartition(":")[0] or source)
    return folder if folder.is_dir() else source.parent if source.exists() else Path()


def raw_rows(source: Path, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yield the rows of a source: objects, or a DataError in place of one that cannot be read alone.

    Of a table ``columns`` alone are read, those of them that it has.

    Raises:
        DataError: The source cannot be read, breaks off, or is laid out as a file of its name is not.
    """
    for path in files_of(source):
        if known := columns_of(path):
            wanted = [name for name in known if columns is None or name in columns]
            yield from _table_rows(path, wanted)
        else:
            yield from _json_rows(path)


def columns_of(path: Path) -> list[str]:
    """Return the columns of a file of a table; none of a file of JSON.

    Raises:
        DataError: It cannot be read.
    """
    return list(schema_of(path).names)


def schema_of(path: Path) -> pa.Schema:
    """Return the columns of a file of a table with their types; none of a file of JSON.

    Raises:
        DataError: It cannot be read.
    """
    try:
        if path.suffix == _ARROW:
            with pa.memory_map(str(path)) as file:
                return pa.ipc.open_stream(file).schema
        with path.open("rb") as file:
            is_parquet = file.read(len(_PARQUET)) == _PARQUET
        return open_parquet(path).schema_arrow if is_parquet else pa.schema([])
    except TABLE_ERRORS as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def batches(path: Path, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Yield a file of a table, these columns of it, in batches of ``READ_AT_ONCE`` rows.

    Raises:
        DataError: It cannot be read.
    """
    try:
        if path.suffix == _ARROW:
            with pa.memory_map(str(path)) as file:
                for batch in pa.ipc.open_stream(file):
                    for start in range(0, len(batch), READ_AT_ONCE):
                        rows = batch.slice(start, READ_AT_ONCE)
                        yield rows if columns is None else rows.select(list(columns))
        else:
            yield from open_parquet(path).iter_batches(batch_size=READ_AT_ONCE, columns=columns)
    except TABLE_ERRORS as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def _table_rows(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    try:
        for batch in batches(path, columns):
            yield from batch.to_pylist()
    except TABLE_ERRORS as error:  # texts and dates become Python's here, and not where they are read
        raise DataError(f"{path} cannot be read: {error}") from error


def _shards(folder: Path, split: str | None) -> list[Path]:
    found = sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))
    if not found:
        raise DataError(f"{folder} has no parquet files, and none in data.")
    splits = {path: _SHARD.sub("", path.stem) for path in found}
    kept = [path for path in found if split is None or splits[path] == split]
    has = f"it has {', '.join(sorted(set(splits.values())))}"
    if not kept:
        raise DataError(f"{folder} has no parquet of the split {split}: {has}.")
    if len({splits[path] for path in kept}) > 1:
        raise DataError(f"{folder} has more than one split: {has}. Name one, as {folder}:{splits[kept[0]]}.")
    return kept


@functools.cache
def _of_hub(name: str, config: str | None, split: str | None) -> tuple[Path, ...]:
    """Return the files that ``datasets`` keeps of a dataset of the hub; loaded once a process."""
    said = f"there is no file or folder {name}, and as a dataset of the Hugging Face hub it cannot be loaded"
    try:
        from datasets import DatasetDict, load_dataset
    except ImportError as error:
        raise DataError(f"{said}: {error}. Install it: pip install datasets.") from error
    answers = hub_answers()
    if not answers:
        said += " (the hub does not answer, so that only what was loaded before is there)"
    try:
        with contextlib.nullcontext() if answers else _offline():
            found = load_dataset(name, config)
    except Exception as error:  # it raises what it, the hub's client and whatever reads the files raise
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(
            f"{said}: {first.rstrip('.')}. Mend the name (owner/name, owner/name:split or owner/name:config:split), or "
            "download the dataset and name its folder."
        ) from error
    splits = dict(found) if isinstance(found, DatasetDict) else {"train": found}
    wanted = split or ("train" if "train" in splits else next(iter(splits)) if len(splits) == 1 else None)
    if wanted not in splits:
        raise DataError(
            f"{name} on the Hugging Face hub has no split {split or 'train'}: it has {', '.join(splits)}. Name one, as "
            f"{name}:{next(iter(splits))}."
        )
    return tuple(Path(file["filename"]) for file in splits[wanted].cache_files)


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Let ``datasets`` look at what it keeps alone: it would ask a hub that does not answer again and again."""
    import datasets
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _json_rows(path: Path) -> Iterator[Any]:
    number = -1
    try:
        with path.open("rb") as file:
            _check_layout(path, file)
            if _is_lines(path):
                yield from (_parsed(line) for line in file if line.strip())
            else:
                # Numbers stay floats, as a line's.
                events = _not_too_deep(ijson.basic_parse(file, use_float=True))
                for row in ijson.items(ijson.parse(events), "item"):
                    number += 1
                    yield row
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    except (ijson.JSONError, UnicodeDecodeError) as error:  # Python refuses bytes that yajl takes for UTF-8
        raise DataError(
            f"{path} is not a JSON list of objects: row {number + 1} (counted from 0) cannot be read{_place(error)}. "
            "NaN, Infinity and bytes that are no UTF-8 are not JSON. One object a line is read from a file named "
            ".jsonl, where one bad line costs no other."
        ) from error


def _not_too_deep(events: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield what ijson parsed, as long as it is not nested more than ``DEEPEST`` deep.

    ijson spells the way to each value out, 5 bytes a level, so that 100,000 brackets take 25 GB.
    """
    depth = 0
    for event in events:
        if event[0] in ("start_map", "start_array"):
            depth += 1
            if depth > DEEPEST:
                raise ijson.JSONError(f"nested more than {DEEPEST} deep")
        elif event[0] in ("end_map", "end_array"):
            depth -= 1
        yield event


def _place(error: ijson.JSONError | UnicodeDecodeError) -> str:
    """Return the text around the place of an error of yajl's, which marks it with an arrow in the next line."""
    said = error.args[0] if isinstance(error, ijson.JSONError) and error.args else str(error)
    lines = (said.decode("utf-8", "backslashreplace") if isinstance(said, bytes) else str(said)).splitlines()
    return f" near {lines[1].strip()!r}" if len(lines) > 1 and lines[1].strip() else f": {lines[0]}"


def _is_lines(path: Path) -> bool:
    return path.suffix.lower() == ".jsonl"


def _check_layout(path: Path, file: BinaryIO) -> None:
    """Raise DataError where a list is named ``.jsonl``, or an object is not, or it is no JSON; leave ``file`` at its
    start, behind the mark of UTF-8."""
    is_lines = _is_lines(path)
    head = file.read(4)
    for begin, what in _OTHER_FILES.items():
        if head.startswith(begin):
            raise DataError(f"{path} is {what}, a list of objects or one object a line.")
    if path.suffix.lower() in _TABLES:
        raise DataError(
            f"{path} is a table of a kind that is not read: write it as parquet or JSONL first, as pandas does: "
            f'python -c "import pandas; pandas.read_csv({str(path)!r}).to_parquet({f"{path.stem}.parquet"!r})".'
        )
    start = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
    file.seek(start)
    first = next((line.strip() for line in iter(lambda: file.readline(1 << 16), b"") if line.strip()), b"")
    file.seek(start)
    if is_lines and first.startswith(b"["):
        raise DataError(f"{path} holds a JSON list; expected one object a line. A list is named .json.")
    if not is_lines and first.startswith(b"{"):
        raise DataError(
            f"{path} holds a JSON object; expected a list: take it out of the object, or, where each line is an "
            "object, name the file .jsonl."
        )


def _parsed(line: bytes) -> Any:
    try:
        return json_line(line)
    except NotJSONError as error:
        return DataError(f"the line is not JSON: {error.reason}")
