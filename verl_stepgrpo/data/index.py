"""Check the index of a row, by which traces name it. Pure."""

from __future__ import annotations

from verl_stepgrpo.errors import DataError


def check_index(index: object, number: int, seen: dict[str, int]) -> None:
    """Note in ``seen`` which row has ``index``.

    Args:
        index: ``extra_info.index`` of a row.
        number: The row's place in its file.
        seen: By index, the first row that has it.

    Raises:
        DataError: It is missing, or an earlier row has it.
    """
    if index is None:
        raise DataError(
            "extra_info.index is missing; it names the row in traces and has to be unique in its file"
        )
    name = repr(index)  # an index of any type, one that cannot be hashed too
    if name in seen:
        raise DataError(f"extra_info.index={name} stands in row {seen[name]} already; it has to be unique")
    seen[name] = number
