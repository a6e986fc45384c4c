"""docs/ways.md names types and files that are there."""

from __future__ import annotations

import ast
import builtins
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "ways.md").read_text()
ROWS = re.findall(r"^\| .+ \| (.+) \| (.+) \| \[(.+)\]\(\.\./verl_stepgrpo/(.+)\) \|$", PAGE, re.MULTILINE)
OF_OTHERS = {"torch.Tensor", "Any"}


def names_in(path: Path) -> set[str]:
    """Return what a module defines or imports by name, methods too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names}
    return found


def test_both_ways_are_read() -> None:
    lines = [
        line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| what it is")
    ]
    assert len(ROWS) == len(lines)
    for heading in ("## A response", "## A row"):
        assert PAGE.count(heading) == 1


@pytest.mark.parametrize(("types", "makers", "label", "file"), ROWS)
def test_a_door_has_what_is_said_of_it(types: str, makers: str, label: str, file: str) -> None:
    assert label == file
    said = set(re.findall(r"`(.+?)`", f"{types} {makers}")) - OF_OTHERS
    own = {name for name in said if not hasattr(builtins, name)}
    assert own, "a door without a name of its own"
    assert own <= names_in(ROOT / "verl_stepgrpo" / file)


def test_what_stands_outside_the_tables_is_there_too() -> None:
    prose = "\n".join(line for line in PAGE.splitlines() if not line.startswith("|"))
    for file in re.findall(r"\.\./verl_stepgrpo/(.+?\.py)\)", prose):
        assert (ROOT / "verl_stepgrpo" / file).is_file()
    assert "Judged" in names_in(ROOT / "verl_stepgrpo" / "bridge" / "judged.py")
