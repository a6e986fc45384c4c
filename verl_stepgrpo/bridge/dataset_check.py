"""Check every row of the training and validation files, in the driver, before anything is started.

Only the columns that scoring needs are read, in batches, so that images are never loaded. Checked:
``reward_model.ground_truth`` is there and not empty, ``extra_info.index`` is there and unique within a
file, ``extra_info.key_steps`` is of a type that can be read.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from verl_stepgrpo.data.index import check_index
from verl_stepgrpo.data.rl_rows import reference_of
from verl_stepgrpo.errors import DataError

COLUMNS = ["reward_model", "extra_info"]
SHOWN_ERRORS = 5

logger = logging.getLogger("verl_stepgrpo")


def check_files(files: Any, key: str) -> None:
    """Check the files of one configuration key; warn once of rows without key steps.

    Args:
        files: A path, a list of paths, or None.
        key: The configuration key that holds them, for messages.

    Raises:
        DataError: A file cannot be read or has no rows, or rows cannot be scored; says file, row and reason
            of the first few.
    """
    paths = [files] if isinstance(files, str) else list(files or ())
    for path in paths:
        problems, without_key_steps, n = _check_file(path, key)
        if problems:
            shown = "\n".join(f"  {path}, row {row}: {reason}" for row, reason in problems[:SHOWN_ERRORS])
            more = f"\n  and {len(problems) - SHOWN_ERRORS} more" if len(problems) > SHOWN_ERRORS else ""
            raise DataError(f"{len(problems)} of {n} rows of {key} cannot be scored:\n{shown}{more}")
        if n == 0:
            raise DataError(f"{key}: {path} has no rows")
        if without_key_steps:
            logger.warning(
                "%s: %d of %d rows of %s have no extra_info.key_steps; their key-step match is 0.",
                key,
                without_key_steps,
                n,
                path,
            )


def check_rows(rows: Iterable[Mapping[str, Any]]) -> tuple[list[tuple[int, str]], int, int]:
    """Return the problems (row number from 0, reason), the count of rows without key steps, and of all."""
    problems: list[tuple[int, str]] = []
    seen: dict[str, int] = {}
    without_key_steps = 0
    n = 0
    for number, row in enumerate(rows):
        n += 1
        try:
            reference = reference_of(row)
            without_key_steps += not reference.key_steps
            check_index(reference.index, number, seen)
        except DataError as error:
            problems.append((number, str(error)))
    return problems, without_key_steps, n


def _check_file(path: str, key: str) -> tuple[list[tuple[int, str]], int, int]:
    from verl.utils.fs import copy_to_local

    try:
        return check_rows(_rows(copy_to_local(path)))
    except (OSError, ValueError, AssertionError) as error:  # pyarrow's and json's errors are ValueErrors
        raise DataError(f"{key}: {path} cannot be read: {type(error).__name__}: {error}") from error


def _rows(path: str) -> Iterator[Mapping[str, Any]]:
    if path.endswith(".parquet"):
        import pyarrow.parquet as pq

        file = pq.ParquetFile(path)
        columns = [name for name in COLUMNS if name in file.schema_arrow.names]
        for batch in file.iter_batches(columns=columns):
            yield from batch.to_pylist()
        return
    with open(path, encoding="utf-8") as lines:
        if path.endswith(".jsonl"):
            yield from (json.loads(line) for line in lines if line.strip())
            return
        text = lines.read()
    # verl reads .json as a list of objects or as one object a line.
    if text.lstrip().startswith("["):
        yield from json.loads(text)
    else:
        yield from (json.loads(line) for line in text.splitlines() if line.strip())
