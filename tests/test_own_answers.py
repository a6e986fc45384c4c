"""The recipe for questions with short answers: its data, its comparison, and (``slow``) the walk on the engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers import parquet

from verl_stepgrpo import RewardSettings, score_response
from verl_stepgrpo.evaluation.responses import RESPONSES
from verl_stepgrpo.traces.files import read_trace, trace_files

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "own_answers"
sys.path.insert(0, str(RECIPE))

import build_questions  # noqa: E402
import compare  # noqa: E402


def command(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, words)], capture_output=True, text=True, timeout=300, check=True
    )


def test_the_data_is_what_the_hub_has_and_the_stand_in_answers_in_its_format(tmp_path: Path) -> None:
    command(RECIPE / "build_questions.py", "--out", tmp_path, "--questions", 12, "--sft", 4)
    rows = pq.read_table(tmp_path / "questions.parquet").to_pylist()
    assert [set(row) for row in rows] == [{"images", "problem", "answer"}] * 12
    given = json.loads((tmp_path / "given.json").read_text())
    assert len(given) == 12
    for row, key_steps in zip(rows, given, strict=True):
        assert row["answer"] == key_steps[2][0].rpartition(" = ")[2]
    scored = score_response(build_questions.response((3, 5)), "8", given[0], RewardSettings(format="think"))
    assert scored.step_rvr == 1
    assert scored.answer.correct


def test_prepared_problems_are_left_as_they_are(tmp_path: Path) -> None:
    command(RECIPE / "build_questions.py", "--out", tmp_path, "--questions", 12, "--sft", 4)
    prepared = ["--format", "think", "--val-share", "0.4", "--num-proc", "1", "--out", tmp_path / "prepared"]
    command("-m", "verl_stepgrpo", "prepare", tmp_path / "questions.parquet", *prepared)
    rows = pq.read_table(tmp_path / "prepared" / "rl-train.parquet").to_pylist()
    assert {row["prompt"][0]["content"] for row in rows} == {build_questions.PROBLEM}
    command(
        *(RECIPE / "given.py", "--data", tmp_path, "--out", tmp_path / "given.parquet"),
        *("--rows", tmp_path / "prepared" / "rl-train.parquet"),
    )
    found = compare.agreement(tmp_path / "given.parquet", tmp_path / "given.json")
    assert found == {
        "rows with mined key steps": len(rows),
        "mined": 3 * len(rows),
        "precision": 1.0,
        "recall": 1.0,
    }


def test_the_agreement_counts_what_is_mined_and_what_is_given(tmp_path: Path) -> None:
    given = [[["first digit is 3"], ["3 + 5 = 8", "3 plus 5 equals 8"]], [["2 + 2 = 4"]]]
    (tmp_path / "given.json").write_text(json.dumps(given))
    mined = [[["5 + 3 = 8"], ["8 apples"]], []]
    file = parquet(
        tmp_path / "mined.parquet",
        [{"extra_info": {"index": i, "key_steps": own}} for i, own in enumerate(mined)],
    )
    found = compare.agreement(Path(file), tmp_path / "given.json")
    assert found == {"rows with mined key steps": 1, "mined": 2, "precision": 0.5, "recall": 0.5}


def test_the_table_over_seeds_is_that_of_the_committed_runs() -> None:
    page = (RECIPE / "README.md").read_text()
    made = command(RECIPE / "seeds.py").stdout
    assert re.findall(r"<!-- seeds -->\n(.*?)<!-- /seeds -->", page, re.DOTALL) == [made]
    agreement = json.loads((RECIPE / "results" / "agreement.json").read_text())
    precision, recall = f"{agreement['precision']:.0%}", f"{agreement['recall']:.0%}"
    said = f"{precision} of these are given ones, and {recall} of the given ones are mined"
    assert said in " ".join(page.split())


def test_key_steps_are_taken_off_and_kept_beside(tmp_path: Path) -> None:
    rows = [{"extra_info": {"index": i, "key_steps": [[f"{i} + 1 = {i + 1}"]]}} for i in (1, 0)]
    file = parquet(tmp_path / "rows.parquet", rows)
    command(
        *(RECIPE / "without.py", "--rows", file, "--out", tmp_path / "out.parquet"),
        *("--given", tmp_path / "given.json"),
    )
    left = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["extra_info"] for row in left] == [{"index": i, "key_steps": []} for i in (1, 0)]
    assert json.loads((tmp_path / "given.json").read_text()) == [[["0 + 1 = 1"]], [["1 + 1 = 2"]]]


@pytest.mark.slow
def test_the_walk_from_short_answers_to_a_trained_model(tmp_path: Path) -> None:
    """Key steps are mined, StepGRPO trains in ``<think>``, and a length part of one's own is paid and shown."""
    short = {"QUESTIONS": "160", "SAMPLES": "8", "RL_STEPS": "2", "WARMUP_ACCURACY": "0.3", "SEED": "1"}
    env = os.environ | short | {"OUT": str(tmp_path / "out")}
    done = subprocess.run(
        ["bash", str(RECIPE / "run.sh")], cwd=ROOT, env=env, capture_output=True, text=True, timeout=3000
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    out = tmp_path / "out"

    sampled = read_trace(out / "sampled" / RESPONSES)
    assert {row.format for row in sampled} == {"think"}
    assert any(row.components["acc"] for row in sampled)
    results = json.loads((out / "mined" / "results.json").read_text())
    assert results["key_steps"]["rows with mined key steps"] > 0
    assert results["key_steps"]["precision"] > 0.5

    settings = json.loads((out / "mined" / "trace" / "header.jsonl").read_text().splitlines()[0])["settings"]
    assert (settings["format"], settings["extra_weights"]) == ("think", {"brief": 0.1})
    for row in read_trace(trace_files(out / "mined" / "trace" / "train")[-1]):
        length = -len(row.response) / 100
        assert row.parts == {"brief": pytest.approx(length)}
        paid = row.components["step_rar"] + row.components["step_rvr"] + 0.1 * length
        assert row.total == pytest.approx(paid)
    log = (out / "logs" / "rl_mined.log").read_text()
    assert "stepgrpo/extra_brief/mean" in log
    assert "extra_brief" in results["rl"]
    assert "Part brief" in (out / "mined" / "report.html").read_text()
