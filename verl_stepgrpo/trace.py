"""Traces: one JSONL file a training step and validation, one row a response, with all that was judged.

verl's own dumps hold neither the row's identity nor its components; everything that looks at a run later
(paired evaluation, replay, report) reads these files. Layout under ``algorithm.stepgrpo.trace_dir``:
``train/step-000001.jsonl`` and ``val/step-000000.jsonl``. Imports neither torch nor verl.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from verl_stepgrpo.rewards import ScoredResponse

SCHEMA = 1
"""Version of the row's layout. Grows when a key changes its meaning or goes; new keys may come without."""

TRACE_KEY = "stepgrpo_trace"
"""Key of ``reward_extra_info`` that carries one row from the reward worker to the trainer."""


def describe(result: ScoredResponse, *, step_token_ends: Sequence[int] | None = None) -> dict[str, Any]:
    """Return what ``result`` holds as plain JSON values.

    Args:
        result: The scored response.
        step_token_ends: For each step, the number of leading tokens that cover the response up to its end; None
            where the response's tokens are not known.
    """
    token_ends = [None] * len(result.steps) if step_token_ends is None else step_token_ends
    components = result.components()
    return {
        "schema": SCHEMA,
        "components": components,
        "key_step_share": result.key_step_share,
        "answer": {
            "text": result.answer.text,
            "layer": result.answer.layer,
            "reason": result.answer.reason,
        },
        "key_steps": [
            {
                "wordings": list(match.wordings),
                "matched": match.matched,
                "wording": match.wording,
                "similarity": round(match.similarity, 4),
                "step": match.step,
                "start": match.start,
                "end": match.end,
            }
            for match in result.key_steps
        ],
        "steps": [
            {
                "number": step.number,
                "start": step.start,
                "end": step.end,
                "token_end": token_end,
                "key_step_share": share,
            }
            for step, token_end, share in zip(result.steps, token_ends, result.step_shares, strict=True)
        ],
        "total": result.total,
    }


class TraceWriter:
    """Writes rows below one folder. A step's file is replaced by the first rows of the step in this process,
    so that a resumed run leaves no rows of the attempt before, and extended by the ones that follow."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._begun: set[Path] = set()

    def write(self, split: str, step: int, rows: Iterable[dict[str, Any]]) -> Path:
        """Add ``rows`` to the file of ``split`` (``train`` or ``val``) and ``step``; return its path."""
        path = self.folder / split / f"step-{step:06d}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = "a" if path in self._begun else "w"
        with path.open(mode, encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        self._begun.add(path)
        return path


def read_trace(path: str | Path) -> list[dict[str, Any]]:
    """Return the rows of one trace file.

    Raises:
        ValueError: A row is of another schema.
    """
    with Path(path).open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    for number, row in enumerate(rows, start=1):
        if row.get("schema") != SCHEMA:
            raise ValueError(f"{path}:{number}: schema {row.get('schema')!r}; this version reads {SCHEMA}")
    return rows
