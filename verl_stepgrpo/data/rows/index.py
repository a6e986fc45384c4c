"""Check the index of a row, by which traces name it, and say how a trace has it. Pure."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from verl_stepgrpo.errors import DataError


def check_index(index: object, number: int, seen: dict[str, int]) -> None:
    """Note in ``seen`` which row has ``index``.

    Args:
        index: ``extra_info.index`` of a row.
        number: The row's place in its file.
        seen: By index, the first row that has it.

    Raises:
        DataError: It is missing, it is of a kind that JSON has not, or an earlier row has it.
    """
    if index is None:
        raise DataError(
            "extra_info.index is missing; it names the row in traces and has to be unique in its file"
        )
    value = _own_value(index)
    if not _is_json(value):
        raise DataError(
            f"extra_info.index={index!r} ({type(index).__name__}) cannot be written to a trace, which is JSON; write "
            "it as a whole number or as text"
        )
    name = repr(value)  # an index of any type, one that cannot be hashed too
    if name in seen:
        raise DataError(f"extra_info.index={name} stands in row {seen[name]} already; it has to be unique")
    seen[name] = number


def traced(value: object) -> Any:
    """Return what names a row as a trace has it: a value that JSON has as it is, any other as its text. Never raises.

    For rows that nothing has checked, as those of a dataset class of the user's.
    """
    value = _own_value(value)
    return value if _is_json(value) else str(value)


def as_key(value: Any) -> Any:
    """Return what names a row, as a trace has it, as a key of a dict: a list or an object as its JSON."""
    return json.dumps(value) if isinstance(value, (list, dict)) else value


def _own_value(index: object) -> object:
    """Return the Python value of a scalar of numpy's; anything else as it is."""
    return index.item() if isinstance(index, np.generic) else index


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (
        TypeError,
        ValueError,
        RecursionError,
    ):  # of no such kind; not finite or in a circle; nested too deeply
        return False
    return True
