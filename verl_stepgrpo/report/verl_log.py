"""Read the metrics of a run from verl's log: the JSONL of its logger ``file``, or what its console showed."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from verl_stepgrpo.errors import DataError
from verl_stepgrpo.files import SetAside, json_line

Metrics = dict[str, dict[int, float]]
"""By name, the value at each step."""

_STEP = re.compile(r"step:(\d+) - (.*)")
_VALUE = re.compile(r"(?:np\.\w+\()?([-+]?(?:\d[\d.]*(?:e[-+]?\d+)?|nan|inf))", re.IGNORECASE)


def read_log(path: Path, *, set_aside: Callable[[SetAside], None]) -> Metrics:
    """Return the metrics that ``path`` holds; a value that is no finite number is left out.

    A step that comes again, as in a run that was resumed, has its last values. Lines of a console that are of no step
    are other output; one of a JSONL that cannot be read is set aside.

    Raises:
        DataError: The file cannot be read, or holds no step.
    """
    metrics: Metrics = {}
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for step, values in _steps(path, file, set_aside):
                for name, value in values.items():
                    if math.isfinite(value):
                        metrics.setdefault(name, {})[step] = value
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    if not metrics:
        raise DataError(
            f"{path} holds no step; expected what verl's logger `file` writes, or its console with lines such as "
            "'step:1 - actor/lr:1e-06'"
        )
    return {name: dict(sorted(values.items())) for name, values in metrics.items()}


def _steps(
    path: Path, lines: Iterator[str], set_aside: Callable[[SetAside], None]
) -> Iterator[tuple[int, Mapping[str, float]]]:
    is_jsonl = False
    for number, line in enumerate(lines, start=1):
        is_jsonl = is_jsonl or (number == 1 and line.startswith('{"step":'))
        if not is_jsonl:
            yield from _of_console(line)
            continue
        try:
            yield _of_json(json_line(line))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            set_aside(SetAside(path, number, f"not a step of verl's logger: {error!r}"))


def _of_json(entry: Any) -> tuple[int, Mapping[str, float]]:
    values = {name: float(v) for name, v in entry["data"].items() if isinstance(v, int | float)}
    return int(entry["step"]), values


def _of_console(line: str) -> Iterator[tuple[int, Mapping[str, float]]]:
    found = _STEP.search(line)
    if not found:
        return
    values = {}
    for part in found[2].split(" - "):
        name, _, text = part.rpartition(":")
        value = _VALUE.match(text)
        if name and value:
            values[name] = float(value[1])
    yield int(found[1]), values
