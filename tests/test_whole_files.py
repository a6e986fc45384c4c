"""The commands' files are whole or not there, and an older one stays; a full disk is one line that names the file."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers import parquet, trace_row
from raw_dataset import write_raw_dataset
from test_evaluation import Server as EvalServer
from test_evaluation import row as question

from verl_stepgrpo import DataError
from verl_stepgrpo.data import prepare as prepare_module
from verl_stepgrpo.data.key_steps import files as key_step_files
from verl_stepgrpo.data.key_steps.model import Cache
from verl_stepgrpo.data.prepare import FILES, PARTS, PrepareOptions, prepare
from verl_stepgrpo.data.rows.build import RowOptions
from verl_stepgrpo.traces.files import write_rows


def on_a_full_disk(*arguments: object, kilobytes: int) -> subprocess.CompletedProcess[str]:
    """Run a command where the kernel takes no more than so much for one file."""
    command = shlex.join([sys.executable, "-m", "verl_stepgrpo", *map(str, arguments)])
    limited = ["bash", "-c", f"ulimit -f {kilobytes}; exec {command}"]
    return subprocess.run(limited, capture_output=True, text=True, timeout=120, env=dict(os.environ))


class TestPrepare:
    @pytest.fixture
    def source(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setattr(prepare_module, "CHUNK", 8)
        return write_raw_dataset(tmp_path / "raw")

    def prepared(self, source: Path, out: Path, stop_at: int = 1000) -> dict[str, bytes]:
        options = PrepareOptions(RowOptions("raw", source.parent / "images"), val_share=0.2)
        seen = 0

        def interrupt(n: int) -> None:
            nonlocal seen
            seen += n
            if seen >= stop_at:
                raise KeyboardInterrupt

        prepare(source, out, options, progress=interrupt)
        return {path.name: path.read_bytes() for path in out.iterdir()}

    @pytest.mark.parametrize(
        "damage", ["parquet gone", "parquet of zeros", "dropped gone", "mark torn", "mark empty"]
    )
    def test_a_chunk_that_is_not_whole_is_made_anew(self, source: Path, tmp_path: Path, damage: str) -> None:
        whole = self.prepared(source, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            self.prepared(source, tmp_path / "out", stop_at=24)
        parts = tmp_path / "out" / PARTS
        if damage == "parquet gone":
            (parts / "000001-rl-train.parquet").unlink()
        elif damage == "parquet of zeros":
            (parts / "000001-rl-train.parquet").write_bytes(b"\x00" * 1000)
        elif damage == "dropped gone":
            (parts / "000001-dropped.jsonl").unlink()
        else:
            (parts / "000001.json").write_bytes(b'{"read": 8' if damage == "mark torn" else b"")
        assert self.prepared(source, tmp_path / "out") == whole

    def test_what_a_run_left_that_was_killed_while_it_cleared_up_does_no_harm(
        self, source: Path, tmp_path: Path
    ) -> None:
        whole = self.prepared(source, tmp_path / "whole")
        with pytest.raises(KeyboardInterrupt):
            self.prepared(source, tmp_path / "out", stop_at=24)
        (tmp_path / "out" / PARTS).rename(tmp_path / "out" / f"{PARTS}.done")
        for path in (tmp_path / "out" / f"{PARTS}.done").glob("*.parquet"):
            path.unlink()
        assert self.prepared(source, tmp_path / "out") == whole

    def test_chunks_without_their_rows_are_no_dataset(
        self, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prepare_module, "in_order", lambda work, tasks, num_proc: losing(work, tasks))

        def losing(work, tasks):  # type: ignore[no-untyped-def]
            for task in tasks:
                yield work(task)
                (task[2] / "000001-rl-train.parquet").unlink(missing_ok=True)

        with pytest.raises(
            DataError, match=r"holds \d+ rows of rl-train, of \d+ that were prepared\. Remove "
        ):
            self.prepared(source, tmp_path / "out")
        assert not [path for path in (tmp_path / "out").iterdir() if path.name != PARTS]

    def test_a_full_disk_is_one_line_and_the_older_files_stay(self, source: Path, tmp_path: Path) -> None:
        whole = self.prepared(source, tmp_path / "out")
        arguments = ["prepare", source, "--val-share", "0.2", "--out", tmp_path / "out", "--num-proc", "1"]
        images = ["--image-root", source.parent / "images"]
        done = on_a_full_disk(*arguments, *images, kilobytes=32)
        (line,) = done.stderr.splitlines()
        assert (done.returncode, line.startswith(f"verl-stepgrpo: {tmp_path}/out/")) == (2, True)
        assert line.endswith("cannot be used: File too large")
        assert {name: (tmp_path / "out" / name).read_bytes() for name in whole} == whole
        assert self.prepared(source, tmp_path / "out").keys() == whole.keys()
        assert all(pq.read_table(tmp_path / "out" / f"{name}.parquet").num_rows for name in FILES)


class TestKeySteps:
    SOLUTION = "### Step 1:\nThere are 4 adults.\n### The final answer is: 3"

    def source(self, folder: Path, n: int = 3) -> Path:
        path = folder / "raw.jsonl"
        rows = [{"problem": f"Q{i}?", "solution": self.SOLUTION} for i in range(n)]
        path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"problem": "No solution?"}]))
        return path

    def test_an_older_file_of_rows_set_aside_stays_until_the_run_ends(self, tmp_path: Path) -> None:
        source, out = self.source(tmp_path), tmp_path / "with.jsonl"
        key_step_files.by_rules(source, out, progress=lambda n: None)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        assert json.loads(before["with.failed.jsonl"])["row"] == 3

        def interrupt(n: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            key_step_files.by_rules(source, out, progress=interrupt)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

    def test_a_full_disk_is_one_line_and_the_older_file_stays(self, tmp_path: Path) -> None:
        out = tmp_path / "with.jsonl"
        out.write_text("old")
        done = on_a_full_disk("key-steps", self.source(tmp_path, 300), "--out", out, "--rules", kilobytes=8)
        assert done.stderr == f"verl-stepgrpo: {out} cannot be used: File too large\n"
        assert done.returncode == 2
        assert out.read_text() == "old"
        assert {path.name for path in tmp_path.iterdir()} == {"raw.jsonl", "with.jsonl"}

    @pytest.mark.parametrize("contents", [b"not a database" * 100, b"\x00" * 5000])
    def test_answers_that_cannot_be_read_name_their_file(self, tmp_path: Path, contents: bytes) -> None:
        path = tmp_path / "with.cache.sqlite"
        path.write_bytes(contents)
        with pytest.raises(OSError, match="not a database") as caught:
            Cache(path)
        assert caught.value.filename == str(path)


def test_a_report_for_which_there_is_no_room_leaves_the_older_one(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with (tmp_path / "train" / "step-000001.jsonl").open("w") as file:
        write_rows(file, [trace_row("8", session=i) for i in range(4)])
    out = tmp_path / "report.html"
    for kilobytes, status in ((100_000, 0), (10, 2)):
        done = on_a_full_disk("report", tmp_path, "--out", out, kilobytes=kilobytes)
        assert done.returncode == status, done.stderr
    assert done.stderr == f"verl-stepgrpo: {out} cannot be used: File too large\n"
    assert out.read_bytes().rstrip().endswith(b"</html>")


def test_an_evaluation_keeps_on_a_full_disk_what_was_answered(tmp_path: Path) -> None:
    server = EvalServer()
    file = parquet(tmp_path / "data.parquet", [question(i) for i in range(12)])
    arguments = ["eval", file, "--model", "m", "--base-url", server.url, "--out", tmp_path / "out"]
    done = on_a_full_disk(*arguments, kilobytes=8)
    kept, line = done.stderr.splitlines()
    n = (tmp_path / "out" / "responses.jsonl").read_bytes().count(b"\n")
    said = f"verl-stepgrpo: {n} rows answered and kept in {tmp_path}/out; the same command goes on there"
    assert kept == said
    assert line == f"verl-stepgrpo: {tmp_path}/out/responses.jsonl cannot be used: File too large"
    assert done.returncode == 2
    server.bodies.clear()
    assert on_a_full_disk(*arguments, kilobytes=1000).returncode == 0
    server.close()
    assert len(server.bodies) == 12 - n
    assert 3 <= n < 12
