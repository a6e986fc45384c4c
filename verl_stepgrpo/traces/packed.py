"""Rows of traces that travel packed: what was judged is compressed where it was judged, and never unpacked on the way.

A line of a trace is an object of which the reward worker knows all but the row's place in the run and its credit. Files
are gzip, and gzip allows a stream of several members: the worker packs its part of the line as one, the trainer
puts one before it that opens the object with place and credit. So the trainer, which is one process however many
workers there are, handles no text. Pure: no I/O, no torch, no verl.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any

from verl_stepgrpo.traces.rows import Credit, Judgement, TraceRow, credit_json

PACKED_KEY = "stepgrpo_packed"
"""Key of ``reward_extra_info`` that carries one row, packed, where the run leaves traces of it."""

LEVEL = 9
"""Of zlib: 4,000 tokens take about 1 ms; each row is packed once and read seldom."""


def packed(judgement: Judgement) -> str:
    """Return what was judged of a response, with its texts, as text that travels."""
    rest = _encoded(Judgement.to_json(judgement))[1:] + b"\n"
    return base64.b64encode(_member(rest, LEVEL)).decode("ascii")


def line_of(text: str, place: Mapping[str, Any], credit: Credit | None) -> bytes:
    """Return the line of a trace, compressed, for what ``packed`` gave.

    Args:
        text: What ``packed`` gave.
        place: ``split``, ``step``, ``uid`` and ``session``.
        credit: What training made of it; None in a validation.
    """
    head = _encoded({**place, **credit_json(credit)})[:-1] + b","
    return _member(head, 1) + base64.b64decode(text)


def line(row: TraceRow) -> bytes:
    """Return a row's line, compressed."""
    return _member(_encoded(row.to_json()) + b"\n", LEVEL)


def shown(text: str, share: float) -> bool:
    """Return whether the group named ``text`` is among ``share`` of all, which are the same in every process."""
    return zlib.crc32(text.encode("utf-8", "backslashreplace")) < share * 2**32


def _encoded(facts: Mapping[str, Any]) -> bytes:
    # A lone surrogate, which a model's text may hold, is JSON's escape of it.
    return json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def _member(data: bytes, level: int) -> bytes:
    return gzip.compress(data, level, mtime=0)
