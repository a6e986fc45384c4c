"""The labelled set: what it holds, how well it is judged, and that the published table says the same."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import judging
import pytest

TABLE = (Path(judging.__file__).parent / "JUDGING.md").read_text()
LEAST = {"Answers": (400, 0.96), "Key steps": (250, 0.95), "Validity (complete and ordered)": (60, 1.0)}
MOST_WRONGLY_ACCEPTED = 0.01
TASKS = {task.title: task for task in judging.tasks()}


@pytest.fixture(scope="module", params=TASKS)
def judged(request: pytest.FixtureRequest) -> tuple[judging.Task, list[tuple[dict, bool]]]:
    task = TASKS[request.param]
    return task, [(case, task.judges["ours"](case)) for case in judging.cases_of(task)]


def test_the_set_is_large_and_has_many_cases_of_either_label(judged: tuple) -> None:
    task, pairs = judged
    assert len(pairs) >= LEAST[task.title][0]
    labels = Counter(bool(case[task.label]) for case, _ in pairs)
    assert min(labels.values()) >= 0.25 * len(pairs)
    assert len({json.dumps(case, sort_keys=True) for case, _ in pairs}) == len(pairs)


def test_each_set_is_judged_as_well_as_promised(judged: tuple) -> None:
    task, pairs = judged
    for name in {case["set"] for case, _ in pairs}:
        agreement = judging.agreement((v, bool(c[task.label])) for c, v in pairs if c["set"] == name)
        assert agreement.share >= LEAST[task.title][1], name
        assert agreement.accepted <= MOST_WRONGLY_ACCEPTED * agreement.n, name


def test_the_published_table_is_of_this_code(judged: tuple) -> None:
    task, pairs = judged
    for kind, members in judging.groups([case for case, _ in pairs]).items():
        agreement = judging.agreement((pairs[i][1], bool(pairs[i][0][task.label])) for i in members)
        assert f"| {kind} | {len(members)} | {agreement} |" in TABLE
