"""An evaluation goes on in its folder whatever ended the run before, and loses no answer that it has."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from helpers import parquet
from test_evaluation import Server, row, run

from verl_stepgrpo import ConfigError, DataError
from verl_stepgrpo.errors import EndedError
from verl_stepgrpo.evaluation import responses as responses_module
from verl_stepgrpo.evaluation.evaluate import FAILED, RESPONSES, RESULTS
from verl_stepgrpo.evaluation.responses import SET_ASIDE, settle
from verl_stepgrpo.files import SetAside
from verl_stepgrpo.traces import files as trace_files_module
from verl_stepgrpo.traces.rows import TraceRow, parse_row


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_a_full_disk_at_the_start_of_the_second_run_loses_nothing(server: Server, tmp_path: Path) -> None:
    run(server, tmp_path, samples=2)
    responses = tmp_path / "out" / RESPONSES
    whole = responses.read_bytes()
    lines = whole.splitlines(keepends=True)
    responses.write_bytes(b"".join([*lines[:2], *lines[3:]]))  # one of the second question's is missing
    before = responses.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            settle(responses, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(responses)
    assert responses.read_bytes() == before
    assert run(server, tmp_path, samples=2).reused == 9
    assert responses.read_bytes() == whole


def test_a_finished_file_is_not_written_again(server: Server, tmp_path: Path) -> None:
    run(server, tmp_path)
    responses = tmp_path / "out" / RESPONSES
    before = responses.stat()
    assert run(server, tmp_path).reused == 10
    assert responses.stat() == before


def test_stored_responses_are_read_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(server, tmp_path)
    read: list[bytes] = []

    def parse(line: bytes) -> TraceRow:
        read.append(line)
        return parse_row(line)

    for module in (responses_module, trace_files_module):
        monkeypatch.setattr(module, "parse_row", parse)
    again = run(server, tmp_path)
    assert (again.reused, again.scores) == (10, first.scores)
    assert len(read) == len(set(read)) == 10


@pytest.mark.parametrize(
    "torn",
    [b"\x00" * 300 + b"\n", '{"response": "漢"}'.encode()[:-3] + b"\n", b"\n", b'{"step": \n'],
    ids=["zeros", "in a character", "empty", "in a value"],
)
def test_a_line_that_cannot_be_read_is_set_aside_and_its_question_asked_again(
    server: Server, tmp_path: Path, torn: bytes
) -> None:
    run(server, tmp_path)
    responses = tmp_path / "out" / RESPONSES
    whole = responses.read_bytes()
    lines = whole.splitlines(keepends=True)
    responses.write_bytes(b"".join([*lines[:3], torn, *lines[4:]]))
    server.bodies.clear()
    said: list[SetAside] = []
    assert run(server, tmp_path, set_aside=said.append).reused == 9
    assert len(server.bodies) == 1
    assert [(line.path, line.line) for line in said] == [(responses, 4)]
    (kept,) = map(json.loads, (tmp_path / "out" / SET_ASIDE).open())
    assert (kept["line"], kept["reason"]) == (4, said[0].reason)
    assert responses.read_bytes() == whole


@pytest.mark.parametrize("torn", ["漢".encode()[:2], b"\x00" * 300, b'{"step": 0, "uid'])
def test_a_line_that_a_killed_run_tore_is_no_matter_to_speak_of(
    server: Server, tmp_path: Path, torn: bytes
) -> None:
    run(server, tmp_path)
    responses = tmp_path / "out" / RESPONSES
    whole = responses.read_bytes()
    lines = whole.splitlines(keepends=True)
    responses.write_bytes(b"".join(lines[:7]) + lines[7][:50] + torn)
    said: list[SetAside] = []
    assert run(server, tmp_path, set_aside=said.append).reused == 7
    assert not said
    assert responses.read_bytes() == whole


def test_responses_that_two_runs_wrote_at_once_are_counted_once(server: Server, tmp_path: Path) -> None:
    first = run(server, tmp_path, samples=2)
    responses = tmp_path / "out" / RESPONSES
    whole = responses.read_bytes()
    responses.write_bytes(whole + whole)
    second = run(server, tmp_path, samples=2)
    assert (second.reused, second.scores) == (10, first.scores)
    assert responses.read_bytes() == whole


def test_responses_of_another_version_are_left_alone(server: Server, tmp_path: Path) -> None:
    run(server, tmp_path)
    responses = tmp_path / "out" / RESPONSES
    other = b"".join(
        json.dumps(json.loads(line) | {"schema": 99}).encode() + b"\n" for line in responses.open("rb")
    )
    responses.write_bytes(other)
    with pytest.raises(DataError, match=r"responses\.jsonl cannot be gone on with: .*schema 99"):
        run(server, tmp_path)
    assert responses.read_bytes() == other


@pytest.mark.parametrize("mark", [b"", b"\x00" * 50, b'{"source"', b"[]", b"\xff"])
def test_a_mark_that_cannot_be_read_says_what_to_do(server: Server, tmp_path: Path, mark: bytes) -> None:
    run(server, tmp_path)
    (tmp_path / "out" / "options.json").write_bytes(mark)
    with pytest.raises(
        ConfigError, match=r"options\.json says no more how the run was begun .*remove that file"
    ):
        run(server, tmp_path)
    (tmp_path / "out" / "options.json").unlink()
    assert run(server, tmp_path).reused == 10


class TestServer:
    def test_an_answer_does_not_wait_for_a_slow_one_to_be_kept(self, server: Server, tmp_path: Path) -> None:
        server.slow = (0,)
        work = Thread(target=run, args=(server, tmp_path))
        work.start()
        responses = tmp_path / "out" / RESPONSES
        deadline = time.monotonic() + 2.5  # the slow one takes 3 s
        while time.monotonic() < deadline and not (
            responses.exists() and responses.read_bytes().count(b"\n") == 9
        ):
            time.sleep(0.02)
        early = responses.read_bytes()
        work.join()
        assert early.count(b"\n") == 9
        uids = [json.loads(line)["uid"] for line in responses.open()]
        assert uids == [str(n) for n in range(10)]

    def test_a_dead_server_ends_the_run_after_a_few_failures(self, server: Server, tmp_path: Path) -> None:
        parquet(tmp_path / "data.parquet", [row(i) for i in range(500)])
        server.dies_after = 20
        began = time.monotonic()
        with pytest.raises(EndedError, match=r"failed 6 requests in a row; the last: APIConnectionError"):
            run(server, tmp_path)
        assert time.monotonic() - began < 30
        assert not (tmp_path / "out" / RESULTS).exists()
        kept = (tmp_path / "out" / RESPONSES).read_bytes().count(b"\n")
        assert 17 <= kept <= 20
        assert (tmp_path / "out" / FAILED).read_bytes().count(b"\n") == 5

    def test_failures_that_are_the_requests_own_end_nothing(self, server: Server, tmp_path: Path) -> None:
        server.faults = ["400"] * 9
        assert run(server, tmp_path).failed == 9
        assert (tmp_path / "out" / RESULTS).exists()
