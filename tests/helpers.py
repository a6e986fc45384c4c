"""What several test files share: a fresh Python process, and a small dataset in verl's format."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from verl_stepgrpo.rewards import score_response
from verl_stepgrpo.trace import describe


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VERL_")} | env
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=200
    )


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


def trace_row(response: str = "", **place: object) -> dict:
    """Return a row as training traces it: ``response`` judged, at the given ``step``, ``uid`` and so on."""
    result = score_response(response, "8", [["3 + 5 = 8"]])
    facts = {
        "index": 0,
        "data_source": "digits",
        "ground_truth": "8",
        "prompt": "3 + 5?",
        "response": response,
    }
    return {"step": 1, "uid": "a", "session": 0, **describe(result), **facts, "advantage": 0.0} | place
