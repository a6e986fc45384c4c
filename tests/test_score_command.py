"""The command that shows one response in full."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import lines_in, parquet, put_lines, rows, trace_row

from verl_stepgrpo import RewardSettings, RunSettings, score_response
from verl_stepgrpo.judging.key_steps.explain import explain_missed
from verl_stepgrpo.traces.files import TraceWriter
from verl_stepgrpo.traces.header import Start
from verl_stepgrpo.traces.rows import Judgement

ROOT = Path(__file__).resolve().parents[1]
GOOD = """### Image Description:
Two digits.
### Rationales:
Add them.
### Step 1:
We see that 3 + 5 = 8.
### The final answer is: 8"""
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def run(*arguments: object, stdin: str | bytes = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "verl_stepgrpo", "score", *map(str, arguments)]
    given = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(command, input=given, capture_output=True, timeout=120)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def shown(response: str | bytes, *arguments: object, ground_truth: object = 8) -> list[str]:
    done = run("-", "--ground-truth", ground_truth, *arguments, stdin=response)
    assert (done.returncode, done.stderr) == (0, "")
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


class TestWhatIsShown:
    def test_the_documentation_prints_what_stands_below_it(self, tmp_path: Path) -> None:
        page = (ROOT / "docs" / "rewards.md").read_text().partition("## One response, in full")[2]
        response, command, text = re.search(  # type: ignore[union-attr]
            r"```markdown\n(.*?)```.*?```bash\n(.*?)```.*?```text\n(.*?)```", page, re.DOTALL
        ).groups()
        assert command in (ROOT / "README.md").read_text()
        (tmp_path / "response.txt").write_text(response)
        _, _, *arguments = shlex.split(command)
        arguments[0] = str(tmp_path / "response.txt")
        assert run(*arguments).stdout == f"{text}\nResponse\n{response}"

    def test_the_rewards_and_what_they_are_the_sum_of(self) -> None:
        lines = shown(GOOD, "--key-step", "3 + 5 = 8", "--key-step", "two pears", "--set", "alpha=0.5")
        assert lines[0].startswith("Reward 2.250 with alpha=0.5, rvr_weight=1.0, match_threshold=0.8,")
        assert lines[1:3] == [
            "StepRAR 1.250 1 for the right answer + 0.5 x 1/2 for key steps",
            "StepRVR 1.000 complete, in order",
        ]

    @pytest.mark.parametrize(
        ("response", "said"),
        [
            ("", "StepRAR 0.000 0 without an answer; there are no key steps"),
            ("", "StepRVR 0.000 not complete (no image description, no rationales, no step, no final answer), "
             "and so not in order"),
            ("### Step 2:\n6/3 = 2", "StepRVR 0.000 not complete (no image description, no rationales, no final "
             "answer), not in order (steps numbered 2)"),
            ("", "Sections: none; no line opens with ### and a header"),
            ("", "Answer: none (none): no final answer was given"),
            ("<think>\n3 + 5\n\nmakes 8.\n</think>\n\\boxed{8}", "it is complete as think: --set format=think"),
            ("So it is 8.", "Equations: none to check"),
            (f"<think>9?</think>\n{GOOD}", "the draft in <think> is not read (draft=free)"),
            (GOOD, "Equations: 1 checked, false in 0 of 1 step"),
            (GOOD.replace("3 + 5 = 8", "3 + 5 = 9"), "Equations: 1 checked, false in 1 of 1 step"),
            (GOOD.replace("3 + 5 = 8", "3 + 5 = 9"), "false step 1, line 6: 3 + 5 = 9 8 is not 9"),
            ("So it is 8.\n### Step 1:\n3 + 5 = 8", "line 1 in no section: So it is 8."),
            (GOOD.replace("Step 1:", "Step 2:"), "StepRVR 0.000 complete, not in order (steps numbered 2)"),
            (GOOD.replace("Rationales", "Reasons"), "line 3 ### Reasons: Add them. "
             "(no header of the format: its text counts for nothing)"),
            (GOOD.replace("Add them.", "..."), "line 3 ### Rationales: ... (says nothing, and counts as missing)"),
            (GOOD.replace("is: 8", "is: 9"), "Answer: wrong (number): 9 does not equal 8"),
            (f"{GOOD}\n### Remark\nso \\\\boxed{{7}}", "Answer: right (text): the same text"),
            ("### Step 1:\nso \\boxed{8}", "Last answer, in any format, which is not paid: right (text): "
             "the same text"),
        ],
    )  # fmt: skip
    def test_the_form_and_the_answer(self, response: str, said: str) -> None:
        assert said in shown(response)

    def test_where_each_key_step_stands_or_that_it_does_not(self) -> None:
        wordings = json.dumps(["sum is eight", "3 plus 5 equals 8"])
        lines = shown(
            GOOD, "--key-step", wordings, "--key-step", "two pears", "--key-step", '["a pear", "an apple"]'
        )
        at = lines.index("Key steps: 1 of 3 found")
        assert lines[at + 1] == "found sum is eight step 1, line 6: 3 + 5 = 8"
        assert lines[at + 2].startswith("missing two pears nothing near: ")
        assert lines[at + 3].startswith("missing a pear nothing near: ")

    def test_why_a_key_step_was_missed_and_where_it_nearly_stands(self) -> None:
        denied, key_step = GOOD.replace("We see that", "It is not true that"), ("--key-step", "3 + 5 = 8")
        (line,) = (one for one in shown(denied, *key_step) if one.startswith("missing"))
        scored = score_response(denied, "8", ["3 + 5 = 8"])
        (miss,) = explain_missed(scored.sections, scored.key_steps, threshold=0.8)
        assert miss is not None
        assert (miss.rule, line) == ("denied", f"missing 3 + 5 = 8 {miss} (step 1, line 6)")
        facts = json.loads(run("-", "--ground-truth", 8, *key_step, "--json", stdin=denied).stdout)
        assert facts["missed"] == [vars(miss)]

    def test_the_authors_rules_say_no_more_of_what_they_miss(self) -> None:
        assert "missing 3 + 6 = 9" in shown(GOOD, "--key-step", "3 + 6 = 9", "--set", "mode=reference")

    def test_key_steps_are_not_paid_without_an_answer(self) -> None:
        lines = shown("### Step 1:\n3 + 5 = 8", "--key-step", "3 + 5 = 8")
        assert lines[1] == "StepRAR 0.000 0 without an answer, and key steps are not paid without one"

    def test_what_a_terminal_would_obey_is_shown(self) -> None:
        lines = shown(b"### Step 1:\n[red]\x1b[31m 3 \xff\r\x07\n### The final answer is: \x1b[2J8")
        assert "[red]\ufffd[31m 3 \ufffd\ufffd\ufffd" in lines
        assert not re.search(r"[\x00-\x08\x0b-\x1f]", "".join(lines))


class TestWhereItComesFrom:
    def test_a_row_of_prepared_data(self, tmp_path: Path) -> None:
        file = parquet(tmp_path / "rl.parquet", rows(3))
        (tmp_path / "r.txt").write_text(GOOD)
        done = run(tmp_path / "r.txt", "--data", file, "--row", 2, "--json")
        facts = json.loads(done.stdout)
        assert (facts["index"], facts["data_source"], facts["prompt"]) == (2, "digits", "What is 3 + 5?")
        assert facts["components"] == score_response(GOOD, "8", [["3 + 5 = 8"]]).components()
        assert facts["settings"]["alpha"] == 0.1
        assert [one["kind"] for one in facts["sections"]] == [
            "description",
            "rationales",
            "step",
            "final_answer",
        ]
        judged = Judgement.from_json(
            {key: facts[key] for key in facts.keys() - {"settings", "sections", "missed"}}
        )
        assert judged.response == GOOD

    @pytest.fixture
    def traces(self, tmp_path: Path) -> Path:
        settings = RewardSettings(alpha=0.3)
        Start(0, RunSettings(reward=settings).to_mapping(), None, None).write(tmp_path)
        writer = TraceWriter(tmp_path)
        for step in (1, 2):
            own = [
                trace_row(GOOD, settings=settings, step=step, uid=f"{step}-{uid}", session=session)
                for uid in "ab"
                for session in range(2)
            ]
            writer.write("train", step, own)
        return tmp_path

    @pytest.mark.parametrize(
        "place", [("", "--uid", "2-b", "--session", 1), ("train/step-000002.jsonl.gz", "--line", 4)]
    )
    def test_a_trace_with_the_settings_of_its_run(self, traces: Path, place: tuple) -> None:
        done = run("--trace", traces / place[0], *place[1:])
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Reward   2.300  with alpha=0.3")
        other = run("--trace", traces / place[0], *place[1:], "--set", "alpha=0")
        assert other.stdout.startswith("Reward   2.000  with alpha=0,")
        assert "The trace has" not in done.stdout + other.stdout

    def test_a_trace_that_was_judged_otherwise_is_said_so(self, traces: Path) -> None:
        file = traces / "train" / "step-000001.jsonl.gz"
        facts = json.loads(lines_in(file)[0])
        facts["components"]["score"] = 1.5
        put_lines(file, json.dumps(facts).encode() + b"\n")
        assert "The trace has 1.500: another version" in run("--trace", file, "--line", 1).stdout

    def test_a_trace_without_a_header_says_so(self, traces: Path) -> None:
        (traces / "header.jsonl").unlink()
        done = run("--trace", traces, "--uid", "1-a")
        assert done.stdout.startswith("Reward   2.100  with alpha=0.1")
        assert "has no header: what is not set here has its default" in done.stderr

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ([], "Name the file with the response"),
            (["-"], "Name the reference answer"),
            (["-", "--ground-truth", ""], "reward_model.ground_truth is empty"),
            (["-", "--ground-truth", "8", "--key-step", "[3"], "key_steps"),
            (["-", "--ground-truth", "8", "--uid", "a"], "--uid says which row of --trace"),
            (["-", "--ground-truth", "8", "--set", "alhpa=1"], "Did you mean alpha?"),
            (
                ["-", "--ground-truth", "8", "--data", "x"],
                "--ground-truth and --data name two of the same thing",
            ),
            (["-", "--data", "{traces}/none.parquet"], "none.parquet is not a file"),
            (["-", "--data", "{traces}/rl.parquet", "--row", "7"], "--row 7 is not in"),
            (["none.txt", "--ground-truth", "8"], "none.txt cannot be used: No such file"),
            (["--trace", "{traces}"], "Say which response of the trace"),
            (["-", "--trace", "{traces}", "--line", "1"], "RESPONSE and --trace name two of the same thing"),
            (["--trace", "{traces}", "--line", "1"], "--line 1 of which file?"),
            (["--trace", "{traces}/train/step-000001.jsonl.gz", "--line", "9"], "--line 9 is not in"),
            (["--trace", "{traces}/header.jsonl", "--line", "1"], "header.jsonl:1: not a row of a trace"),
            (["--trace", "{traces}", "--uid", "c"], "--uid c with --session 0 is not in"),
        ],
    )
    def test_a_mistake_is_one_line_with_its_remedy(
        self, traces: Path, arguments: list[str], said: str
    ) -> None:
        parquet(traces / "rl.parquet", rows(2))
        done = run(*(argument.format(traces=traces) for argument in arguments))
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_in_a_terminal_found_key_steps_have_a_colour(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text(GOOD)
    command = [sys.executable, "-m", "verl_stepgrpo", "score", str(tmp_path / "r.txt"), "--ground-truth", "8"]
    environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "TERM")}
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [*command, "--key-step", "3 + 5 = 8"], stdout=theirs, env=environment | {"TERM": "xterm"}, timeout=60
    )
    os.close(theirs)
    printed = b""
    try:
        while part := os.read(ours, 4096):
            printed += part
    except OSError:  # Linux says so that the other side is closed
        pass
    os.close(ours)
    assert done.returncode == 0
    assert "We see that \x1b[1;32m3 + 5 = 8\x1b[0m." in printed.decode()
    assert "We see that 3 + 5 = 8." in ANSI.sub("", printed.decode())


def test_an_answer_that_was_not_judged_is_status_1(tmp_path: Path) -> None:
    (tmp_path / "math_verify.py").write_text("raise ImportError('no antlr4 here')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "verl_stepgrpo", "score", "-", "--ground-truth", r"1+\sin x"]
    done = subprocess.run(
        command,
        input=r"### The final answer is: \sin(x)+1",
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        timeout=120,
    )
    assert done.returncode == 1
    assert "Answer: not judged" in done.stdout
