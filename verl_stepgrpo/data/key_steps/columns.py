"""Write key steps into verl's parquet, as ``extra_info.key_steps`` and ``visual_key_steps``; all else as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from verl_stepgrpo.data.sources.raw_rows import batches
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.judging.key_steps.reference import KeyStep

_TYPE = pa.list_(pa.list_(pa.string()))

Found = Mapping[int, Sequence[KeyStep]]
"""Key steps by the number of the row; one that is not in it has none."""


def write_key_steps(files: Sequence[Path], found: Found, out: IO[bytes], visual: Found | None = None) -> None:
    """Write the rows of ``files`` into ``out``, batch by batch, with the key steps that were found.

    Args:
        files: verl's parquet for RL, or its shards; their rows are numbered through.
        found: Those of the steps.
        out: An opened file.
        visual: Those of the image description. Where no row has any, nothing is written of them.

    Raises:
        DataError: A file cannot be read, ``extra_info`` is no object, or the files have other columns than the first.
    """
    writer: pq.ParquetWriter | None = None
    number = 0
    written = {
        "key_steps": found,
        **({"visual_key_steps": visual} if visual and any(visual.values()) else {}),
    }
    try:
        for path in files:
            for batch in batches(path):
                places = range(number, number + len(batch))
                columns = {
                    name: _column([of.get(place, ()) for place in places]) for name, of in written.items()
                }
                table = _with_columns(batch, columns, path)
                number += len(batch)
                writer = writer or pq.ParquetWriter(out, table.schema)
                if not table.schema.equals(writer.schema):
                    raise DataError(
                        f"{path} has other columns, or other types, than {files[0]}; give one by one."
                    )
                writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _column(rows: Sequence[Sequence[KeyStep]]) -> pa.Array:
    return pa.array([[list(wordings) for wordings in row] for row in rows], type=_TYPE)


def _with_columns(batch: pa.RecordBatch, columns: Mapping[str, pa.Array], path: Path) -> pa.Table:
    """Return a batch with these fields of ``extra_info``, in place of those of their names."""
    place = batch.schema.get_field_index("extra_info")
    table = pa.Table.from_batches([batch])
    new = [(pa.field(name, _TYPE), column) for name, column in columns.items()]
    if place < 0:
        return table.append_column("extra_info", _struct(new))
    old = batch.column(place)
    if not pa.types.is_struct(old.type):
        raise DataError(f"{path}: extra_info is {old.type}; key steps can be put into an object alone")
    pairs = zip(old.type, old.flatten(), strict=True)
    made = _struct([(field, values) for field, values in pairs if field.name not in columns] + new)
    return table.set_column(place, pa.field("extra_info", made.type), made)


def _struct(columns: Sequence[tuple[pa.Field, pa.Array]]) -> pa.StructArray:
    fields, arrays = zip(*columns, strict=True)
    return pa.StructArray.from_arrays(arrays, fields=fields)
