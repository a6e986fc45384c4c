"""What reading a table raises where the file, parquet or a stream of Arrow's, is damaged."""

from __future__ import annotations

import pyarrow as pa

TABLE_ERRORS = (OSError, ValueError, OverflowError, pa.ArrowException)
"""For a file that cannot be read, bytes that are no UTF-8, dates that Python does not have, and all else that pyarrow
finds: its errors are ValueErrors, NotImplementedErrors, TypeErrors, KeyErrors or MemoryErrors, by what it meets."""
