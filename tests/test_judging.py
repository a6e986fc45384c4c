"""The labelled set: what it holds, how well it is judged, and that the published table says the same."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import judging
import pytest
import real_answers

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


def test_the_page_opens_with_what_its_tables_come_to() -> None:
    _, short, *real, labelled = re.split(r"(?m)^(?=## )", TABLE)
    assert short.strip() == judging.in_short([*real, *re.split(r"(?m)^(?=### )", labelled)[1:]]).strip()


class TestRealAnswers:
    PAIRS = '{"source": "one", "gold": "2", "final": "It is 2.", "correct": true}\n' * 3 + (
        '{"source": "other", "gold": "2", "final": "12", "correct": false}\n'
    )

    def test_the_table_has_each_source_and_all_with_interval_and_errors(self, tmp_path: Path) -> None:
        (tmp_path / "pairs.jsonl").write_text(self.PAIRS)
        pairs = real_answers.load(tmp_path / "pairs.jsonl")
        rows = real_answers.table(pairs, {"substring": real_answers.is_substring}).splitlines()[2:]
        assert rows == [
            "| one | 3 (3) | 100.0 [43.8, 100.0] (0, 0) |",
            "| other | 1 (0) | 0.0 [0.0, 79.3] (1, 0) |",
            "| **all** | 4 (3) | 75.0 [30.1, 95.4] (1, 0) |",
        ]

    def test_the_section_says_who_labelled_and_names_the_other_judges(self, tmp_path: Path) -> None:
        (tmp_path / "pairs.jsonl").write_text(self.PAIRS)
        section = judging.real_table(tmp_path / "pairs.jsonl")
        assert "the labels of the sources" in section
        assert "| source | n (right) | ours | math-verify | substring |" in section

    def test_a_line_that_is_no_pair_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "pairs.jsonl").write_text(self.PAIRS + '{"source": "one", "gold": "2", "final": "2"}\n')
        with pytest.raises(ValueError, match="line 5: expected source, gold, final and correct"):
            real_answers.load(tmp_path / "pairs.jsonl")
