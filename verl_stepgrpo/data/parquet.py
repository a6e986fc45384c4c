"""Open verl's parquet for RL."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from verl_stepgrpo.errors import DataError


def open_rl_parquet(file: Path) -> pq.ParquetFile:
    """Return an opened parquet file of RL rows, nothing of it read but its columns' names.

    Raises:
        DataError: The file cannot be read, has no rows, or is the warm-up's.
    """
    if not file.is_file():
        raise DataError(
            f"{file} is not a file; expected verl's parquet for RL, as rl-train.parquet of prepare"
        )
    try:
        opened = pq.ParquetFile(file)
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        raise DataError(
            f"{file} cannot be read: {error}. Expected verl's parquet for RL, as rl-train.parquet of prepare."
        ) from error
    columns = opened.schema_arrow.names
    if "messages" in columns and "prompt" not in columns:
        raise DataError(
            f"{file} is the warm-up's: it has messages and no prompt. Name the file for RL, as rl-val.parquet."
        )
    if not opened.metadata.num_rows:
        raise DataError(f"{file} has no rows")
    return opened
