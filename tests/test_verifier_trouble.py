"""Trouble of math-verify's processes is no wrong answer: it is counted, said once, and over when it is over."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from helpers import trace_row

from verl_stepgrpo import RewardSettings, score_response
from verl_stepgrpo.judging.answers import symbolic
from verl_stepgrpo.judging.answers.judge import judge_answer
from verl_stepgrpo.judging.answers.symbolic import Equality, SymbolicChecker, VerifierFailedError
from verl_stepgrpo.traces.files import TraceWriter

ANSWER, REFERENCE = r"\sin(x)+1", r"1+\sin x"
"""Equal, and no business of any layer before math-verify."""

SKETCH = """
import os, signal, sys
EQUAL = [{"$y=x$", "$2y=2x$"}, {"$0.5$", "$\\\\frac{1}{2}$"}]
LatexExtractionConfig = ExprExtractionConfig = object

def parse(text, *args, **kwargs):
    return [text]

def verify(gold, target, **kwargs):
    one, other = (sorted(text.translate(str.maketrans("", "", "()$ "))) for text in (gold[0], target[0]))
    return {gold[0], target[0]} in EQUAL or one == other
"""
"""A math-verify that starts in no time: expressions are equal where they have the same characters."""

SYMPY = {
    "__init__.py": "class Equality: pass\nclass Set: pass\n",
    "logic/__init__.py": "",
    "logic/boolalg.py": "class Boolean: pass\n",
}
"""What of sympy the worker itself asks for."""

PARSE = """
def parse(text, *args, **kwargs):
    if "tan" in text:
        {}
    return [text]
"""
SEGFAULT = PARSE.format("import ctypes; ctypes.string_at(0)")
OUT_OF_MEMORY = PARSE.format("os.kill(os.getpid(), signal.SIGKILL)")
"""As the kernel ends who takes too much."""

Fake = Callable[[str], None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a sketch of math-verify, with ``code`` at its end, before the real one for workers that are started from now
    on."""
    folder = tmp_path / "fake"
    for name, text in SYMPY.items():
        file = folder / "sympy" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def make(code: str) -> None:
        (folder / "math_verify.py").write_text(SKETCH + code)

    make("")
    monkeypatch.syspath_prepend(str(folder))
    return make


@pytest.fixture
def checker(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> Iterator[SymbolicChecker]:
    """That of a process which has asked nothing yet, and whose math-verify is the sketch."""
    state = symbolic._ProcessState()
    monkeypatch.setattr(symbolic, "_state", state)
    monkeypatch.setattr(symbolic, "START_PAUSE", 0.0)
    symbolic._decided.cache_clear()
    yield state.checker()
    state.checker().close()
    symbolic._decided.cache_clear()


@contextlib.contextmanager
def asked_of_a_stopped_worker(checker: SymbolicChecker) -> Iterator[tuple[int, Future[Equality]]]:
    """Yield the worker, which has the question and does not run, and what will come of it."""
    checker.ask("$x$", "$x$")
    (pid,) = checker.pids
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        outcome = thread.submit(checker.ask, "$x+1$", "$1+x$")
        time.sleep(0.3)
        yield pid, outcome


class TestOneDeath:
    @pytest.mark.parametrize("by", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
    def test_a_question_whose_worker_is_killed_is_asked_again(
        self, checker: SymbolicChecker, by: signal.Signals, caplog: pytest.LogCaptureFixture
    ) -> None:
        with asked_of_a_stopped_worker(checker) as (pid, outcome):
            os.kill(pid, by)
            os.kill(pid, signal.SIGCONT)
        assert outcome.result() is Equality.EQUAL
        assert pid not in checker.pids
        assert f"math-verify's process died: signal {by.value}" in caplog.text

    def test_an_idle_worker_that_was_killed_is_replaced_before_it_is_asked(
        self, checker: SymbolicChecker, caplog: pytest.LogCaptureFixture
    ) -> None:
        checker.ask("$x$", "$x$")
        (pid,) = checker.pids
        os.kill(pid, signal.SIGKILL)
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert checker.ask("$x+1$", "$1+x$") is Equality.EQUAL
        assert not caplog.records

    def test_a_worker_that_does_not_run_is_late_and_not_dead(self, checker: SymbolicChecker) -> None:
        with asked_of_a_stopped_worker(checker) as (_, outcome):
            assert outcome.result() is Equality.TIMEOUT

    def test_a_worker_that_ends_at_its_own_limit_is_late_and_not_dead(self, checker: SymbolicChecker) -> None:
        with asked_of_a_stopped_worker(checker) as (pid, outcome):
            os.kill(pid, signal.SIGALRM)
            os.kill(pid, signal.SIGCONT)
            assert outcome.result() is Equality.TIMEOUT

    def test_a_terminals_interrupt_ends_no_worker(self, checker: SymbolicChecker) -> None:
        # Else a shell's background job ignores it, and so do its children.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        checker.ask("$x$", "$x$")
        signal.signal(signal.SIGINT, before)
        pids = checker.pids
        os.kill(pids[0], signal.SIGINT)
        time.sleep(0.2)
        assert checker.ask("$x+1$", "$1+x$") is Equality.EQUAL
        assert checker.pids == pids


class TestNoWorker:
    def test_an_answer_is_not_judged_where_math_verify_cannot_be_imported(
        self, checker: SymbolicChecker, fake: Fake, caplog: pytest.LogCaptureFixture
    ) -> None:
        fake("raise ImportError('no antlr4 here')")
        for _ in range(3):
            verdict = judge_answer(ANSWER, REFERENCE)
            assert (verdict.correct, verdict.failed) == (False, True)
            assert (verdict.timeout, verdict.unparseable, verdict.answered) == (False, False, True)
            assert verdict.reason == (
                "math-verify's process could not be started: ImportError: no antlr4 here"
            )
            assert verdict.text == ANSWER
        (said,) = caplog.records
        assert said.levelno == logging.ERROR
        assert "Traceback (most recent call last)" in said.getMessage()
        assert "verl-stepgrpo doctor" in said.getMessage()
        fake("")
        assert judge_answer(ANSWER, REFERENCE).correct, "it was remembered"

    def test_it_counts_in_a_component_of_its_own(self, checker: SymbolicChecker, fake: Fake) -> None:
        fake("raise ImportError")
        for mode in ("paper", "reference"):
            scored = score_response(
                f"### The final answer is: {ANSWER}", REFERENCE, (), RewardSettings(mode=mode)
            )
            found = scored.components()
            assert (found["acc"], found["verifier_failed"], found["verifier_timeout"]) == (0, 1, 0), mode

    def test_the_same_text_is_right_without_it(self, checker: SymbolicChecker, fake: Fake) -> None:
        fake("raise ImportError")
        for mode in ("paper", "reference"):
            scored = score_response(
                f"### The final answer is: {ANSWER}", ANSWER, (), RewardSettings(mode=mode)
            )
            assert (scored.answer.correct, scored.answer.failed) == (True, False), mode

    @pytest.mark.parametrize(
        ("answer", "reference"),
        [
            (f"({ANSWER}, 2)", f"({REFERENCE}, 2)"),
            (f"(B) {ANSWER}", f"(B) {REFERENCE}"),
            (f"(B) {ANSWER}", REFERENCE),
            (f"{{2, {ANSWER}}}", f"{{{REFERENCE}, 2}}"),
        ],
        ids=["list", "choice with its text", "text of a choice", "set"],
    )
    def test_no_layer_takes_a_part_that_was_not_judged_for_a_wrong_one(
        self, checker: SymbolicChecker, fake: Fake, answer: str, reference: str
    ) -> None:
        fake("raise ImportError")
        verdict = judge_answer(answer, reference)
        assert (verdict.correct, verdict.failed) == (False, True)
        fake("")
        assert judge_answer(answer, reference).correct

    @pytest.mark.parametrize(
        ("code", "reason"),
        [
            ("import os; os._exit(3)", "exit status 3"),
            ("import os; os.kill(os.getpid(), 11)", "signal 11, Segmentation fault"),
            ("def parse(*a, **k): return []", r"math-verify's verdict on \$x\+1\$ and \$3x\$ is None"),
            ("def verify(*a, **k): return True", "is True; expected False"),
        ],
        ids=["ends", "crashes", "reads nothing", "is always right"],
    )
    def test_one_that_does_not_work_is_none(
        self, checker: SymbolicChecker, fake: Fake, code: str, reason: str
    ) -> None:
        fake(code)
        with pytest.raises(VerifierFailedError, match=f"could not be started: .*{reason}"):
            symbolic.equal("x+1", "1+x")
        assert checker.pids == []

    def test_one_that_is_not_ready_in_time_is_none(
        self, checker: SymbolicChecker, fake: Fake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fake("import time; time.sleep(60)")
        monkeypatch.setattr(symbolic, "START_LIMIT", 0.5)
        with pytest.raises(VerifierFailedError, match="could not be started: it was not ready after 0 s"):
            symbolic.equal("x+1", "1+x")

    def test_a_system_that_starts_no_more_processes_is_trouble_too(
        self, checker: SymbolicChecker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        assert judge_answer(ANSWER, REFERENCE).failed
        monkeypatch.undo()

    def test_not_every_answer_tries_to_start_one(
        self, checker: SymbolicChecker, fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        starts = tmp_path / "starts"
        fake(f"open({str(starts)!r}, 'a').write('x'); raise ImportError")
        monkeypatch.setattr(symbolic, "START_PAUSE", 60.0)
        with ThreadPoolExecutor(8) as threads:
            verdicts = list(threads.map(lambda i: judge_answer(rf"\sin(x)+{i}", REFERENCE), range(2, 42)))
        assert all(verdict.failed and "ImportError" in verdict.reason for verdict in verdicts)
        assert len(starts.read_text()) <= 2 * symbolic.MAX_WORKERS

    def test_the_check_says_it(self, fake: Fake) -> None:
        symbolic.check()
        fake("raise ImportError('no antlr4 here')")
        with pytest.raises(VerifierFailedError, match="no antlr4 here"):
            symbolic.check()


class TestCommands:
    """What can be run again ends, where its result would be another one for want of math-verify."""

    def run(self, *words: object, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "verl_stepgrpo", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | env)

    def without_math_verify(self, tmp_path: Path) -> dict[str, str]:
        (tmp_path / "fake").mkdir()
        (tmp_path / "fake" / "math_verify.py").write_text("raise ImportError('no antlr4 here')")
        path = f"{tmp_path / 'fake'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        return {"PYTHONPATH": path}

    def test_prepare_drops_no_row_for_it(self, tmp_path: Path) -> None:
        form = "### Image Description:\nx\n### Rationales:\nx\n### Step 1:\nx\n### The final answer is: "
        rows = [{"problem": f"{i}?", "solution": f"{form}{ANSWER}", "answer": REFERENCE} for i in range(3)]
        source, out = tmp_path / "data.json", tmp_path / "out"
        source.write_text(json.dumps(rows))
        words = ("prepare", source, "--out", out, "--val-share", "0", "--num-proc", "1")
        done = self.run(*words, **self.without_math_verify(tmp_path))
        assert done.returncode == 1
        last = done.stderr.strip().splitlines()[-1]
        assert last == (
            "verl-stepgrpo: math-verify's process could not be started: ImportError: no antlr4 here"
        )
        again = self.run(*words)
        assert again.returncode == 0, again.stderr
        assert "3 rows read" in again.stdout
        assert not (out / "dropped.jsonl").exists() or not (out / "dropped.jsonl").read_text()

    def test_replay_compares_no_settings_without_it(self, tmp_path: Path) -> None:
        row = trace_row(f"### The final answer is: {ANSWER}")
        TraceWriter(tmp_path / "traces").write("train", 1, [row])
        done = self.run("replay", tmp_path / "traces", **self.without_math_verify(tmp_path))
        assert done.returncode == 1
        assert "no antlr4 here" in done.stderr.strip().splitlines()[-1]


class TestTwoDeaths:
    @pytest.mark.parametrize("code", [SEGFAULT, OUT_OF_MEMORY], ids=["crash", "out of memory"])
    def test_a_question_that_ends_each_worker_is_an_unreadable_answer(
        self, checker: SymbolicChecker, fake: Fake, code: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        fake(code)
        verdict = judge_answer(r"\tan(x)+1", REFERENCE)
        assert verdict.reason == "math-verify's process dies of it"
        assert (verdict.correct, verdict.unparseable, verdict.failed) == (False, True, False)
        assert judge_answer(ANSWER, REFERENCE).correct
        assert not caplog.records, "what a model wrote is no trouble of the machinery"

    def test_such_a_question_is_asked_once_more_and_then_remembered(
        self, checker: SymbolicChecker, fake: Fake, tmp_path: Path
    ) -> None:
        deaths = tmp_path / "deaths"
        fake(SEGFAULT.replace("import ctypes", f"import ctypes; open({str(deaths)!r}, 'a').write('x')"))
        for asked in (2, 4, 4):
            assert symbolic.equal(r"\tan(x)+1", REFERENCE) is Equality.CRASHED
            assert len(deaths.read_text()) == asked

    def test_workers_that_die_of_any_question_are_trouble(self, checker: SymbolicChecker, fake: Fake) -> None:
        fake(
            "parsed = 0\n"
            "def parse(text, *args, **kwargs):\n"
            "    global parsed\n"
            "    parsed += 1\n"
            "    return [text] if parsed <= 6 else os._exit(5)\n"
        )
        with pytest.raises(VerifierFailedError, match="math-verify's process died: exit status 5"):
            symbolic.equal("x+2", "2+x")

    def test_somebody_who_kills_every_worker_is_trouble_until_he_stops(
        self, checker: SymbolicChecker
    ) -> None:
        stop = threading.Event()

        def kill() -> None:
            while not stop.wait(0.05):
                for pid in checker.pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            verdict = judge_answer(ANSWER, REFERENCE)
        finally:
            stop.set()
            killer.join()
        assert (verdict.correct, verdict.failed) == (False, True)
        assert "signal 9, Killed" in verdict.reason
        assert judge_answer(ANSWER, REFERENCE).correct


class TestPipes:
    def test_what_a_library_prints_is_neither_a_reply_nor_in_the_way(
        self, checker: SymbolicChecker, fake: Fake
    ) -> None:
        noise = "[os.write(fd, b'false' * 200_000) for fd in (1, 2)]"
        fake(f"{noise}\ndef parse(text, *args, **kwargs):\n    {noise}\n    return [text]\n")
        for i in range(3):
            assert checker.ask(f"$x+{i}$", f"${i}+x$") is Equality.EQUAL

    def test_no_more_than_the_end_of_standard_error_is_kept(
        self, checker: SymbolicChecker, fake: Fake
    ) -> None:
        fake("import sys; sys.stderr.write('noise\\n' * 1_000_000); sys.exit('the cause')")
        with pytest.raises(VerifierFailedError, match=r"the cause$") as caught:
            checker.ask("$x+1$", "$1+x$")
        assert 1000 < len(caught.value.stderr) <= 4096

    def test_with_a_thousand_open_files(self, checker: SymbolicChecker) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2048, hard), hard))
        opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1024)]
        try:
            assert checker.ask("$x+1$", "$1+x$") is Equality.EQUAL
        finally:
            for file in opened:
                os.close(file)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_worker_finds_the_package_where_its_parent_does(tmp_path: Path) -> None:
    """Which has it on ``sys.path`` alone: the environment is empty."""
    venv.create(tmp_path, symlinks=True, with_pip=False)
    code = (
        f"import sys; sys.path[:0] = {[path for path in sys.path if path]!r}\n"
        "from verl_stepgrpo.judging.answers.judge import judge_answer\n"
        f"print(judge_answer({ANSWER!r}, {REFERENCE!r}).reason)\n"
    )
    command = [str(tmp_path / "bin" / "python"), "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=True)
    assert done.stdout == "equal to the reference by math-verify\n", done.stderr
