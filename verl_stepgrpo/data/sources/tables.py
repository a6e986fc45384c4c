"""Open parquet to read it row by row, and what reading a table, parquet or a stream of Arrow's, raises."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TABLE_ERRORS = (OSError, ValueError, OverflowError, pa.ArrowException)
"""For a file that is missing or damaged, or needs more memory than there is: bytes that are no UTF-8, dates that Python
does not have, and all else that pyarrow finds. Its errors are ValueErrors, NotImplementedErrors, TypeErrors, KeyErrors
or MemoryErrors, by what it meets."""

READ_AT_ONCE = 64
"""Rows that become Python's at a time; with their images and a page of each column they are what is held of a file."""
BUFFER = 1 << 20
"""Bytes of a column that are read at once."""


def open_parquet(path: str | Path) -> pq.ParquetFile:
    """Return an opened file of parquet, of which no more is held than is being read: a page of each column.

    By pyarrow's default a file that is iterated is in memory as a whole, to be fetched from far away in few pieces.

    Raises:
        TABLE_ERRORS: It cannot be read.
    """
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER)
