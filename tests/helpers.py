"""What several test files share: a small dataset in verl's format."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from verl_stepgrpo.rewards import score_response
from verl_stepgrpo.settings import RewardSettings
from verl_stepgrpo.traces.rows import Credit, TraceRow, judgement_of


def rows(n: int = 3, **changes: object) -> list[dict]:
    return [
        {
            "data_source": "digits",
            "prompt": [{"role": "user", "content": "What is 3 + 5?"}],
            "reward_model": {"style": "rule", "ground_truth": "8"},
            "extra_info": {"index": i, "key_steps": [["3 + 5 = 8"]]},
        }
        | changes
        for i in range(n)
    ]


def parquet(path: Path, table: list[dict]) -> str:
    pq.write_table(pa.Table.from_pylist(table), path)
    return str(path)


def lines_in(path: Path) -> list[bytes]:
    """Return the lines of a file of traces."""
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


def put_lines(path: Path, *lines: bytes) -> None:
    """Write the lines of a file of traces."""
    path.write_bytes(gzip.compress(b"".join(lines)))


NO_ADVANTAGE = Credit(0.0, (0.0,), 0.0)


def trace_row(
    response: str = "",
    *,
    credit: Credit | None = NO_ADVANTAGE,
    settings: RewardSettings | None = None,
    key_steps: object = (("3 + 5 = 8",),),
    **place: object,
) -> TraceRow:
    """Return a row as training traces it: ``response`` judged, at the given ``step``, ``uid`` and so on."""
    settings = settings or RewardSettings()
    judgement = judgement_of(
        score_response(response, "8", key_steps, settings),
        settings,
        index=0,
        data_source="digits",
        ground_truth="8",
        prompt="3 + 5?",
        response=response,
    )
    return TraceRow.of(judgement, **{"step": 1, "uid": "a", "session": 0} | place, credit=credit)
