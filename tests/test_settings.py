"""The node ``algorithm.stepgrpo``."""

from __future__ import annotations

import pytest

from verl_stepgrpo import ConfigError, RewardSettings, RunSettings


def test_an_empty_node_gives_the_defaults() -> None:
    assert RunSettings.from_mapping(None) == RunSettings.from_mapping({}) == RunSettings()
    assert RunSettings().reward == RewardSettings(alpha=0.1, match_threshold=0.8, mode="paper")


def test_values_reach_their_fields() -> None:
    settings = RunSettings.from_mapping({"alpha": 0.2, "trace_dir": "out", "max_missing_sessions": 0.1})
    assert (settings.reward.alpha, settings.trace_dir, settings.max_missing_sessions) == (0.2, "out", 0.1)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"alhpa": 0.1}, r"algorithm\.stepgrpo\.alhpa=0\.1 is not a setting.*Known: alpha"),
        (
            {"alpha": -1},
            r"algorithm\.stepgrpo\.alpha=-1 is out of range: it must be a finite number of at least 0",
        ),
        ({"alpha": "high"}, r"algorithm\.stepgrpo\.alpha='high'"),
        ({"alpha": float("inf")}, r"algorithm\.stepgrpo\.alpha=inf"),
        ({"alpha": True}, r"algorithm\.stepgrpo\.alpha=True"),
        ({"alhpa": 0.1}, r"Did you mean algorithm\.stepgrpo\.alpha"),
        (5, r"algorithm\.stepgrpo=5 is not a group of settings"),
        ({"match_threshold": 0}, r"match_threshold=0 is out of range: it must be a number in \(0, 1\]"),
        ({"match_threshold": 1.1}, r"match_threshold=1\.1"),
        (
            {"answer_tolerance": -0.1},
            r"answer_tolerance=-0\.1 is out of range: it must be a share in \[0, 1\)",
        ),
        ({"answer_tolerance": 1.0}, r"answer_tolerance=1\.0 is out of range: it must be a share in \[0, 1\)"),
        ({"mode": "fast"}, r"mode='fast' is out of range: it must be one of paper, reference"),
        ({"mode": None}, r"mode=None"),
        ({"rvr_weight": -0.5}, r"rvr_weight=-0\.5 is out of range"),
        ({"credit": "token"}, r"credit='token' is out of range: it must be one of trajectory, step"),
        ({"outcome_gate": 1.5}, r"outcome_gate=1\.5 is out of range: it must be a factor in \[0, 1\]"),
        ({"std_floor": -1}, r"std_floor=-1 is out of range"),
        ({"trace_dir": 3}, r"trace_dir=3"),
        ({"other_verl": "error"}, r"other_verl=.error. is out of range: it must be one of warned, refused"),
        (
            {"max_missing_sessions": 2},
            r"max_missing_sessions=2 is out of range: it must be a share in \[0, 1\]",
        ),
    ],
)
def test_a_mistake_says_key_value_and_range(node: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunSettings.from_mapping(node)


@pytest.mark.parametrize("key", ["combine", "credit", "process_weight"])
def test_a_setting_of_advantages_among_those_of_a_response_is_named_as_that(key: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}='x' makes advantages of the rewards of a group"):
        RewardSettings.from_mapping({key: "x"})
