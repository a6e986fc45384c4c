"""Prepare a raw dataset for verl: parquet files for RL and for the warm-up, and a report of what was left out.

Works through the file in chunks, on several processes, and keeps each finished chunk, so that an interrupted run goes
on where it was. Memory does not grow with the dataset: rows are written as they come and joined as a stream. The files
appear together when all is joined, and ``report.json`` last: where it stands, they are what it says.
Which split a row is in depends on its question and images and on the seed alone.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from verl_stepgrpo.counts import counted
from verl_stepgrpo.data.prompts.length import check_prompt_limit, prompt_length_of, special_tokens_of
from verl_stepgrpo.data.prompts.text import other_format
from verl_stepgrpo.data.rows.build import NO_WARMUP, REASONS, DroppedError, RowOptions, rl_row, sft_row
from verl_stepgrpo.data.sources.items import OWN_INFO, Item, RowError, is_verls, read_items
from verl_stepgrpo.data.sources.names import said_of_others
from verl_stepgrpo.data.sources.raw_rows import files_of, schema_of
from verl_stepgrpo.data.sources.tables import TABLE_ERRORS
from verl_stepgrpo.data.split import SHARE, check_split, choose_one, noted_share, split_of
from verl_stepgrpo.errors import ConfigError, DataError, EndedError
from verl_stepgrpo.files import json_line, open_whole, write_whole
from verl_stepgrpo.judging.answers.options import LETTERS
from verl_stepgrpo.judging.key_steps.reference import parse_key_steps
from verl_stepgrpo.running.parallel import in_order
from verl_stepgrpo.running.resume import begin

CHUNK = 256
"""Rows that one process works through at a time, and that an interruption may cost."""

FILES = ("rl-train", "rl-val", "sft-train", "sft-val")
PARTS, DROPPED, REPORT = ".parts", "dropped.jsonl", "report.json"
_MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])


@dataclass(frozen=True)
class PrepareOptions:
    """How a dataset is prepared.

    Attributes:
        rows: How items become rows.
        val_share: Share of the rows, in [0, 1), that goes to the validation split; above 0 at least one of two.
        seed: Decides which.
        model: Model folder or name whose processor counts the prompts' tokens, or None.
    """

    rows: RowOptions
    val_share: float = 0.02
    seed: int = 0
    model: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.val_share < 1:
            raise ConfigError(f"--val-share={self.val_share} is out of range: it must be a share in [0, 1).")
        check_prompt_limit(self.rows.max_prompt_length, self.model)


_Task = tuple[int, "list[tuple[int, Item | RowError]]", Path, PrepareOptions, "list[pa.Field]"]
"""The number of a chunk, its rows, the folder of the parts, the options, and other fields of ``extra_info``."""


@dataclass(frozen=True)
class Report:
    """What became of a dataset.

    Attributes:
        read: Rows of the raw dataset.
        written: Rows of each file.
        dropped: Rows left out, by reason.
        no_warmup: Rows that RL has and the warm-up has not, by reason.
        key_steps: Key steps kept, and those left out since their own solution lacks them.
        without_images: Rows of text alone, which are not asked for an image description.
        redrawn_images: Images that are stored as a viewer shows them, since verl would show a model something else.
        unread: Keys that look as if they were meant and are not read, and questions that ask for another format: what
            they are, and in how many rows.
        others: Other keys that are not read, and in how many rows.
        split: What decided which rows are for validation: ``val_share`` and ``seed``.
    """

    read: int
    written: dict[str, int]
    dropped: dict[str, int]
    no_warmup: dict[str, int]
    key_steps: dict[str, int]
    without_images: int
    redrawn_images: int
    unread: dict[str, int]
    others: dict[str, int]
    split: dict[str, float]


def prepare(
    source: Path,
    out: Path,
    options: PrepareOptions,
    *,
    num_proc: int = 1,
    progress: Callable[[int], None] = lambda n: None,
) -> Report:
    """Prepare ``source`` into ``out`` and return the report, which is also written to ``out/report.json``.

    Args:
        source: A file, folder or name on the hub, of any layout that ``read_items`` knows.
        out: Folder for ``rl-train.parquet`` and the others, ``dropped.jsonl`` and ``report.json``.
        options: How. A folder that was begun with others is refused, and so is a finished one that was split otherwise.
        num_proc: Processes.
        progress: Called with the number of rows of each finished chunk.

    Raises:
        DataError: The source cannot be read, or has no row that can be used; files that stand in ``out`` are left.
        ConfigError: ``out`` was begun with other options or split otherwise, or the model's processor cannot be loaded.
    """
    if options.model is not None:
        prompt_length_of(options.model)  # a mistake in its name is met here and not in a process of the pool
    split = {"val_share": options.val_share, "seed": options.seed}
    check_split(out / REPORT, split)
    next(read_items(source))  # a source that cannot be read is met before anything is written
    parts = out / PARTS
    _remove(_done_with(parts))  # of a run that was ended while it cleared up
    if not (has_begun := any(parts.glob("[0-9]*.json"))):
        (parts / SHARE).unlink(missing_ok=True)
    begin(parts / "options.json", source, options, files=files_of(source), has_begun=has_begun)
    others = _other_info(source)
    counts, n_parts = _worked_through(_tasks(source, parts, options, others), num_proc, progress)
    if options.val_share and not counts["rl-val"] and choose_one(source, parts, options.seed):
        counts, n_parts = _worked_through(_tasks(source, parts, options, others), num_proc, progress)
    if not any(counts[name] for name in FILES):
        _join_dropped(parts, n_parts).replace(out / DROPPED)
        _clear(parts)
        raise DataError(_nothing_usable(source, out, counts))
    report = _report(counts, split)
    schemas = {name: _schema(name, options.rows, others) for name in FILES}
    joined = [_join(parts, name, n_parts, counts[name], schema) for name, schema in schemas.items()]
    _put_in_place([*joined, _join_dropped(parts, n_parts)], out, report)
    _clear(parts)
    return report


def _worked_through(
    tasks: Iterable[_Task], num_proc: int, progress: Callable[[int], None]
) -> tuple[Counter[str], int]:
    """Work through the chunks; return their counts in sum, and how many chunks there are."""
    counts: Counter[str] = Counter()
    n_parts = 0
    with contextlib.closing(in_order(_work, tasks, num_proc=num_proc)) as finished:
        for part in finished:
            counts.update(part)
            n_parts += 1
            progress(part["read"])
    return counts, n_parts


def _report(counts: Counter[str], split: dict[str, float]) -> Report:
    return Report(
        counts["read"],
        {name: counts[name] for name in FILES},
        _dropped(counts, REASONS),
        _dropped(counts, NO_WARMUP),
        {name: counts[f"key_steps/{name}"] for name in ("kept", "removed")},
        counts["without_images"],
        counts["images/redrawn"],
        _counts_of("unread/", counts),
        _counts_of("others/", counts),
        split,
    )


def _put_in_place(joined: Iterable[Path], out: Path, report: Report) -> None:
    """Move the files to where they are looked for; an older report goes before the first, and ours comes last."""
    (out / REPORT).unlink(missing_ok=True)
    for path in joined:
        path.replace(out / path.name)
    write_whole(out / REPORT, json.dumps(asdict(report), indent=2) + "\n")


def kept(out: Path) -> int:
    """Return about how many rows of the source an interrupted run into ``out`` need not look at again."""
    return CHUNK * sum(1 for _ in (out / PARTS).glob("[0-9]*.json"))


def _done_with(parts: Path) -> Path:
    return parts.with_name(f"{parts.name}.done")


def _clear(parts: Path) -> None:
    """Remove what was joined. In one step, first: some of the chunks would look like a run to go on with."""
    _remove(parts.rename(_done_with(parts)))


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _dropped(counts: Mapping[str, int], reasons: Iterable[str]) -> dict[str, int]:
    return {reason: n for reason in reasons if (n := counts.get(f"dropped/{reason}", 0))}


def _counts_of(prefix: str, counts: Counter[str]) -> dict[str, int]:
    return {name.removeprefix(prefix): n for name, n in counts.items() if name.startswith(prefix)}


def _nothing_usable(source: Path, out: Path, counts: Counter[str]) -> str:
    reasons = ", ".join(f"{reason}: {n}" for reason, n in _dropped(counts, REASONS).items())
    named = _counts_of("unread/", counts).items()
    unread = "".join(f"; {counted(n, 'row has', 'rows have')} {name}" for name, n in named)
    return (
        f"no row of {source} ({counts['read']} in all) can be used ({reasons}){unread}"
        f"{said_of_others(_counts_of('others/', counts))}; "
        f"{out / DROPPED} says why"
    )


def _tasks(source: Path, parts: Path, options: PrepareOptions, others: list[pa.Field]) -> Iterator[_Task]:
    options = replace(options, val_share=noted_share(parts, options.val_share))
    yield from ((number, chunk, parts, options, others) for number, chunk in enumerate(_chunks(source)))


def _chunks(source: Path) -> Iterator[list[tuple[int, Item | RowError]]]:
    items = read_items(source)
    while chunk := list(itertools.islice(items, CHUNK)):
        yield chunk


def _other_info(source: Path) -> list[pa.Field]:
    """Return the fields of ``extra_info`` that a verl parquet has beside this package's own; they are kept."""
    if not is_verls(source):
        return []
    schema = schema_of(files_of(source)[0])
    place = schema.get_field_index("extra_info")
    info = schema.field(place).type if place >= 0 else None
    return [one for one in info if one.name not in OWN_INFO] if isinstance(info, pa.StructType) else []


def _work(task: _Task) -> dict[str, int]:
    """Prepare one chunk, unless that was done before; return its counts."""
    number, chunk, parts, options, others = task
    done = _finished(parts, number)
    if done is not None:
        return done
    counts: Counter[str] = Counter(read=len(chunk))
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in FILES}
    dropped = []
    for index, item in chunk:
        try:
            for name, row in _rows_of(item, options, counts):
                rows[name].append(row)
        except (ConfigError, EndedError):
            raise
        except Exception as error:  # Pillow and a processor raise what they like; one row must not end all
            reason, detail = _why_dropped(error)
            counts[f"dropped/{reason}"] += 1
            dropped.append({"row": index, "id": item.id, "reason": reason, "detail": detail})
    for name in FILES:
        counts[name] = len(rows[name])
        if rows[name]:
            table = pa.Table.from_pylist(rows[name], schema=_schema(name, options.rows, others))
            with open_whole(_part(parts, number, name), "wb") as file:
                pq.write_table(table, file)
    lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in dropped)
    write_whole(_part_dropped(parts, number), lines)
    write_whole(_mark(parts, number), json.dumps(counts))  # last: a chunk with this file is finished
    return counts


def _mark(parts: Path, number: int) -> Path:
    return parts / f"{number:06d}.json"


def _part(parts: Path, number: int, name: str) -> Path:
    return parts / f"{number:06d}-{name}.parquet"


def _part_dropped(parts: Path, number: int) -> Path:
    return parts / f"{number:06d}-{DROPPED}"


def _finished(parts: Path, number: int) -> dict[str, int] | None:
    """Return the counts of a chunk that an earlier run finished and whose files hold what they say, or None."""
    try:
        counts = json_line(_mark(parts, number).read_bytes())
        rows = {name: pq.read_metadata(_part(parts, number, name)).num_rows for name in FILES if counts[name]}
        lines = _part_dropped(parts, number).read_bytes().count(b"\n")
    except (*TABLE_ERRORS, KeyError, TypeError):
        return None
    dropped = sum(n for key, n in counts.items() if key.startswith("dropped/"))
    return counts if lines == dropped and all(rows[name] == counts[name] for name in rows) else None


def _rows_of(
    item: Item | RowError, options: PrepareOptions, counts: Counter[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows of an item, each with the name of its file.

    Raises:
        DroppedError: The item has none, or no more.
    """
    counts.update(f"unread/{name}: {hint}" for name, hint in item.unread)
    counts.update(f"others/{name}" for name in item.others)
    if isinstance(item, RowError):
        raise DroppedError("unreadable", str(item))
    paid = options.rows.reward.format
    if other := other_format(item.question, paid):
        name = f"unread/a question that asks for {other}"
        counts[f"{name}: the request for {paid} stands behind it; take one out, or say --format {other}"] += 1
    prompt_length = prompt_length_of(options.model) if options.model is not None else None
    tokens = special_tokens_of(options.model)
    images: Counter[str] = Counter()
    row = rl_row(item, options.rows, prompt_length, tokens=tokens, counts=images)
    split = split_of(item, options.seed, options.val_share)
    kept = len(row["extra_info"]["key_steps"])
    counts.update(images)
    counts["key_steps/kept"] += kept
    counts["without_images"] += not row["images"]
    counts["key_steps/removed"] += len(parse_key_steps(item.key_steps)) - kept
    yield f"rl-{split}", row
    yield f"sft-{split}", sft_row(item, row, options.rows.reward, tokens=tokens)


def _why_dropped(error: Exception) -> tuple[str, str]:
    """Return the reason and the detail; an error that was not foreseen is said with its type."""
    if isinstance(error, DroppedError):
        return error.reason, str(error)
    return "failed", f"{type(error).__name__}: {error}"


def _schema(name: str, options: RowOptions, others: Sequence[pa.Field] = ()) -> pa.Schema:
    """Return the columns of a file; an image has the keys that verl is to see, and no empty ones beside them.

    ``others`` are further fields of ``extra_info``.
    """
    image: list[tuple[str, pa.DataType]] = (
        [("bytes", pa.binary())] if options.embed_images else [("image", pa.string())]
    )
    if options.max_pixels is not None:
        image.append(("max_pixels", pa.int64()))
    images = ("images", pa.list_(pa.struct(image)))
    if name.startswith("sft"):
        return pa.schema([("messages", pa.list_(_MESSAGE)), images])
    extra_info = [
        ("index", pa.int64()),
        ("id", pa.string()),
        ("key_steps", pa.list_(pa.list_(pa.string()))),
        ("visual_key_steps", pa.list_(pa.list_(pa.string()))),
        ("solution", pa.string()),
        ("choices", pa.struct([(letter, pa.string()) for letter in LETTERS])),
        *((one.name, one.type) for one in others),
    ]
    return pa.schema([
        ("data_source", pa.string()),
        ("prompt", pa.list_(_MESSAGE)),
        images,
        ("reward_model", pa.struct([("style", pa.string()), ("ground_truth", pa.string())])),
        ("extra_info", pa.struct(extra_info)),
    ])  # fmt: skip


def _join(parts: Path, name: str, n_parts: int, n_rows: int, schema: pa.Schema) -> Path:
    """Write the rows of all chunks into one file beside them, chunk by chunk, and return it.

    Raises:
        DataError: The chunks do not hold ``n_rows`` rows.
    """
    target = parts / f"{name}.parquet"
    n = 0
    with open_whole(target, "wb") as file, pq.ParquetWriter(file, schema) as writer:
        for path in _existing(_part(parts, number, name) for number in range(n_parts)):
            try:
                table = pq.read_table(path)
            except TABLE_ERRORS as error:
                raise DataError(f"{path} cannot be read: {error}. {_anew(parts)}") from None
            writer.write_table(table)
            n += len(table)
    if n != n_rows:
        raise DataError(
            f"{parts} holds {counted(n, 'row')} of {name}, of {n_rows} that were prepared. {_anew(parts)}"
        )
    return target


def _anew(parts: Path) -> str:
    return f"Remove {parts}, and prepare the data anew."


def _join_dropped(parts: Path, n_parts: int) -> Path:
    target = parts / DROPPED
    with open_whole(target, "wb") as file:
        for path in _existing(_part_dropped(parts, number) for number in range(n_parts)):
            file.write(path.read_bytes())
    return target


def _existing(paths: Iterable[Path]) -> Iterator[Path]:
    return (path for path in paths if path.exists())
