"""Numbers of things in what commands print."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from verl_stepgrpo.counts import counted

PACKAGE = Path(__file__).resolve().parents[1] / "verl_stepgrpo"
PLAIN = re.compile(
    r"^ (rows|images|lines|responses|questions|findings|rollouts|validations|key steps|lists|marks)\b"
)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (counted(0, "row"), "0 rows"),
        (counted(1, "row"), "1 row"),
        (counted(1024, "key step"), "1024 key steps"),
        (counted(1, "row has", "rows have", width=8), "       1 row has"),
        (counted(2, "row has", "rows have", width=8), "       2 rows have"),
    ],
)
def test_one_is_no_plural(said: str, expected: str) -> None:
    assert said == expected


def test_no_log_line_puts_a_number_before_a_plural_itself() -> None:
    plain = re.compile(r"%d (rows|images|lines|responses|questions|sessions|steps|groups|prompts|writes)\b")
    said = [path for path in PACKAGE.rglob("*.py") if plain.search(path.read_text())]
    assert not said


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_message_puts_a_number_before_a_plural_itself(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.JoinedStr):
            for number, noun in zip(node.values, node.values[1:], strict=False):
                if isinstance(number, ast.FormattedValue) and isinstance(noun, ast.Constant):
                    said = PLAIN.match(str(noun.value))
                    assert not said, f"{path}:{node.lineno}: {ast.unparse(node)}"
