"""The harnesses that kill a job's processes and spoil its disk: plan, judgement, page; and (slow) two kills."""

from __future__ import annotations

import dataclasses
import itertools
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import disk_faults
import kills
import psutil
import pytest
from helpers import trace_row

from verl_stepgrpo.traces.files import TraceWriter

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
    facts = {"kills": [dataclasses.asdict(one) for one in (WELL, *others)], "data_order": "3 of 3"}
    page = "\n".join(kills.table({"sync": json.loads(json.dumps(facts))}))
    assert "| sync | reward worker | 3 | 2 | 16.2, 20.0 | 3 | 0 | 2 of 3 |" in page
    assert "Data order in `sync`: 3 of 3." in page


def test_the_table_of_the_disk_says_what_was_done() -> None:
    came = [
        disk_faults.Came("the tracker file is empty", "goes on from step 4", "DIR/x is empty", None, True),
        disk_faults.Came("the data is gone", "ends", "", 12.6, False),
    ]
    page = "\n".join(disk_faults.table(json.loads(json.dumps([dataclasses.asdict(one) for one in came]))))
    assert "| the tracker file is empty | goes on from step 4 | yes | - | DIR/x is empty |" in page
    assert "| the data is gone | ends | no | 13 |  |" in page


@pytest.mark.parametrize(
    "line",
    [
        "\x1b[36m(TaskRunnerV1 pid=11)\x1b[0m ERROR:2026-11-27 02:38:38,777:/out/a.gz cannot be written: full.",
        "[2026-11-27 02:33:02,379][verl_stepgrpo][WARNING] - /out/a.gz cannot be written: full.",
        "/out/a.gz cannot be written: full.",
    ],
)
def test_a_message_is_told_without_what_stands_before_it(line: str) -> None:
    chain = disk_faults.Chain.__new__(disk_faults.Chain)
    chain.folder = Path("/out")
    job = SimpleNamespace(log=f"first\n{line}\nlast")
    assert chain.line(job, "cannot be written") == "DIR/a.gz cannot be written: full."
    assert chain.line(job, "is cut short") == ""


def test_the_committed_page_is_that_of_the_committed_results() -> None:
    page = ROOT / "benchmarks" / "FAULTS.md"
    results = [*kills.RESULTS.values(), disk_faults.RESULTS]
    if not any(path.exists() for path in results):
        assert not page.exists(), "a page without results"
        return
    lines = [*kills.table({mode: kills.results(mode) for mode in kills.MODES})]
    if disk_faults.RESULTS.exists():
        lines += disk_faults.table(json.loads(disk_faults.RESULTS.read_text()))
    assert page.read_text().splitlines() == "\n".join(lines).splitlines()


def left_job(folder: Path, created: float) -> subprocess.Popen:
    """Return a process that is noted as a chain's."""
    process = subprocess.Popen(["sleep", "60"])
    while not psutil.Process(process.pid).cmdline():  # between exec and its first instruction it has none
        time.sleep(0.01)
    facts = {"pid": process.pid, "created": psutil.Process(process.pid).create_time() + created}
    (folder / kills.RUNNING).write_text(json.dumps(facts))
    return process


def test_a_job_that_is_left_of_a_killed_harness_is_ended(tmp_path: Path) -> None:
    kills.end_earlier(tmp_path)  # there is none
    process = left_job(tmp_path, created=0)
    kills.end_earlier(tmp_path)
    assert process.wait(10) == -signal.SIGKILL
    kills.end_earlier(tmp_path)


def test_another_process_with_its_id_is_not(tmp_path: Path) -> None:
    process = left_job(tmp_path, created=-1)
    kills.end_earlier(tmp_path)
    assert process.poll() is None
    assert kills.name_of(psutil.Process(process.pid)) == "sleep 60"
    one = psutil.Process(process.pid)
    process.kill()
    process.wait(10)
    assert kills.name_of(one) == ""


STEPS = [[0, 1, 2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15], [16, 17, 18, 19, 20, 21, 22, 23]]


@pytest.mark.parametrize(
    ("mode", "trained", "said"),
    [
        ("sync", STEPS, "2 of 2 steps have the rows of an uninterrupted run, each once"),
        ("sync", [STEPS[0], STEPS[2]], "1 of 2 steps have"),
        (
            "colocate_async",
            STEPS,
            "2 of 2 steps have all their rows; of 16 prompts 0 were trained on twice, 0 left out",
        ),
        (
            "colocate_async",
            [STEPS[0], STEPS[0]],
            "of 8 prompts 8 were trained on twice, 0 left out and 0 not due yet",
        ),
        (
            "colocate_async",
            [STEPS[2], STEPS[1]],
            "of 16 prompts 0 were trained on twice, 8 left out and 0 not due yet",
        ),
    ],
)
def test_the_data_order_of_the_saved_steps_is_held_against_the_loaders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, trained: list[list[int]], said: str
) -> None:
    monkeypatch.setattr(kills, "uninterrupted", lambda folder: STEPS)
    monkeypatch.setattr(kills, "IN_FLIGHT", 8)
    (tmp_path / "rl").mkdir()
    (tmp_path / "rl" / "latest_checkpointed_iteration.txt").write_text("2")
    writer = TraceWriter(tmp_path / "trace")
    for step, indices in enumerate([*trained[:2], STEPS[0]], start=1):  # the third was not saved
        places = itertools.product(indices, range(kills.RESPONSES))
        rows = (dataclasses.replace(trace_row("8"), index=i, uid=f"u{i}", session=n) for i, n in places)
        writer.write("train", step, list(rows)[: None if step < 3 else 5])
    assert said in kills.data_order(tmp_path, mode)


@pytest.mark.slow
@pytest.mark.engine
def test_two_kills_of_a_real_job_are_well(tmp_path: Path) -> None:
    code = (
        f"import sys, pathlib; sys.path.insert(0, {str(ROOT / 'tests')!r})\n"
        "import kills\n"
        f"folder = pathlib.Path({str(tmp_path)!r})\n"
        "for one in kills.chain(folder, 'sync', ['storage unit', 'reward worker'], 0):\n"
        "    assert one.is_well, one\n"
        "said = kills.data_order(folder, 'sync')\n"
        "held, of = said.split()[0], said.split()[2]\n"
        "assert held == of != '0', said\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=2400)
    assert done.returncode == 0, done.stdout + done.stderr
