"""Traces are read as they were written, and what is no row is set aside with its place."""

from __future__ import annotations

import dataclasses
import gzip
import json
import re
from pathlib import Path
from typing import IO

import pytest
from helpers import lines_in, put_lines, trace_row
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from verl_stepgrpo.cli import app
from verl_stepgrpo.errors import DataError
from verl_stepgrpo.files import SetAside
from verl_stepgrpo.replay.replay import replay
from verl_stepgrpo.replay.variants import variants
from verl_stepgrpo.settings import RunSettings
from verl_stepgrpo.traces import files, packed
from verl_stepgrpo.traces.files import (
    HEADER,
    UNTRAINED,
    TraceWriter,
    iter_traces,
    read_trace,
    refuse,
    set_aside_later_steps,
    trace_files,
)
from verl_stepgrpo.traces.header import DataFile, SettingsByStep, Start, read_header
from verl_stepgrpo.traces.rows import Credit, Judgement, parse_row


class TestWriting:
    def test_rows_come_back_as_written(self, tmp_path: Path) -> None:
        rows = [trace_row("图\n🙂"), trace_row("")]
        path = TraceWriter(tmp_path).write("train", 3, rows)
        assert path == tmp_path / "train" / "step-000003.jsonl.gz"
        assert read_trace(path) == rows

    def test_a_lone_surrogate_comes_back_too(self, tmp_path: Path) -> None:
        """A server's JSON may hold one."""
        rows = [trace_row("### Step 1:\n3 + 5 = 8 \ud83d\n### The final answer is: \udc00")]
        assert read_trace(TraceWriter(tmp_path).write("val", 0, rows)) == rows

    def test_a_step_is_extended_in_one_process_and_replaced_by_the_next(self, tmp_path: Path) -> None:
        writer = TraceWriter(tmp_path)
        writer.write("train", 1, [trace_row(session=1)])
        path = writer.write("train", 1, [trace_row(session=2)])
        assert [row.session for row in read_trace(path)] == [1, 2]
        TraceWriter(tmp_path).write("train", 1, [trace_row(session=3)])
        assert [row.session for row in read_trace(path)] == [3]


LINES = {
    b"": "not JSON",
    b'{"schema": 1, "step"': "not JSON",
    b'{"response": "\xe5\x9b': "not JSON",
    b"[" * 100_000: "not JSON",
    b"[1]": "no schema",
    b'{"step": 1, "data": {"loss": 1}}': "no schema",
    b'{"schema": 3}': "schema 3; this version reads 1, 2",
    b'{"schema": 1, "step": 1}': "it lacks uid",
}


PLACES = {
    "another split": {"split": "trPAR1ain"},
    "a split that is none": {"split": ["train"]},
    "a step without end": {"step": float("inf")},
    "a session of 400 digits": {"session": 1, "key_step_share": 10**400},
}
"""What a damaged row may have, in place of a row's own, and still be JSON."""


class TestReading:
    @pytest.mark.parametrize("change", PLACES.values(), ids=PLACES)
    def test_a_row_with_a_place_or_number_that_cannot_be_is_set_aside(
        self, change: dict, tmp_path: Path
    ) -> None:
        (tmp_path / "train").mkdir()
        path = tmp_path / "train" / "step-000001.jsonl"
        rows = ({**trace_row(session=i).to_json(), **own} for i, own in enumerate(({}, change, {})))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        aside: list[SetAside] = []
        assert [row.session for row in iter_traces([path], set_aside=aside.append)] == [0, 2]
        assert [one.line for one in aside] == [2]
        assert aside[0].reason.startswith("not laid out as a row of a trace")

    @pytest.mark.parametrize("share", [0.3, 0.985])
    def test_a_file_that_breaks_off_has_the_rows_before(self, share: float, tmp_path: Path) -> None:
        """A killed run leaves one."""
        path = TraceWriter(tmp_path).write(
            "train", 1, [trace_row(f"{i}" * 500, session=i) for i in range(100)]
        )
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
        aside: list[SetAside] = []
        rows = list(iter_traces([path], set_aside=aside.append))
        assert [row.session for row in rows] == list(range(len(rows)))
        assert 100 * share - 3 <= len(rows) < 100
        assert [(one.line, one.reason[:32]) for one in aside[-1:]] == [
            (len(rows) + len(aside), "the compressed file breaks off: ")
        ]

    def test_a_disk_that_is_full_for_a_while_costs_no_other_rows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writer = TraceWriter(tmp_path)
        path = writer.write("train", 1, [trace_row(session=0)])

        def fill(file: IO[bytes], data: bytes) -> None:
            file.write(data[: len(data) // 2])
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(files, "_write_all", fill)
            assert writer.write("train", 1, [trace_row(session=1)]) is None
        writer.write("train", 1, [trace_row(session=2)])
        assert [row.session for row in read_trace(path)] == [0, 2]

    def test_what_earlier_versions_wrote_is_read_alike(self, tmp_path: Path) -> None:
        for step in (9, 10):
            path = TraceWriter(tmp_path).write("train", step, [trace_row(step=step)])
        path.with_suffix("").write_bytes(lines_in(path)[0])
        path.unlink()
        assert [row.step for row in iter_traces(trace_files(tmp_path), set_aside=refuse)] == [9, 10]
        TraceWriter(tmp_path).write("train", 10, [trace_row(step=10, session=1)])
        assert [row.session for row in iter_traces(trace_files(tmp_path), set_aside=refuse)] == [0, 1]

    @pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line[:24]))
    def test_a_line_that_is_no_row_is_set_aside_with_its_place(self, line: bytes, tmp_path: Path) -> None:
        path = TraceWriter(tmp_path).write("train", 1, [trace_row(session=0)])
        (row,) = lines_in(path)
        put_lines(
            path,
            row,
            line + b"\n",
            lines_in(TraceWriter(tmp_path / "b").write("val", 1, [trace_row(session=1)]))[0],
        )
        aside: list[SetAside] = []
        assert [row.session for row in iter_traces([path], set_aside=aside.append)] == [0, 1]
        assert [(a.path, a.line) for a in aside] == [(path, 2)]
        assert LINES[line] in aside[0].reason

    def test_reading_one_file_whole_refuses_it(self, tmp_path: Path) -> None:
        path = tmp_path / "t.jsonl"
        path.write_text('{"schema": 3}\n')
        with pytest.raises(ValueError, match=r"t\.jsonl:1: schema 3"):
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


PAGE = Path(__file__).resolve().parents[1] / "docs" / "traces.md"


def test_the_row_of_the_page_is_one_and_read_in_the_format_that_it_names(tmp_path: Path) -> None:
    """It has what has to be there and no more, and lies without a header."""
    (text,) = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
    facts = json.loads(text)
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(facts) + "\n")
    (summary, again) = replay(file, variants({"alpha": [0.1]})).summaries
    assert summary.components["score"] == again.components["score"] == facts["components"]["score"] == 2
    said = CliRunner().invoke(app, ["score", "--trace", str(file), "--line", "1"]).output
    assert "Reward   2.000" in said
    assert "format=think, which the row says" in said
    for key in (
        "components",
        "key_step_share",
        "answer",
        "key_steps",
        "steps",
        "step",
        "uid",
        "session",
        "schema",
    ):
        with pytest.raises(ValueError, match=key):
            parse_row(json.dumps({name: one for name, one in facts.items() if name != key}).encode())


class TestHeader:
    def start(self, step: int, **settings: object) -> Start:
        run = RunSettings.from_mapping(settings)
        return Start(step, run.to_mapping(), "python -m verl.trainer.main_ppo", "model")

    def test_it_is_found_from_wherever_the_traces_are_named(self, tmp_path: Path) -> None:
        start = self.start(0, alpha=0.3)
        start.write(tmp_path)
        path = TraceWriter(tmp_path).write("train", 1, [trace_row()])
        assert path is not None
        for source in (tmp_path, tmp_path / "train", path):
            assert read_header(source) == [start]
        assert read_header(tmp_path / "another" / "train" / "step-000001.jsonl.gz") == []
        assert start.versions["verl-stepgrpo"]

    def test_the_data_has_the_digest_of_its_contents(self, tmp_path: Path) -> None:
        (tmp_path / "a.parquet").write_bytes(b"abc")
        file = DataFile.of(str(tmp_path / "a.parquet"))
        assert file.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        assert DataFile.of("hdfs://host/a.parquet").sha256 is None
        dataclasses.replace(self.start(0), data={"train": [file]}).write(tmp_path)
        assert read_header(tmp_path)[0].data == {"train": [file]}

    def test_each_side_of_a_resume_has_its_own_settings(self) -> None:
        """Behind step 10 with another alpha; then that was given up, and the run resumed behind step 5."""
        starts = [self.start(0), self.start(10, alpha=0.2), self.start(5, alpha=0.3)]
        alphas = [SettingsByStep(starts).at(step).reward.alpha for step in (0, 1, 5, 6, 11)]
        assert alphas == [0.1, 0.1, 0.1, 0.3, 0.3]

    def test_without_one_the_defaults_stand_and_that_is_known(self) -> None:
        assert SettingsByStep().at(3) == RunSettings()
        assert not SettingsByStep().is_known

    @pytest.mark.parametrize(
        "line", ["", "{", "[]", '{"from_step": 0}', '{"settings": {"aplha": 1}}', "\0\0"]
    )
    def test_a_line_that_is_no_start_is_set_aside(self, line: str, tmp_path: Path) -> None:
        self.start(0).write(tmp_path)
        with (tmp_path / HEADER).open("a") as file:
            file.write(line + "\n")
        self.start(5).write(tmp_path)
        aside: list[SetAside] = []
        assert [start.from_step for start in read_header(tmp_path, set_aside=aside.append)] == [0, 5]
        assert [(one.path.name, one.line) for one in aside] == [(HEADER, 2)]


class TestAnotherAttempt:
    def names(self, folder: Path) -> list[str]:
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jsonl*"))

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        writer = TraceWriter(tmp_path)
        for split, step in (("val", 0), ("train", 1), ("train", 2), ("val", 2), ("train", 3), (UNTRAINED, 4)):
            writer.write(split, step, [trace_row(step=step)])
        TestHeader().start(0).write(tmp_path)
        return tmp_path

    def test_steps_behind_the_one_that_is_resumed_are_set_aside(self, folder: Path) -> None:
        aside = set_aside_later_steps(folder, 1)
        assert aside is not None
        assert self.names(aside) == [
            "train/step-000002.jsonl.gz",
            "train/step-000003.jsonl.gz",
            "untrained/step-000004.jsonl.gz",
            "val/step-000002.jsonl.gz",
        ]
        kept = [path.relative_to(folder).as_posix() for path in trace_files(folder)]
        assert kept == ["train/step-000001.jsonl.gz", "val/step-000000.jsonl.gz"]
        assert (folder / HEADER).exists()
        assert set_aside_later_steps(folder, 1) is None

    def test_a_run_that_begins_sets_aside_all_of_another_one(self, folder: Path) -> None:
        before = self.names(folder)
        aside = set_aside_later_steps(folder, 0)
        assert aside is not None
        assert self.names(aside) == before
        with pytest.raises(DataError, match="has no traces"):
            trace_files(folder)


class TestAFullDisk:
    """/dev/full is always full."""

    def test_it_is_said_once_and_training_goes_on(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "train").mkdir()
        for step in (1, 2):
            (tmp_path / "train" / f"step-{step:06d}.jsonl.gz").symlink_to("/dev/full")
        writer = TraceWriter(tmp_path)
        assert [writer.write("train", step, [trace_row()]) for step in (1, 2)] == [None, None]
        (message,) = [record.getMessage() for record in caplog.records]
        assert "step-000001.jsonl.gz cannot be written: No space left on device. Training goes on" in message
        caplog.clear()
        assert writer.write("train", 3, [trace_row()]) is not None
        (message,) = [record.getMessage() for record in caplog.records]
        assert "written again; those of 2 writes since step 1 are missing" in message


class TestSchema1:
    """Rows as version 0.1.0 wrote them before its traces had a header."""

    OLD = (
        '{"step": 4, "uid": "u", "session": 1, "schema": 1, "components": {"score": 1.05, "acc": 0.0, "step_rar": 0.05,'
        ' "step_rvr": 1.0, "key_step_match": 0.5, "complete": 1.0, "ordered": 1.0, "answered": 1.0,'
        ' "verifier_timeout": 0.0, "unparseable": 0.0}, "key_step_share": 0.05, "answer": {"text": "9", "layer":'
        ' "number", "reason": "9 is not 8"}, "key_steps": [{"wordings": ["3 + 5 = 8"], "matched": false, "wording":'
        ' null, "similarity": 0.0, "step": null, "start": null, "end": null}], "steps": [{"number": 1, "start": 0,'
        ' "end": 9, "token_end": null, "key_step_share": 0.05}], "total": 1.05, "index": 7, "data_source": "digits",'
        ' "ground_truth": "8", "prompt": "3 + 5?", "response": "### Step 1:"'
    )

    def test_it_is_read_and_what_it_lacks_is_absent(self) -> None:
        row = parse_row(self.OLD.encode() + b', "advantage": -1.5, "step_advantages": [-1.5, null]}')
        assert (row.split, row.step, row.uid, row.session) == ("train", 4, "u", 1)
        assert row.credit == Credit(-1.5, (-1.5, None), 1.5)
        assert row.faults is None
        assert row.components.keys() == json.loads(self.OLD + "}")["components"].keys()
        assert row.total == 1.05

    def test_a_row_without_an_advantage_is_of_a_validation(self) -> None:
        assert parse_row(self.OLD.encode() + b', "advantage": null}').split == "val"


@given(st.text(), st.none() | st.integers() | st.text() | st.lists(st.integers()), st.booleans())
def test_a_row_is_the_same_after_json(response: str, index: object, is_trained: bool) -> None:
    row = trace_row(response, credit=Credit(0.5, (0.5, None), 0.25) if is_trained else None)
    row = dataclasses.replace(row, index=index, id="a")
    assert parse_row(json.dumps(row.to_json()).encode()) == row
    assert hash(row.question)


class TestPacked:
    def test_a_row_that_travelled_packed_is_the_row(self) -> None:
        row = trace_row("图 \ud83d\n🙂", credit=Credit(0.5, (0.5, None), 0.25), step=3, uid="u", session=1)
        judged = Judgement.from_json(row.to_json())
        place = {"split": "train", "step": 3, "uid": "u", "session": 1}
        line = packed.line_of(packed.packed(judged), place, row.credit)
        assert parse_row(gzip.decompress(line)) == row
        assert gzip.decompress(line).count(b"\n") == 1

    def test_one_of_a_validation_has_no_credit(self) -> None:
        row = trace_row("8", credit=None)
        place = {"split": "val", "step": 1, "uid": "a", "session": 0}
        line = packed.line_of(packed.packed(Judgement.from_json(row.to_json())), place, None)
        assert parse_row(gzip.decompress(line)) == row

    def test_groups_are_shown_by_their_names_alone_and_to_their_share(self) -> None:
        names = [f"{i:032x}" for i in range(10_000)]
        shown = [name for name in names if packed.shown(name, 0.2)]
        assert 0.18 < len(shown) / len(names) < 0.22
        assert {name for name in names if packed.shown(name, 0.1)} < set(shown)
        assert all(packed.shown(name, 1.0) for name in names)
