"""What reading a table, parquet or a stream of Arrow's, raises where the file is damaged. No I/O.

A context manager cannot take an exception from what a generator's consumer does, so that readers name the tuple.
"""

from __future__ import annotations

import pyarrow as pa

TABLE_ERRORS = (OSError, ValueError, OverflowError, pa.ArrowException)
"""The file, bytes that are no UTF-8, dates that Python does not have, and all else that pyarrow finds: some of its
errors are ValueErrors, others NotImplementedErrors, TypeErrors, KeyErrors or MemoryErrors."""
