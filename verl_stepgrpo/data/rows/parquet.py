"""Open verl's parquet for RL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from verl_stepgrpo.counts import plural
from verl_stepgrpo.data.sources.tables import READ_AT_ONCE, TABLE_ERRORS, open_parquet
from verl_stepgrpo.errors import DataError

NEEDED = ("prompt", "reward_model")
"""Columns without which no row can be asked and scored."""


def rows_of(file: Path, opened: pq.ParquetFile, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of an opened file in these columns, ``READ_AT_ONCE`` at a time.

    Raises:
        DataError: Part of the file is damaged, behind a whole list of its parts.
    """
    try:
        for batch in opened.iter_batches(batch_size=READ_AT_ONCE, columns=list(columns)):
            yield from batch.to_pylist()
    except TABLE_ERRORS as error:
        raise DataError(f"{file} cannot be read: {error}. Download or write it again.") from error


def open_rl_parquet(file: Path, needed: Sequence[str] = NEEDED) -> pq.ParquetFile:
    """Return an opened parquet file of RL rows, nothing of it read but its columns' names.

    Raises:
        DataError: The file cannot be read, has no rows, is the warm-up's, or has not all columns of ``needed``.
    """
    if not file.is_file():
        raise DataError(
            f"{file} is not a file; expected verl's parquet for RL, as rl-train.parquet of prepare"
        )
    try:
        opened = open_parquet(file)
    except TABLE_ERRORS as error:
        raise DataError(
            f"{file} cannot be read: {error}. Expected verl's parquet for RL, as rl-train.parquet of prepare."
        ) from error
    columns = opened.schema_arrow.names
    if "messages" in columns and "prompt" not in columns:
        raise DataError(
            f"{file} is the warm-up's: it has messages and no prompt. Name the file for RL, as rl-val.parquet."
        )
    if missing := [name for name in needed if name not in columns]:
        lacking = f"{plural(len(missing), 'column')} {', '.join(missing)}"
        raise DataError(
            f"{file} has no {lacking}; it has {', '.join(columns)}. Expected verl's parquet for RL: verl-stepgrpo "
            "prepare makes it of a raw dataset."
        )
    if not opened.metadata.num_rows:
        raise DataError(f"{file} has no rows")
    return opened
