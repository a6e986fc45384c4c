"""The digits example: who sees which digits, and where its warm-up ends."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples" / "digits"))

import build_data  # noqa: E402
import progress  # noqa: E402


def seen(drawn: list[tuple[int, ...]]) -> set[int]:
    return {number for numbers in drawn for number in numbers}


def test_warm_up_rl_and_evaluation_show_digits_of_their_own_of_all_writers() -> None:
    drawn = build_data.draw_all(np.random.default_rng(1), 6400, 2048, 1024, 2, apart=True)
    parts = [seen(part) for part in drawn]
    assert [len(set(part)) for part in drawn] == [6400, 2048, 1024]
    assert sum(map(len, parts)) == len(set.union(*parts)) <= build_data.N_DIGITS
    # The digits of each of 13 writers stand together.
    for part in parts:
        assert {number * 13 // build_data.N_DIGITS for number in part} == set(range(13))


def test_the_ablation_draws_what_its_published_results_were_trained_on() -> None:
    """The numbers are those of recipes/ablation_digits: one warm-up, of seed 1, for all its runs."""
    drawn = build_data.draw_all(np.random.default_rng(1), 32 * 450, 2048, 512, 3)
    assert (
        hashlib.sha256(json.dumps(drawn).encode()).hexdigest()
        == "e1e64843695d4ae2c5165dc583738bad3379e066871ecbff6742bedf31ef05b1"
    )


def test_what_the_warm_up_says_of_itself_is_shown() -> None:
    said = "warm-up: step 190: right on 54% of 256 images that RL will show"
    assert progress.describe(said + "\n") == said.removeprefix("warm-up: ")
    assert progress.describe("a line that names the warm-up: not one of its own") is None


@pytest.mark.slow
@pytest.mark.engine
def test_a_warm_up_that_never_gets_there_ends_the_job_and_says_what_to_do(tmp_path: Path) -> None:
    settings = {"OUT": str(tmp_path), "WARMUP_STEPS": "2", "WARMUP_ACCURACY": "1.01", "HELDOUT": "32"}
    done = subprocess.run(
        ["bash", "examples/digits/run.sh"],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 1
    assert "not right on 101% by its last step. Set WARMUP_STEPS higher." in done.stdout
    assert not (tmp_path / "logs" / "rl.log").exists()
