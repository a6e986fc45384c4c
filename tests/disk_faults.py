"""Spoil what a real training job has on its disk, and judge what comes of each.

    python tests/disk_faults.py --out DIR                       # as root, for the disks that are full
    python tests/disk_faults.py --table >> benchmarks/FAULTS.md  # behind the table of kills.py

One job, the small one of the digits on the CPU engine with a checkpoint a step: it is ended by SIGTERM, something on
its disk is spoiled, and the same command is given again. Judged is what it says, whether it ends or goes on as it
should, and from which checkpoint.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kills import KINDS, ROOT, Job, begin, end_the_job_when_ended, saved

from verl_stepgrpo.traces.files import read_trace, step_of, steps_of

RESULTS = ROOT / "benchmarks" / "faults-disk.json"
MODE = "sync"
FIRST = 3
"""Steps of the job before anything is spoiled."""
LIMIT = 600.0
TERM = KINDS["SIGTERM of the job"]
COLOUR = re.compile(r"\x1b\[\d+m")
PREFIX = re.compile(r"^(\(\w+ pid=\d+\) *)?(\w+:[\d :,-]+:|\[[\d :,-]+\]\[\w+\]\[\w+\] - )?")
"""What stands before a message: Ray's process, and logging's time, name and level."""


@dataclass(frozen=True)
class Came:
    """What came of one fault.

    Attributes:
        fault: What was spoiled.
        should: What the job should do then.
        said: The line of the log that names it; "" where none does.
        seconds: From the start to the end of the job; None where it went on.
        is_well: Whether it did what it should.
    """

    fault: str
    should: str
    said: str
    seconds: float | None
    is_well: bool


class Chain:
    """The job, run after run."""

    def __init__(self, folder: Path) -> None:
        begin(folder)
        self.folder, self._number = folder, 0

    @contextlib.contextmanager
    def run(self) -> Iterator[Job]:
        """Yield the next run of it, and end that."""
        job = Job(self.folder, MODE, self._number)
        self._number += 1
        try:
            yield job
            if job.is_running:
                job.wait_for_end(job.kill(TERM))
        finally:
            job.end()

    def goes_on(self, fault: str, step: int, pattern: str) -> Came:
        """Run it, and judge whether it goes on from ``step`` and says ``pattern``."""
        with self.run() as job:
            job.wait_for_steps(1)
            went, said = job.steps[0] - 1, self.line(job, pattern)
        return Came(fault, f"goes on from step {step}", said, None, went == step and said != "")

    def ends(self, fault: str, pattern: str) -> Came:
        """Run it, and judge whether it ends, and says ``pattern``."""
        begun = time.monotonic()
        with self.run() as job:
            while job.is_running and time.monotonic() < begun + LIMIT:
                time.sleep(0.5)
            seconds = None if job.is_running else round(time.monotonic() - begun, 1)
            said = self.line(job, pattern)
        return Came(fault, "ends", said, seconds, seconds is not None and said != "")

    def line(self, job: Job, pattern: str) -> str:
        """Return the first message of its log with the pattern, and nothing of what stands before it; "" for none."""
        found = next((one for one in COLOUR.sub("", job.log).splitlines() if re.search(pattern, one)), "")
        return PREFIX.sub("", found).strip().replace(str(self.folder), "DIR")

    @property
    def checkpoints(self) -> Path:
        return self.folder / "rl"

    @property
    def traces(self) -> Path:
        return self.folder / "trace"

    @property
    def newest(self) -> Path:
        return self.checkpoints / f"global_step_{saved(self.folder)}"


def torn(chain: Chain) -> Iterator[Came]:
    """Yield what comes of the last checkpoint cut in half, as a power cut leaves it."""
    before = saved(chain.folder) - 1
    (weights,) = (chain.newest / "actor").glob("model_world_size_*.pt")
    with weights.open("r+b") as file:
        file.truncate(weights.stat().st_size // 2)
    yield chain.goes_on(
        "the last checkpoint's weights are cut in half", before, rf"global_step_{before}\b.*newest whole"
    )


def no_tracker(chain: Chain) -> Iterator[Came]:
    """Yield what comes of an empty tracker file."""
    last = saved(chain.folder)
    (chain.checkpoints / "latest_checkpointed_iteration.txt").write_text("")
    yield chain.goes_on("the tracker file is empty", last, r"latest_checkpointed_iteration.txt is empty")


def no_parquet(chain: Chain) -> Iterator[Came]:
    """Yield what comes of data that is gone."""
    parquet = chain.folder / "data" / "train.parquet"
    parquet.rename(parquet.with_suffix(".gone"))
    try:
        yield chain.ends("the training data is gone", r"train\.parquet cannot be read")
    finally:
        parquet.with_suffix(".gone").rename(parquet)


def full_for_traces(chain: Chain) -> Iterator[Came]:
    """Yield what comes of a full disk for the traces, and of room that is made while the job runs."""
    with small_disk(chain.traces, "size=64k"):
        (chain.traces / "filler").write_bytes(b"x" * 2**15)
        with contextlib.suppress(OSError):
            (chain.traces / "filler-2").write_bytes(b"x" * 2**16)
        last = saved(chain.folder)
        with chain.run() as job:
            job.wait_for_steps(1)
            went, said = job.steps[0] - 1, chain.line(job, r"cannot be written")
            (chain.traces / "filler").unlink()
            (chain.traces / "filler-2").unlink(missing_ok=True)
            grow(chain.traces)
            job.wait_for_steps(4)
            whole = {step_of(path) for path in steps_of(chain.traces, "train") if read_trace(path)}
            is_back = {job.steps[0] + 2, job.steps[0] + 3} <= whole | {job.steps[-1]}
    should = f"goes on from step {last}, and writes traces again where room is made"
    yield Came("the disk of the traces is full", should, said, None, went == last and said != "" and is_back)


def full_for_checkpoints(chain: Chain) -> Iterator[Came]:
    """Yield what comes of a disk on which one checkpoint has room, and of the same command once it has more."""
    last, newest = saved(chain.folder), chain.newest
    kept = chain.folder / "kept"
    shutil.copytree(newest, kept / newest.name)
    size = sum(path.stat().st_size for path in newest.rglob("*") if path.is_file())
    with small_disk(chain.checkpoints, f"size={int(1.6 * size)}"):
        shutil.copytree(kept / newest.name, newest)
        (chain.checkpoints / "latest_checkpointed_iteration.txt").write_text(str(last))
        yield chain.ends("the disk of the checkpoints is full", r"could not be written to .*MiB left")
        grow(chain.checkpoints)
        yield chain.goes_on(
            "the same, behind room that was made", last, rf"Resuming from .*global_step_{last}\b"
        )


FAULTS: Sequence[Callable[[Chain], Iterator[Came]]] = (
    torn,
    no_tracker,
    no_parquet,
    full_for_traces,
    full_for_checkpoints,
)


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[None]:
    """Cover ``path`` with an empty disk of its own, for a while. Needs root."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "none", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def grow(path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=1g", path], check=True)


def run(folder: Path) -> None:
    chain = Chain(folder)
    with chain.run() as job:
        job.wait_for_steps(FIRST)
    came: list[Mapping[str, Any]] = []
    for fault in FAULTS:
        for one in fault(chain):
            print(one, flush=True)
            came.append(asdict(one))
            RESULTS.write_text(json.dumps(came, indent=1) + "\n")


HEAD = """
## What is on the disk

Made with `python tests/disk_faults.py --out DIR`, then `python tests/disk_faults.py --table >> benchmarks/FAULTS.md`:
one such job in `sync`, run after run, each after something was spoiled on its disk.

| fault | the job should | it did | s | it says |
|---|---|---|---|---|"""


def table(came: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield HEAD
    for one in map(lambda facts: Came(**facts), came):
        seconds = "-" if one.seconds is None else f"{one.seconds:.0f}"
        yield f"| {one.fault} | {one.should} | {'yes' if one.is_well else 'no'} | {seconds} | {one.said} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="an empty folder for the runs")
    parser.add_argument("--table", action="store_true", help="print the table of what is in the results")
    args = parser.parse_args()
    if args.table:
        print("\n".join(table(json.loads(RESULTS.read_text()))))
        return
    if args.out is None:
        parser.error("--out says where the runs go")
    end_the_job_when_ended()
    run(args.out.resolve())


if __name__ == "__main__":
    main()
