"""A report that holds an evaluation against an earlier one. Without a browser, whose loop would run in this thread."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_evaluation import Server
from test_evaluation import row as question
from test_evaluation import run as evaluate

from verl_stepgrpo import SCORE_KEYS, ConfigError, DataError
from verl_stepgrpo.evaluation.comparison import compare
from verl_stepgrpo.report.build import Sources, write_report
from verl_stepgrpo.report.outcome import COMPARED


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    server = Server()
    for name, weak in (("before", range(6)), ("after", range(3))):
        server.weak = tuple(weak)
        (tmp_path / name).mkdir()
        evaluate(server, tmp_path / name, [question(i) for i in range(10)])
    yield tmp_path / "before" / "out", tmp_path / "after" / "out"
    server.close()


def test_one_is_held_against_the_other(folders: tuple[Path, Path], tmp_path: Path) -> None:
    before, after = folders
    write_report(Sources(after, against=before), tmp_path / "report.html", max_rollouts=100)
    html = (tmp_path / "report.html").read_text()
    table = html[html.index('<table id="comparison">') :].partition("</table>")[0]
    assert "Two evaluations, on the 10 questions of both" in table
    assert re.findall(r'<th scope="col">(.*?)</th>', table)[1:] == [str(before), str(after), "Change"]
    assert "Did it help?" in html
    changed = compare(before, after).changes
    assert len(re.findall(r'<th scope="row">', table)) == len(changed) == len(SCORE_KEYS)
    row = table[table.index(COMPARED["acc"]) :].partition("</tr>")[0]
    assert f"{changed['acc'].difference.mean:+.3f}" in row
    assert changed["acc"].difference.mean == pytest.approx(0.3)


def test_what_cannot_be_compared_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    before, after = folders
    with pytest.raises(DataError, match="trace has no finished evaluation"):
        write_report(Sources(tmp_path / "trace", against=before), tmp_path / "report.html", max_rollouts=100)
    facts = json.loads((before / "results.json").read_text())
    facts["options"]["temperature"] = 0.7
    (before / "results.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match=r"evaluated with temperature=0\.7, this run with 0\.0"):
        write_report(Sources(after, against=before), tmp_path / "report.html", max_rollouts=100)
    assert not (tmp_path / "report.html").exists()
