"""The key steps of a reference: equivalent wordings, read from whatever form a dataset has them in.

Pure: no I/O.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from verl_stepgrpo.errors import DataError

KeyStep = tuple[str, ...]
"""The equivalent wordings of one key step, none of them empty."""


def parse_key_steps(value: Any) -> tuple[KeyStep, ...]:
    """Return the key steps that ``value`` holds, each a tuple of equivalent wordings.

    Args:
        value: A list of strings; a list of lists of equivalent strings; R1-VL-10K's object with the list
            in ``Steps``; a JSON string of any of these; the numpy arrays that parquet gives back for
            them; or None for no key steps. Blank wordings, and key steps without any other, are dropped.

    Raises:
        DataError: ``value`` is of another type, or a JSON string that cannot be read.
    """
    items = _plain(value)
    if isinstance(items, str):
        items = _from_json(items)
    if isinstance(items, Mapping):
        if "Steps" not in items:
            raise DataError(
                f"key_steps is an object without 'Steps'; it has {sorted(items)}{_advice(str(items))}"
            )
        items = _plain(items["Steps"])
    if items is None:
        return ()
    if not isinstance(items, (list, tuple)):
        raise DataError(
            f"key_steps is {value!r} ({type(value).__name__}); expected a list of strings or of lists"
        )
    key_steps = (_wordings(item) for item in items)
    return tuple(wordings for wordings in key_steps if wordings)


def _plain(value: Any) -> Any:
    """Return numpy arrays (which parquet gives for lists) as lists; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def _from_json(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"key_steps is text that is not JSON ({error}): {text[:60]!r}"
            f"{_advice(text) or '. One key step alone is a list of one.'}"
        ) from None


def _advice(text: str) -> str:
    """Return what to do with the answer of R1-VL's own prompt for key steps (``Step 1: [...], Step 2: [...]``)."""
    if not re.search(r"\bStep\s*\d+\W*\[", text):
        return ""
    return ". Of the answer of R1-VL's prompt take the lists behind its steps, joined into one."


def _wordings(item: Any) -> KeyStep:
    item = _plain(item)
    wordings = [item] if isinstance(item, str) else item
    if not isinstance(wordings, (list, tuple)) or not all(isinstance(w, str) for w in wordings):
        raise DataError(
            f"a key step is {item!r} ({type(item).__name__}); expected a string or a list of strings"
        )
    return tuple(w for w in wordings if w.strip())
