"""The harness that kills a real job's processes: its plan, its judgement, its page; and (slow) two kills of it."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import kills
import pytest

ROOT = Path(__file__).resolve().parents[1]
WELL = kills.Judged("sync", "reward worker", 0, 3, 12.5, True, (), 2, 10, 3, 3)


def test_every_kind_is_killed_as_often_as_the_others_in_each_mode_and_always_in_the_same_order() -> None:
    plan = kills.plan(60)
    assert plan == kills.plan(60)
    assert sum(map(len, plan.values())) == 60
    for kinds in plan.values():
        times = Counter(kinds)
        assert set(times) == set(kills.KINDS)
        assert max(times.values()) - min(times.values()) <= 1


@pytest.mark.parametrize(
    "change",
    [{"seconds": None}, {"named": False}, {"processes": ("VLLM::Worker",)}, {"resumed_from": 2}],
    ids=lambda change: next(iter(change)),
)
def test_a_kill_is_well_where_the_job_ends_named_leaves_nothing_and_resumes_where_it_was(
    change: dict,
) -> None:
    assert WELL.is_well
    assert dataclasses.replace(WELL, resumed_from=None).is_well  # the last of a chain
    assert not dataclasses.replace(WELL, **change).is_well


def test_the_page_sums_up_each_kind() -> None:
    others = [
        dataclasses.replace(WELL, number=1, seconds=20.0, resumed_from=2),
        dataclasses.replace(WELL, seconds=None),
    ]
    facts = {"kills": [dataclasses.asdict(one) for one in (WELL, *others)], "data_order": {"sync": "3 of 3"}}
    page = "\n".join(kills.table(json.loads(json.dumps(facts))))
    assert "| sync | reward worker | 3 | 2 | 20.0, 20.0 | 3 | 0 | 2 of 3 |" in page
    assert "Data order in `sync`: 3 of 3." in page


def test_the_committed_page_is_that_of_the_committed_results() -> None:
    page = ROOT / "benchmarks" / "FAULTS.md"
    if not kills.RESULTS.exists():
        assert not page.exists(), "a page without results"
        return
    assert (
        page.read_text().splitlines()
        == "\n".join(kills.table(json.loads(kills.RESULTS.read_text()))).splitlines()
    )


@pytest.mark.slow
@pytest.mark.engine
def test_two_kills_of_a_real_job_are_well(tmp_path: Path) -> None:
    code = (
        f"import sys, pathlib; sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "import kills\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "for one in kills.chain(folder, 'sync', ['storage unit', 'reward worker'], 0):\n"
        "    assert one.is_well, one\n"
        "said = kills.data_order(folder)\n"
        "held, of = said.split()[0], said.split()[2]\n"
        "assert held == of != '0', said\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=2400)
    assert done.returncode == 0, done.stdout + done.stderr
