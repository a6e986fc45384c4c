"""Signals at random moments of the commands: no answer is lost, and what comes out is what an undisturbed run gives.

Each trial begins in an empty folder and gives the same command until it ends by itself, also over its finished folder;
meanwhile real signals come, from its start to its clean-up: SIGINT to all its processes as a terminal sends it, SIGTERM
to all or to the command alone, SIGKILL to the command alone.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
from helpers import parquet
from raw_dataset import write_raw_dataset
from test_evaluation import Server as EvalServer
from test_evaluation import row as question
from test_key_steps_command import Server as KeyStepServer
from test_key_steps_command import row as solution

TESTS = Path(__file__).parent
RESULT = TESTS / "signals.json"
SEED = 250312937
SLICES, MOMENTS = 10, 10
"""Of each command, in the second tier: how often it is begun, and how many moments each time has."""

CONCURRENCY = 4
N = 16
QUIET = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}


class Commands:
    """Starts commands without their imports, and looks after them."""

    def __init__(self) -> None:
        command = [sys.executable, str(TESTS / "command_server.py")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def _ask(self, **request: object) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, argv: list[str], log: Path) -> int:
        return self._ask(argv=argv, log=str(log))

    def wait(self, pid: int) -> int:
        return self._ask(wait=pid)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@pytest.fixture(scope="module")
def commands() -> Iterator[Commands]:
    commands = Commands()
    yield commands
    commands.close()


class Work:
    """One command, what it needs, and what has to hold of its folder."""

    FINISHED: str
    """The file that it writes last."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def argv(self, out: Path) -> list[str]:
        raise NotImplementedError

    def kept(self, out: Path) -> set[str]:
        """Return what an interrupted run has, which is not to be asked for again."""
        return set()

    def asked(self) -> Counter[str]:
        """Return what was asked since the last call."""
        return Counter()

    def contents(self, out: Path) -> dict[str, bytes]:
        """Return the files that have to be as in an undisturbed run."""
        return {path.name: path.read_bytes() for path in out.iterdir()}

    def close(self) -> None:
        pass


class Eval(Work):
    FINISHED = "results.json"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.server = EvalServer()
        self.file = parquet(folder / "data.parquet", [question(i) for i in range(N)])

    def argv(self, out: Path) -> list[str]:
        where = ["--base-url", self.server.url, "--out", str(out), "--concurrency", str(CONCURRENCY)]
        return ["eval", self.file, "--model", "m", *where]

    def kept(self, out: Path) -> set[str]:
        path = out / "responses.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return {json.loads(line)["prompt"] for line in lines if line.endswith(b"\n")}

    def asked(self) -> Counter[str]:
        bodies, self.server.bodies = self.server.bodies, []
        return Counter(body["messages"][0]["content"] for body in bodies)

    def contents(self, out: Path) -> dict[str, bytes]:
        found = super().contents(out)
        del found["header.jsonl"]  # has the times of all starts
        results = json.loads(found["results.json"]) | {"reused": 0}
        return found | {"results.json": json.dumps(results).encode()}

    def close(self) -> None:
        self.server.close()


class KeySteps(Work):
    FINISHED = "with.jsonl"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.server = KeyStepServer()
        self.source = folder / "raw.jsonl"
        rows = [solution(i) for i in range(2, 2 + N // 2)]
        self.source.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def argv(self, out: Path) -> list[str]:
        where = ["--base-url", self.server.url, "--out", str(out / "with.jsonl")]
        return ["key-steps", str(self.source), "--model", "m", *where, "--concurrency", str(CONCURRENCY)]

    def kept(self, out: Path) -> set[str]:
        import sqlite3

        path = out / "with.cache.sqlite"
        if not path.exists():
            return set()
        try:
            answers = sqlite3.connect(path).execute("SELECT answer FROM answers").fetchall()
        except sqlite3.OperationalError:  # not even a table
            return set()
        return {answer for (answer,) in answers}

    def asked(self) -> Counter[str]:
        bodies, self.server.bodies = self.server.bodies, []
        return Counter(self.server.contents(body, "")[0] for body in bodies)

    def contents(self, out: Path) -> dict[str, bytes]:
        found = super().contents(out)
        del found["with.cache.sqlite"]
        return found

    def close(self) -> None:
        self.server.close()


class Prepare(Work):
    FINISHED = "report.json"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.source = write_raw_dataset(folder / "raw")
        self.num_proc = cycle("112")

    def argv(self, out: Path) -> list[str]:
        images = ["--image-root", str(self.source.parent / "images")]
        options = ["--val-share", "0.2", "--num-proc", next(self.num_proc), "--out", str(out)]
        return ["prepare", str(self.source), *images, *options]


class Trials:
    """Disturbs one command until ``moments`` signals met it."""

    def __init__(self, commands: Commands, work: Work, chance: random.Random) -> None:
        self.commands, self.work, self.chance = commands, work, chance
        self.met: Counter[str] = Counter()
        self.trials = 0
        self._log = work.folder / "log"
        self._finish(work.folder / "first")  # waits for the imports
        began = time.monotonic()
        self.expected = self._finish(work.folder / "undisturbed")
        self._seconds = time.monotonic() - began
        work.asked()

    def until(self, moments: int) -> None:
        while self.met.total() < moments:
            self.trials += 1
            out = self.work.folder / f"trial-{self.trials}"
            signals = self._disturb(out, self.chance.randint(2, 8))
            asked = self.work.asked()
            assert self._finish(out) == self.expected, f"trial {self.trials}: {signals}"
            self.work.asked()
            assert max(asked.values(), default=0) <= 1 + len(signals)
            if self._disturb(out, 2):  # over the finished folder, where there is everything to lose
                assert self._finish(out) == self.expected, f"trial {self.trials}, finished"
                assert not self.work.asked(), "asked again for what was there"

    def _finish(self, out: Path) -> dict[str, bytes]:
        out.mkdir(exist_ok=True)
        pid = self.commands.start(self.work.argv(out), self._log)
        status, said = self.commands.wait(pid), self._log.read_text()
        assert status == 0, said
        return self.work.contents(out)

    def _disturb(self, out: Path, most: int) -> list[str]:
        """Give the command up to ``most`` times, a signal each time; return those that met it."""
        out.mkdir(exist_ok=True)
        met = []
        asked: Counter[str] = Counter()
        for _ in range(most):
            kept = self.work.kept(out)
            name, status = self._one(out)
            now = self.work.asked()
            assert not kept & now.keys(), f"{kept & now.keys()} were there, and were asked for again"
            asked += now
            if name is None:
                assert status == 0, self._log.read_text()
                break
            met.append(name)
        assert asked.total() <= len(asked) + CONCURRENCY * len(met)
        return met

    def _one(self, out: Path) -> tuple[str | None, int]:
        number = self.chance.choice(list(QUIET))
        before = (out / self.work.FINISHED).stat().st_mtime_ns if (out / self.work.FINISHED).exists() else 0
        pid = self.commands.start(self.work.argv(out), self._log)
        is_there = self._wait_for_a_moment(pid, out / self.work.FINISHED, before)
        if is_there:
            to_all = number == signal.SIGINT or (number == signal.SIGTERM and self.chance.random() < 0.5)
            (os.killpg if to_all else os.kill)(pid, number)
        status = self.commands.wait(pid)
        said = self._log.read_text()
        assert "Traceback" not in said, said
        self._assert_nothing_is_left(pid)
        if not is_there or status == 0:  # it had ended, or had nothing more to do
            return None, status
        assert status in (QUIET[number], -number), f"{number}: {status}\n{said}"
        self.met[number.name] += 1
        return number.name, status

    def _wait_for_a_moment(self, pid: int, last: Path, before: int) -> bool:
        """Wait for a moment between its start, or the writing of its last file, and its end; False if it ended."""
        deadline = time.monotonic() + 60
        is_late = self.chance.random() < 0.3
        while time.monotonic() < deadline:
            if _has_ended(pid):
                return False
            if (is_late and last.exists() and last.stat().st_mtime_ns != before) or (
                not is_late and _heeds_signals(pid)
            ):
                break
            time.sleep(0.0005)
        # A run that goes on has less to do than the undisturbed one.
        time.sleep(0.02 * self.chance.random() if is_late else self._seconds * self.chance.random() ** 2)
        return not _has_ended(pid)

    def _assert_nothing_is_left(self, session: int) -> None:
        deadline = time.monotonic() + 30
        while left := [pid for pid in _processes() if _session(pid) == session]:
            assert time.monotonic() < deadline, f"processes {left} are left"
            time.sleep(0.02)


def _stat(pid: int) -> list[str]:
    """Return what the kernel says of a process, from its state on; nothing where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _session(pid: int) -> int | None:
    stat = _stat(pid)
    return int(stat[3]) if stat and stat[0] != "Z" else None


def _has_ended(pid: int) -> bool:
    stat = _stat(pid)
    return not stat or stat[0] == "Z"


def _heeds_signals(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


WORKS = {"eval": Eval, "key-steps": KeySteps, "prepare": Prepare}


def disturb(commands: Commands, name: str, folder: Path, moments: int, seed: str) -> Counter[str]:
    work = WORKS[name](folder)
    try:
        trials = Trials(commands, work, random.Random(f"{name} {seed}"))
        trials.until(moments)
    finally:
        work.close()
    return trials.met


def recorded() -> dict[str, dict[str, int]]:
    """Return how many signals of each kind met a command, by its name and the number of the slice."""
    return json.loads(RESULT.read_text()) if RESULT.exists() else {}


@pytest.mark.parametrize("name", WORKS)
def test_a_signal_loses_nothing_and_leaves_nothing(commands: Commands, name: str, tmp_path: Path) -> None:
    assert disturb(commands, name, tmp_path, 2, "first tier").total() >= 2


@pytest.mark.parametrize("name", WORKS)
def test_the_committed_moments_are_hundreds(name: str) -> None:
    met: Counter[str] = Counter()
    for number in range(SLICES):
        met.update(recorded()[f"{name} {number}"])
    assert met.total() >= SLICES * MOMENTS
    assert min(met[number.name] for number in QUIET) > SLICES * MOMENTS / 6


@pytest.mark.slow
@pytest.mark.parametrize("number", range(SLICES))
@pytest.mark.parametrize("name", WORKS)
def test_signals_at_hundreds_of_moments(commands: Commands, name: str, number: int, tmp_path: Path) -> None:
    met = disturb(commands, name, tmp_path, MOMENTS, f"{SEED} {number}")
    if os.environ.get("RECORD"):
        found = recorded() | {f"{name} {number}": dict(sorted(met.items()))}
        RESULT.write_text(json.dumps(dict(sorted(found.items())), indent=2) + "\n")
