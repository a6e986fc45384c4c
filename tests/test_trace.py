"""Traces are read as they were written, and what is no row is set aside with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import trace_row

from verl_stepgrpo.errors import DataError
from verl_stepgrpo.trace import SCHEMA, SetAside, TraceWriter, iter_traces, read_trace, trace_files


class TestWriting:
    def test_rows_come_back_as_written(self, tmp_path: Path) -> None:
        rows = [trace_row("图\n🙂"), trace_row("")]
        path = TraceWriter(tmp_path).write("train", 3, rows)
        assert path == tmp_path / "train" / "step-000003.jsonl"
        assert read_trace(path) == rows

    def test_a_lone_surrogate_comes_back_too(self, tmp_path: Path) -> None:
        """A server's JSON may hold one."""
        rows = [trace_row("### Step 1:\n3 + 5 = 8 \ud83d\n### The final answer is: \udc00")]
        assert read_trace(TraceWriter(tmp_path).write("val", 0, rows)) == rows

    def test_a_step_is_extended_in_one_process_and_replaced_by_the_next(self, tmp_path: Path) -> None:
        writer = TraceWriter(tmp_path)
        writer.write("train", 1, [trace_row(session=1)])
        path = writer.write("train", 1, [trace_row(session=2)])
        assert [row["session"] for row in read_trace(path)] == [1, 2]
        TraceWriter(tmp_path).write("train", 1, [trace_row(session=3)])
        assert [row["session"] for row in read_trace(path)] == [3]


LINES = {
    b"": "not JSON",
    b'{"schema": 1, "step"': "not JSON",
    b'{"response": "\xe5\x9b': "not JSON",
    b"[" * 100_000: "not JSON",
    b"[1]": "no schema",
    b'{"step": 1, "data": {"loss": 1}}': "no schema",
    b'{"schema": 2}': f"schema 2; this version reads {SCHEMA}",
    b'{"schema": 1, "step": 1}': "it lacks uid, session",
}


class TestReading:
    @pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line[:24]))
    def test_a_line_that_is_no_row_is_set_aside_with_its_place(self, line: bytes, tmp_path: Path) -> None:
        path = TraceWriter(tmp_path).write("train", 1, [trace_row(session=0)])
        with path.open("ab") as file:
            file.write(line + b"\n")
        TraceWriter(tmp_path / "behind").write("train", 1, [trace_row(session=1)])
        path.write_bytes(path.read_bytes() + (tmp_path / "behind/train/step-000001.jsonl").read_bytes())
        aside: list[SetAside] = []
        assert [row["session"] for row in iter_traces([path], set_aside=aside.append)] == [0, 1]
        assert [(a.path, a.line) for a in aside] == [(path, 2)]
        assert LINES[line] in aside[0].reason

    def test_reading_one_file_whole_refuses_it(self, tmp_path: Path) -> None:
        path = tmp_path / "t.jsonl"
        path.write_text('{"schema": 2}\n')
        with pytest.raises(ValueError, match=r"t\.jsonl:1: schema 2"):
            read_trace(path)

    def test_files_are_found_in_the_order_of_training(self, tmp_path: Path) -> None:
        writer = TraceWriter(tmp_path)
        names = [("val", 0), ("train", 2), ("train", 1)]
        written = {name: writer.write(*name, [trace_row()]) for name in names}
        assert trace_files(tmp_path) == [written["train", 1], written["train", 2], written["val", 0]]
        assert trace_files(tmp_path / "val") == trace_files(written["val", 0]) == [written["val", 0]]

    def test_a_folder_without_traces_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="has no traces; expected"):
            trace_files(tmp_path)
