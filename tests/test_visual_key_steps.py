"""Key steps of the image description: read by section, searched there, paid by a weight, and shown."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from test_prepare import options
from test_trainer_hooks import RESPONSE, score
from typer.testing import CliRunner

from verl_stepgrpo import RewardSettings, RunSettings, compute_score, score_response
from verl_stepgrpo.advantage import advantages, as_tensors, group_ids
from verl_stepgrpo.bridge.judged import judged_rows
from verl_stepgrpo.cli import app
from verl_stepgrpo.data.prepare import prepare
from verl_stepgrpo.earned import Earned
from verl_stepgrpo.judging.key_steps.reference import parse_key_steps, parse_visual_key_steps
from verl_stepgrpo.replay.replay import replay
from verl_stepgrpo.replay.variants import variants
from verl_stepgrpo.report.rollouts import group_view
from verl_stepgrpo.traces.files import TraceWriter, read_trace, trace_files
from verl_stepgrpo.traces.rows import TRAIN, Credit, TraceRow, judgement_of

VISUAL = [["two digits"], ["a red box"]]
PAYS = RewardSettings(extra_weights={"visual": 0.5})


class TestReading:
    @pytest.mark.parametrize(
        ("said", "steps", "visual"),
        [
            (
                'Elements:\nImage Description: ["red box", "2 cats"];\nRationales: ["count"]\nStep 1: ["1 + 1 = 2"]',
                (("1 + 1 = 2",),),
                (("red box",), ("2 cats",)),
            ),
            (
                "**Image Description**: ['red box'], Step 1: [x = 3, 2 cats]",
                (("x = 3",), ("2 cats",)),
                (("red box",),),
            ),
            (
                {"Image Description": ["red box"], "Step 1": ["a"], "Step 2": ["b"]},
                (("a",), ("b",)),
                (("red box",),),
            ),
            ({"Image Description": None, "Steps": [["a", "b"]]}, (("a", "b"),), ()),
            ({"Image Description": ["red box"]}, (), (("red box",),)),
            (json.dumps({"Image Description": ["red box"], "Steps": ["a"]}), (("a",),), (("red box",),)),
            (["a"], (("a",),), ()),
        ],
    )
    def test_by_section(self, said: object, steps: tuple, visual: tuple) -> None:
        assert parse_key_steps(said) == steps
        assert parse_visual_key_steps(None, said) == visual

    def test_those_of_their_own_win(self) -> None:
        assert parse_visual_key_steps(["x"], {"Image Description": ["y"], "Steps": ["z"]}) == (("x",),)


class TestPaying:
    def test_the_description_alone_is_searched(self) -> None:
        scored = score_response(
            RESPONSE, "8", [], PAYS, visual_key_steps=[["two digits"], ["first digit is 3"]]
        )
        assert [match.matched for match in scored.visual] == [True, False]
        assert RESPONSE[scored.visual[0].start : scored.visual[0].end] == "Two digits"
        assert scored.visual_paid == scored.parts_paid == 0.25
        assert scored.total == pytest.approx(2.25)

    def test_nothing_is_paid_without_a_weight(self) -> None:
        extra = {"visual_key_steps": VISUAL, "key_steps": []}
        plain = compute_score("d", RESPONSE, "8", extra)
        assert plain["score"] == 2.0
        assert not any(key.startswith("extra_") for key in plain)
        assert compute_score("d", RESPONSE, "8", extra, extra_weights={"visual": 0.5})["extra_visual"] == 0.5

    def test_the_manager_pays_and_traces_them(self) -> None:
        found = score(RESPONSE, {"extra_weights": {"visual": 0.5}}, {"index": 1, "visual_key_steps": VISUAL})
        assert found["reward_score"] == pytest.approx(2.25)
        (row,) = judged_rows(["a_0_0"], [{"reward_extra_info": found["reward_extra_info"]}])
        assert row.components["extra_visual"] == 0.5
        assert [match.matched for match in row.judgement.visual] == [True, False]
        assert row.earned({"visual": 0.5}).step_shares == (0.25, 0.0)

    def test_a_row_without_any_is_in_no_mean(self) -> None:
        found = score(RESPONSE, {"extra_weights": {"visual": 0.5}}, {"index": 1})
        (row,) = judged_rows(["a_0_0"], [{"reward_extra_info": found["reward_extra_info"]}])
        assert found["reward_extra_info"]["extra_visual"] == 0.0
        assert "extra_visual" not in row.components

    def test_credit_by_step_gives_it_to_the_description_and_the_first_step(self) -> None:
        """Steps behind have what the same responses have that differ in nothing."""
        settings = RunSettings.from_mapping({"credit": "step", "extra_weights": {"visual": 0.5}})
        earned = [
            Earned.by(score_response(RESPONSE, "8", [], PAYS, visual_key_steps=[[text]]), PAYS.extra_weights)
            for text in ("two digits", "a red box", "a blue box")
        ]
        scores, steps = as_tensors(earned)
        rewards = torch.tensor([2.5, 2.0, 2.0], dtype=torch.float64)
        found = advantages(rewards, group_ids("aaa"), settings, scores=scores, steps=steps).values
        assert found[0, 0] > 1
        assert found[:, 1:].abs().max() == pytest.approx(0, abs=1e-9)


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    scored = score_response(RESPONSE, "8", [["3 + 5 = 8"]], PAYS, visual_key_steps=VISUAL)
    judgement = judgement_of(scored, PAYS, ground_truth="8", response=RESPONSE, prompt="?", index=0)
    rows = [
        TraceRow.of(judgement, step=1, uid="a", session=i, credit=Credit(0.0, (0.0,), 0.0)) for i in range(2)
    ]
    TraceWriter(tmp_path / "traces").write(TRAIN, 1, rows)
    return tmp_path / "traces"


class TestShowing:
    def test_replay_weighs_them(self, traces: Path) -> None:
        _, *found = replay(traces, variants({"extra_weights.visual": [0, 1]})).summaries
        assert [one.components["score"] for one in found] == pytest.approx([2.1, 2.6])
        assert found[0].components["extra_visual"] == 0.5

    def test_the_report_marks_them_in_the_description(self, traces: Path) -> None:
        view = group_view(read_trace(*trace_files(traces)))
        assert view["keySteps"] == [["3 + 5 = 8"], *VISUAL]
        rollout = view["rollouts"][0]
        assert rollout["found"][1] == {"wording": "two digits", "similarity": 1.0, "step": None}
        assert rollout["misses"][2] == "not in the image description"
        description = next(s for s in rollout["sections"] if "Image" in s["header"])
        assert ["Two digits", [1]] in description["pieces"]

    def test_score_shows_them(self, traces: Path) -> None:
        done = CliRunner().invoke(
            app, ["score", "--trace", str(traces), "--uid", "a", "--set", "extra_weights.visual=0.5"]
        )
        assert "Visual key steps: 1 of 2 found in the image description" in done.output
        assert "Parts    0.250  visual 0.5 x 0.5" in done.output


def test_prepare_writes_them_apart_and_leaves_out_what_the_solution_lacks(tmp_path: Path) -> None:
    answer = 'Image Description: ["two digits", "a red box"], Rationales: ["add"], Step 1: ["3 + 5 = 8"]'
    rows = [
        {"question": "Sum?", "solution": RESPONSE, "key_steps": answer},
        {"question": "Sums?", "answer": "8", "visual_key_steps": VISUAL},
    ]
    source = tmp_path / "raw.json"
    source.write_text(json.dumps(rows))
    prepare(source, tmp_path / "out", options(tmp_path))
    found = [row["extra_info"] for row in pq.read_table(tmp_path / "out" / "rl-train.parquet").to_pylist()]
    assert [one["key_steps"] for one in found] == [[["3 + 5 = 8"]], []]
    assert [one["visual_key_steps"] for one in found] == [[["two digits"]], VISUAL]
