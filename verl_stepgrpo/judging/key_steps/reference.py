"""The key steps of a reference: equivalent wordings, read from whatever form a dataset has them in.

Pure: no I/O.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from verl_stepgrpo.errors import DataError
from verl_stepgrpo.files import NotJSONError, json_line

KeyStep = tuple[str, ...]
"""The equivalent wordings of one key step, none of them empty."""


DESCRIPTION = "image description"
"""Section of key steps that stand in the image description."""

_SECTIONS = re.compile(r"\b(Image Description|Rationales?|Step\s*\d+)\W*?:\W*?\[", re.IGNORECASE)
"""What opens the list of a section in the answer of R1-VL's own prompt for key steps."""


def parse_key_steps(value: Any) -> tuple[KeyStep, ...]:
    """Return the key steps that ``value`` holds, each a tuple of equivalent wordings.

    Args:
        value: A list of strings; a list of lists of equivalent strings; R1-VL-10K's object with the list
            in ``Steps``; the answer of R1-VL's own prompt, ``Image Description: [...], Rationales: [...], Step 1:
            [...]``, as text or as an object, of which those of the steps are returned; a JSON string of any of these;
            the numpy arrays that parquet gives back for them; or None for no key steps. Blank wordings, and key steps
            without any other, are dropped.

    Raises:
        DataError: ``value`` is of another type, or a string that cannot be read.
    """
    items = _items(value)
    if isinstance(items, Mapping):
        steps = [name for name in items if re.fullmatch(r"Steps|(?i:step)\s*\d+", str(name))]
        if not steps and DESCRIPTION not in {str(name).lower() for name in items}:
            raise DataError(f"key_steps is an object without 'Steps'; it has {sorted(items)}")
        items = [item for name in steps for item in _listed(items[name])]
    return _key_steps(items, value)


def parse_visual_key_steps(value: Any, key_steps: Any = None) -> tuple[KeyStep, ...]:
    """Return the key steps that stand in the image description.

    Args:
        value: As ``parse_key_steps`` takes them.
        key_steps: Where ``value`` is None: key steps by section, of which those of the description are returned.

    Raises:
        DataError: As ``parse_key_steps``.
    """
    if value is not None:
        items = _items(value)
        return _key_steps(items, value)
    items = _items(key_steps)
    if not isinstance(items, Mapping):
        return ()
    own = next((items[name] for name in items if str(name).lower() == DESCRIPTION), None)
    return _key_steps(_listed(own), key_steps)


def _items(value: Any) -> Any:
    """Return what holds key steps: a list, an object by section, or nothing."""
    items = _plain(value)
    return _from_text(items) if isinstance(items, str) else items


def _listed(value: Any) -> list[Any]:
    """Return the key steps of a section; a parquet's object has null for one that a row has not."""
    items = _plain(value)
    if items is None:
        return []
    return list(items) if isinstance(items, (list, tuple)) else [items]


def _key_steps(items: Any, value: Any) -> tuple[KeyStep, ...]:
    if items is None:
        return ()
    if not isinstance(items, (list, tuple)):
        raise DataError(
            f"key_steps is {value!r} ({type(value).__name__}); expected a list of strings or of lists"
        )
    key_steps = [_wordings(item) for item in items]
    return tuple([wordings for wordings in key_steps if wordings])


def _plain(value: Any) -> Any:
    """Return numpy arrays (which parquet gives for lists) as lists; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def _from_text(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json_line(text)
    except NotJSONError as error:
        sections = _by_section(text)
        if sections:
            return sections
        raise DataError(
            f"key_steps is text that is not JSON: {error.reason}: {text[:60]!r}. One key step alone is a list of one."
        ) from None


def _by_section(text: str) -> dict[str, list[Any]]:
    """Return the lists of an answer of R1-VL's prompt by their section; none where it is none."""
    found: dict[str, list[Any]] = {}
    for opened in _SECTIONS.finditer(text):
        end = text.find("]", opened.end())
        listed = text[opened.end() - 1 : end + 1 if end >= 0 else len(text)]
        # Python's quotes, JSON's, or none at all.
        try:
            items = list(ast.literal_eval(listed))
        except (ValueError, SyntaxError):
            items = [item.strip().strip("\"'") for item in listed.strip("[]").split(",")]
        found.setdefault(" ".join(opened[1].lower().split()), []).extend(items)
    return found


def _wordings(item: Any) -> KeyStep:
    wordings = (item,) if isinstance(item, str) else _plain(item)
    if isinstance(wordings, str):  # an array without dimensions
        wordings = (wordings,)
    if not isinstance(wordings, (list, tuple)) or not all([isinstance(w, str) for w in wordings]):
        raise DataError(
            f"a key step is {item!r} ({type(item).__name__}); expected a string or a list of strings"
        )
    return tuple([w for w in wordings if w and not w.isspace()])
