"""A replay under the run's own settings gives the run back; under others it gives what they would have paid."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from helpers import lines_in, put_lines, trace_row
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from verl_stepgrpo import RewardSettings, RunSettings, advantage, cli, score_response
from verl_stepgrpo.earned import Earned
from verl_stepgrpo.errors import ConfigError, DataError
from verl_stepgrpo.replay.replay import FLIPPED, RESULTS, SET_ASIDE, replay
from verl_stepgrpo.replay.tally import Summary
from verl_stepgrpo.replay.variants import variants
from verl_stepgrpo.rewards import SCORE_KEYS, paid
from verl_stepgrpo.traces.files import TraceWriter
from verl_stepgrpo.traces.header import Start
from verl_stepgrpo.traces.rows import FIRST_COMPONENTS, Credit

KEY_STEPS = [["3 apples"], ["5 pears"], ["3 + 5 = 8"]]
HEAD = "### Image Description:\nFruit.\n### Rationales:\nAdd them.\n### Let's think step by step.\n"


def written(*steps: str, answer: str | None = "8", head: str = HEAD) -> str:
    parts = [f"### Step {i}:\n{text}\n" for i, text in enumerate(steps, start=1)]
    return head + "".join(parts) + ("" if answer is None else f"### The final answer is: {answer}")


RIGHT = written("There are 3 apples.", "There are 5 pears.", "3 + 5 = 8")
RIGHT_WITHOUT_KEY_STEPS = written("It looks like 8.")
RIGHT_BUT_INVALID = written("There are 3 apples.", "There are 5 pears.", "3 + 5 = 8", head="")
WRONG = written("There are 3 apples.", "There are 6 pears.", "3 + 6 = 9", answer="9")
WRONG_LATE_KEY_STEP = written("There are 4 apples.", "There are 5 pears.", "4 + 5 = 9", answer="9")
WITHOUT_ANSWER = written("There are 3 apples.", answer=None)
ALL = (RIGHT, RIGHT_WITHOUT_KEY_STEPS, RIGHT_BUT_INVALID, WRONG, WRONG_LATE_KEY_STEP, WITHOUT_ANSWER, "no")


def train(
    folder: Path, groups: Sequence[Sequence[str]], run: RunSettings | None = None, step: int = 1
) -> Path:
    """Write the trace of a training step of these groups, as a run with ``run`` leaves it."""
    run = run or RunSettings()
    uids = [f"prompt-{g}" for g, group in enumerate(groups) for _ in group]
    scored = [score_response(text, "8", KEY_STEPS, run.reward) for group in groups for text in group]
    scores, steps = advantage.as_tensors([Earned.by(one) for one in scored])
    totals_B = torch.tensor([one.total for one in scored], dtype=torch.float64)
    groups_B = advantage.group_ids(uids)
    advantage_BS = advantage.advantages(totals_B, groups_B, run, scores=scores, steps=steps).values
    rows = []
    texts = [text for group in groups for text in group]
    for session, (uid, text, one, values) in enumerate(
        zip(uids, texts, scored, advantage_BS.tolist(), strict=True)
    ):
        spans = [*values[: len(one.steps)], values[-1]] if len(values) > 1 else values * (len(one.steps) + 1)
        spans = spans if one.steps else values[:1]
        credit = Credit(values[0], tuple(spans), abs(values[0]))
        place = {"step": step, "uid": uid, "session": session}
        rows.append(trace_row(text, credit=credit, settings=run.reward, key_steps=KEY_STEPS, **place))
    path = TraceWriter(folder).write("train", step, rows)
    assert path is not None
    return path


def one(folder: Path, **values: object) -> tuple[Summary, Summary]:
    """Return the run as logged, and replayed under one setting."""
    logged, replayed = replay(folder, variants({key: [value] for key, value in values.items()})).summaries
    return logged, replayed


@given(
    st.sampled_from(ALL),
    st.floats(0, 2),
    st.floats(0, 2),
    st.sampled_from(["paper", "reference"]),
)
def test_paying_again_is_scoring_again(text: str, alpha: float, weight: float, mode: str) -> None:
    other = RewardSettings(alpha=alpha, rvr_weight=weight, mode=mode)
    first = score_response(text, "8", KEY_STEPS, RewardSettings(mode=mode))
    assert paid(first, other) == score_response(text, "8", KEY_STEPS, other)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"alpha": 0.5},
        {"alpha": 0.3, "rvr_weight": 0},
        {"credit": "step"},
        {"credit": "step", "outcome_gate": 0.5, "std_floor": 0.2},
        {"mode": "reference"},
        {"image_description": "optional"},
    ],
    ids=str,
)
def test_a_replay_under_the_runs_own_settings_gives_the_run_back(values: dict, tmp_path: Path) -> None:
    chosen = RunSettings.from_mapping(values)
    for step in (1, 2):
        train(
            tmp_path,
            [ALL, ALL[::-1], [WRONG, WRONG_LATE_KEY_STEP, WITHOUT_ANSWER], [RIGHT, RIGHT]],
            chosen,
            step,
        )
    logged, replayed = one(tmp_path, **values)
    assert replayed.components == pytest.approx(logged.components)
    assert replayed.groups == pytest.approx(logged.groups)
    assert replayed.rank_correlation == pytest.approx(1.0)
    assert (replayed.flipped, replayed.responses) == (0, 2 * 19)


def test_a_replay_starts_from_what_the_run_was_started_with(tmp_path: Path) -> None:
    """Of a run with alpha=2, its own gate changes nothing; by the default of alpha a quarter would flip."""
    chosen = RunSettings.from_mapping({"alpha": 2.0, "outcome_gate": 1.0})
    train(tmp_path, [ALL, ALL[::-1]], chosen)
    _, by_defaults = one(tmp_path, outcome_gate=1)
    assert by_defaults.components["step_rar"] != pytest.approx(one(tmp_path)[0].components["step_rar"])
    Start(0, chosen.to_mapping(), None, None).write(tmp_path)
    logged, replayed = one(tmp_path, outcome_gate=1)
    assert replayed.components == pytest.approx(logged.components)
    assert (replayed.flipped, replayed.rank_correlation) == (0, pytest.approx(1.0))


def test_each_side_of_a_resume_is_replayed_under_its_own_settings(tmp_path: Path) -> None:
    sides = [RunSettings(), RunSettings.from_mapping({"alpha": 0.5, "rvr_weight": 0.0, "credit": "step"})]
    for step, side in enumerate(sides, start=1):
        train(tmp_path, [ALL, ALL[::-1]], side, step)
        Start(step - 1, side.to_mapping(), None, None).write(tmp_path)
    logged, replayed = one(tmp_path)
    assert replayed.components == pytest.approx(logged.components)
    assert (replayed.flipped, replayed.rank_correlation) == (0, pytest.approx(1.0))


def test_means_are_those_of_scoring_each_response(tmp_path: Path) -> None:
    train(tmp_path, [ALL])
    _, replayed = one(tmp_path, alpha=0.7, mode="reference")
    same = RewardSettings(alpha=0.7, mode="reference")
    parts = [score_response(text, "8", KEY_STEPS, same).components() for text in ALL]
    for name, mean in replayed.components.items():
        assert mean == pytest.approx(sum(part[name] for part in parts) / len(parts))


def test_every_combination_is_a_row_in_the_order_given() -> None:
    labels = [v.label for v in variants({"alpha": [0, 0.1], "credit": ["trajectory", "step"]})]
    assert labels == [
        "alpha=0 credit=trajectory",
        "alpha=0 credit=step",
        "alpha=0.1 credit=trajectory",
        "alpha=0.1 credit=step",
    ]
    assert [v.label for v in variants({})] == ["nothing set"]


def test_what_flips_is_written_with_its_place_and_both_advantages(tmp_path: Path) -> None:
    """A right response in the wrong format is pushed down where validity outweighs the answer, and up without it."""
    path = train(tmp_path / "trace", [[RIGHT_BUT_INVALID, WRONG, RIGHT, RIGHT]])
    found = replay(tmp_path / "trace", variants({"rvr_weight": [0]}), out=tmp_path / "out")
    assert found.summaries[1].flipped == 1
    (line,) = (tmp_path / "out" / FLIPPED).read_text().splitlines()
    flip = json.loads(line)
    assert (flip["path"], flip["line"], flip["session"], flip["setting"]) == (str(path), 1, 0, "rvr_weight=0")
    assert all(value < 0 for value in flip["logged"])
    assert all(value > 0 for value in flip["replayed"])


def test_credit_by_step_flips_a_response_in_which_one_step_alone_flips(tmp_path: Path) -> None:
    """In an all-wrong group the one that has found all its key steps early is lowered behind them."""
    early = written("There are 3 apples.", "There are 6 pears.", answer="9")
    late = written("There are 4 apples.", "There are 5 pears.", answer="9")
    train(tmp_path, [[early, late, written("Hm.", "Well.", answer="9")]])
    logged, replayed = one(tmp_path, credit="step")
    assert replayed.components == pytest.approx(logged.components)
    assert replayed.flipped == 1


def test_the_gate_takes_all_wrong_groups_out_of_the_advantage(tmp_path: Path) -> None:
    train(tmp_path, [[RIGHT, WRONG], [WRONG, WRONG_LATE_KEY_STEP, WITHOUT_ANSWER]])
    logged, replayed = one(tmp_path, outcome_gate=0)
    assert logged.groups["advantage_from_all_wrong"] > 0.4
    assert logged.groups["groups_all_wrong_moving"] == 0.5
    assert replayed.groups["advantage_from_all_wrong"] == replayed.groups["groups_all_wrong_moving"] == 0


class TestGroupsOfM:
    def test_each_group_is_split_and_what_is_left_over_is_counted(self, tmp_path: Path) -> None:
        train(tmp_path, [ALL, ALL[:4], ALL[:2]])
        _, replayed = one(tmp_path, M=3)
        assert (replayed.responses, replayed.left_out) == (6 + 3, 4)

    def test_a_group_that_varies_may_leave_pairs_that_do_not(self, tmp_path: Path) -> None:
        train(tmp_path, [[RIGHT, RIGHT, RIGHT, WRONG]])
        logged, replayed = one(tmp_path, M=2)
        assert logged.groups["groups_without_variance"] == 0
        assert replayed.groups["groups_without_variance"] == 0.5

    def test_it_is_the_same_every_time(self, tmp_path: Path) -> None:
        train(tmp_path, [ALL, ALL[::-1]])
        assert one(tmp_path, M=2) == one(tmp_path, M=2)

    def test_groups_smaller_than_m_leave_nothing(self, tmp_path: Path) -> None:
        train(tmp_path, [ALL])
        _, replayed = one(tmp_path, M=64)
        assert (replayed.responses, replayed.left_out, replayed.rank_correlation) == (0, len(ALL), None)
        assert replayed.components == replayed.groups == {}


def test_what_an_older_version_did_not_judge_is_in_no_mean(tmp_path: Path) -> None:
    path = train(tmp_path, [ALL])
    rows = [json.loads(line) for line in lines_in(path)]
    for row in rows:
        row["components"] = {key: row["components"][key] for key in FIRST_COMPONENTS}
    put_lines(path, *(json.dumps(row | {"schema": 1}).encode() + b"\n" for row in rows))
    logged, replayed = one(tmp_path)
    assert logged.components.keys() == set(FIRST_COMPONENTS)
    assert replayed.components.keys() == set(SCORE_KEYS)


def test_lines_that_are_no_rows_are_set_aside_with_their_place_and_the_rest_is_replayed(
    tmp_path: Path,
) -> None:
    path = train(tmp_path / "trace", [ALL])
    whole = b"".join(lines_in(path))
    row = json.loads(whole.splitlines()[0])
    odd = [
        row | {"components": 3},
        row | {"ground_truth": ""},
        {k: v for k, v in row.items() if k != "response"},
    ]
    put_lines(path, whole[:100] + b"\n", whole, *(json.dumps(one).encode() + b"\n" for one in odd))
    found = replay(tmp_path / "trace", variants({}), out=tmp_path / "out")
    assert found.summaries[1].responses == len(ALL)
    assert [line.line for line in found.set_aside] == [1, 9, 10, 11]
    written_down = [json.loads(line) for line in (tmp_path / "out" / SET_ASIDE).read_text().splitlines()]
    assert [(line["path"], line["line"]) for line in written_down] == [(str(path), n) for n in (1, 9, 10, 11)]
    assert "lacks response" in written_down[-1]["reason"]


def test_a_validation_has_means_but_no_advantages_to_flip(tmp_path: Path) -> None:
    TraceWriter(tmp_path).write("val", 0, [trace_row(text, credit=None) for text in ALL])
    logged, replayed = one(tmp_path, alpha=0.5)
    assert replayed.flipped is None
    assert set(logged.groups) == set(replayed.groups) == {"groups_without_variance", "groups_all_wrong"}
    assert replayed.responses == len(ALL)


def test_responses_that_are_alone_say_nothing_of_groups(tmp_path: Path) -> None:
    rows = [trace_row(text, uid=str(i), credit=None) for i, text in enumerate(ALL)]
    TraceWriter(tmp_path).write("val", 0, rows)
    logged, replayed = one(tmp_path, alpha=0.5)
    assert logged.groups == replayed.groups == {}


def test_traces_of_two_runs_are_refused(tmp_path: Path) -> None:
    path = train(tmp_path, [ALL])
    path.with_name("step-000002.jsonl.gz").write_bytes(path.read_bytes())
    with pytest.raises(DataError, match="step 1 stands in another place too"):
        one(tmp_path)


class TestCommand:
    def run(self, *words: object) -> object:
        return CliRunner().invoke(cli.app, ["replay", *map(str, words)])

    def test_the_table_has_a_row_for_the_run_and_for_each_combination(self, tmp_path: Path) -> None:
        train(tmp_path / "trace", [ALL])
        done = self.run(tmp_path / "trace", "--set", "alpha=0,0.5", "--set", "M=2", "--out", tmp_path / "out")
        assert done.exit_code == 0, done.output
        for label in ("as logged", "alpha=0 M=2", "alpha=0.5 M=2"):
            assert f"| {label}" in done.output
        summaries = json.loads((tmp_path / "out" / RESULTS).read_text())
        assert [one["settings"] for one in summaries] == [{}, {"alpha": 0, "M": 2}, {"alpha": 0.5, "M": 2}]

    def test_of_an_evaluation_it_says_that_settings_of_the_advantage_change_nothing(
        self, tmp_path: Path
    ) -> None:
        TraceWriter(tmp_path).write("val", 0, [trace_row(text, credit=None) for text in ALL])
        done = self.run(tmp_path / "val", "--set", "credit=trajectory,step")
        assert "had no advantages: what makes advantages of rewards changes nothing" in done.output

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (
                ["process_weight=1"],
                "process_weight=1: process_weight without combine=answer_first changes nothing",
            ),
            (["value_lambda=0"], "value_lambda=0: value_lambda without credit=value changes nothing"),
            (["process_weight=1", "combine=answer_first"], None),
            (["alpha=0.5"], None),
        ],
    )
    def test_what_changes_nothing_is_said(self, words: list[str], said: str | None, tmp_path: Path) -> None:
        train(tmp_path, [ALL])
        output = self.run(tmp_path, *(word for one in words for word in ("--set", one))).output
        assert (said in output) if said else ("changes nothing" not in output)

    def test_a_column_is_there_where_a_setting_changes_it(self, tmp_path: Path) -> None:
        train(tmp_path, [ALL])
        table, same = self.run(tmp_path, "--set", "alpha=0,0.5").output.split("The same in all rows: ")
        assert "| step rar |" in table
        assert "acc 0." in same
        assert " acc " not in table

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (["--set", "alpha"], "not of the form key=value"),
            (["--set", "alpha=1", "--set", "alpha=2"], "given twice"),
            (["--set", "aplha=1"], "Did you mean alpha"),
            (["--set", "alpha=-1"], "out of range"),
            (["--set", "M=1"], "M=1 is out of range: it must be a whole number of at least 2"),
            (["--set", "trace_dir=x"], "is not a setting"),
        ],
    )
    def test_a_mistake_is_named(self, words: list[str], says: str, tmp_path: Path) -> None:
        train(tmp_path, [ALL])
        done = self.run(tmp_path, *words)
        assert isinstance(done.exception, ConfigError)
        assert says in str(done.exception)

    def test_a_folder_that_cannot_be_one_is_named_in_one_line(self, tmp_path: Path) -> None:
        train(tmp_path, [ALL])
        (tmp_path / "one.json").touch()
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "verl_stepgrpo",
                "replay",
                str(tmp_path),
                "--out",
                str(tmp_path / "one.json"),
            ],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2
        assert f"{tmp_path / 'one.json'} cannot be used: File exists" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_file_without_a_row_is_a_mistake(self, tmp_path: Path) -> None:
        (tmp_path / "log.jsonl").write_text('{"step": 1, "data": {}}\n')
        done = self.run(tmp_path / "log.jsonl")
        assert isinstance(done.exception, DataError)
        assert "(1 in all) is a row of a trace" in str(done.exception)


def test_a_summary_is_plain_values(tmp_path: Path) -> None:
    train(tmp_path, [ALL])
    _, replayed = one(tmp_path)
    assert json.loads(json.dumps(dataclasses.asdict(replayed))) == dataclasses.asdict(replayed)


def test_the_key_step_match_is_a_mean_over_responses_that_have_key_steps(tmp_path: Path) -> None:
    rows = [
        trace_row(RIGHT, uid=f"u{i}", key_steps=own) for i, own in enumerate(([("3 + 5 = 8",)], [], [], []))
    ]
    TraceWriter(tmp_path).write("train", 1, rows)
    for one in replay(tmp_path, variants({"alpha": [0.5]})).summaries:
        assert (one.components["key_step_match"], one.with_key_steps, one.responses) == (1.0, 1, 4)
    said = CliRunner().invoke(cli.app, ["replay", str(tmp_path)]).stdout
    assert "key step match is a mean over the responses whose prompt has key steps: 1 of 4 as logged" in said
