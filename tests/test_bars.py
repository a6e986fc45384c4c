"""The bars task: what its files hold, and that it is what it says."""

from __future__ import annotations

import io
import itertools
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from verl_stepgrpo import score_response

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "examples" / "bars"))

import build_bars  # noqa: E402


def items(n: int, part: str = "train") -> list[build_bars.Item]:
    rng = np.random.default_rng(0)
    charts = build_bars.charts_by_part()[part]
    return [build_bars.draw_item(rng, charts) for _ in range(n)]


def test_the_reference_response_scores_full_marks_and_every_question_is_asked() -> None:
    drawn = items(60)
    assert {item.kind for item in drawn} == set(build_bars.KINDS)
    for item in drawn:
        scored = score_response(build_bars.solution(item), item.answer, build_bars.key_steps(item))
        assert (scored.answer.correct, scored.key_step_match, scored.step_rvr) == (True, 1.0, 1.0), item


def test_another_answer_and_another_bar_are_not_paid() -> None:
    for item, other in itertools.pairwise(items(60)):
        scored = score_response(build_bars.solution(other), item.answer, build_bars.key_steps(item))
        assert scored.answer.correct == (other.answer == item.answer)
        if not set(other.shown) & set(item.shown):
            assert scored.key_step_match < 1.0


def test_no_chart_is_in_two_files() -> None:
    parts = build_bars.charts_by_part().values()
    shown = {tuple(build_bars.heights_of(number).items()) for part in parts for number in part}
    assert len(shown) == sum(map(len, parts)) == 24 * 9**4


@pytest.mark.parametrize("seed", [0, 1])
def test_a_bar_is_as_high_and_stands_where_its_item_says(seed: int) -> None:
    rng = np.random.default_rng(seed)
    item = items(1)[0]
    picture = np.asarray(Image.open(io.BytesIO(build_bars.chart(item, rng))), dtype=int)
    for place, (name, height) in enumerate(item.heights.items()):
        tile = picture[:, place * build_bars.TILE : (place + 1) * build_bars.TILE]
        near = np.abs(tile - np.array(build_bars.COLOURS[name])).sum(axis=2) < 120
        assert near.any(axis=1).sum() == pytest.approx(build_bars.UNIT * height, abs=1)


def test_its_files_are_those_of_the_digits_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = ["--sft", "8", "--train", "4", "--heldout", "4", "--flawed", "0.5"]
    monkeypatch.setattr(sys, "argv", ["build_bars.py", "--out", str(tmp_path), *sizes])
    build_bars.main()
    assert {path.stem for path in tmp_path.iterdir()} == {"sft", "train", "heldout"}
    row = pq.read_table(tmp_path / "train.parquet").to_pylist()[0]
    assert set(row) == {"data_source", "prompt", "images", "reward_model", "extra_info"}
    assert len(row["extra_info"]["key_steps"]) == 3
