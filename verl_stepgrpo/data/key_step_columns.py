"""Write key steps into verl's parquet: ``extra_info.key_steps`` of each row, and all else of it as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from verl_stepgrpo.data.raw_rows import batches
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.judging.key_steps.reference import KeyStep

_KEY_STEPS = pa.field("key_steps", pa.list_(pa.list_(pa.string())))


def write_key_steps(files: Sequence[Path], found: Mapping[int, Sequence[KeyStep]], out: IO[bytes]) -> None:
    """Write the rows of ``files`` into ``out``, batch by batch, with the key steps that were found.

    Args:
        files: verl's parquet for RL, or its shards; their rows are numbered through.
        found: Key steps by the number of the row; a row that is not in it has an empty list.
        out: An opened file.

    Raises:
        DataError: A file cannot be read, ``extra_info`` is no object, or the files have other columns than the first.
    """
    writer: pq.ParquetWriter | None = None
    number = 0
    try:
        for path in files:
            for batch in batches(path):
                table = _with_key_steps(batch, [found.get(number + i, ()) for i in range(len(batch))], path)
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


def _with_key_steps(batch: pa.RecordBatch, found: Sequence[Sequence[KeyStep]], path: Path) -> pa.Table:
    new = pa.array([[list(wordings) for wordings in row] for row in found], type=_KEY_STEPS.type)
    place = batch.schema.get_field_index("extra_info")
    table = pa.Table.from_batches([batch])
    if place < 0:
        return table.append_column("extra_info", pa.StructArray.from_arrays([new], fields=[_KEY_STEPS]))
    old = batch.column(place)
    if not pa.types.is_struct(old.type):
        raise DataError(f"{path}: extra_info is {old.type}; key steps can be put into an object alone")
    kept = [
        (field, values)
        for field, values in zip(old.type, old.flatten(), strict=True)
        if field.name != "key_steps"
    ]
    fields, arrays = [field for field, _ in kept], [values for _, values in kept]
    made = pa.StructArray.from_arrays([*arrays, new], fields=[*fields, _KEY_STEPS])
    return table.set_column(place, pa.field("extra_info", made.type), made)
