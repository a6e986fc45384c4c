"""All checks of the doctor, in the order in which a run would meet them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from verl_stepgrpo.doctor.checks import Line, agreement_lines, line, process_lines, token_line
from verl_stepgrpo.doctor.cluster import LIMIT, probe_nodes
from verl_stepgrpo.doctor.inputs import data_lines, model_lines
from verl_stepgrpo.doctor.probe import probe


def examine(
    *,
    address: str | None,
    with_worker: bool,
    platform: str | None,
    model: str | None,
    data: Sequence[Path],
    format_: str = "mulberry",
) -> Iterator[Line]:
    """Yield a line for each thing that was looked at, as soon as it was.

    Args:
        address: Of a Ray cluster; None looks at a worker that is started on this machine.
        with_worker: Whether Ray's workers are looked at.
        platform: ``cpu`` or ``gpu``, or None for either.
        model: A model's folder or name, or None.
        data: verl's parquet files for RL.
        format_: The format of responses that will be paid.

    Raises:
        ConfigError: There is no cluster at ``address``.
    """
    driver = probe()
    yield from process_lines("driver", driver, platform)
    if address is not None:
        yield token_line("driver", driver)
    if with_worker:
        yield from _worker_lines(driver, probe_nodes(address), platform)
    if model is not None:
        yield from model_lines(model)
    for file in data:
        yield from data_lines(file, format_)


def _worker_lines(
    driver: dict[str, Any], workers: dict[str, dict[str, Any]], platform: str | None
) -> Iterator[Line]:
    answered = {}
    for where, facts in workers.items():
        if "unreachable" in facts:
            remedy = "Look at that node: `ray status`, and its logs in /tmp/ray/session_latest/logs."
            yield line(where, "answer", facts["unreachable"], f"within {LIMIT:.0f} s", False, remedy)
        else:
            answered[where] = facts
            # A worker sees only the GPUs it was given, and the probe asked for none.
            yield from (found for found in process_lines(where, facts, platform) if found.what != "platform")
    yield from agreement_lines(driver, answered)
