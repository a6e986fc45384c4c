"""What one reads at a time stays small: functions, modules, folders. An exception says why, and goes when it holds no
more."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "verl_stepgrpo"
LINES_OF_A_FUNCTION, LINES_OF_A_MODULE, FILES_OF_A_FOLDER = 45, 450, 12

# As "module:function", "module" or "folder/", with the reason.
EXCEPTIONS = {
    # The layers ask each other, so that no room of some of them would import one way; what asks no other (``algebra``,
    # ``arithmetic``, ``symbolic`` with its process) is too little to bring the rest down to 12.
    "judging/answers/": "one file for each layer of the judge, in the one order that it asks them",
}


def sizes() -> dict[str, tuple[int, int]]:
    """Return what is larger than it may be, with its size and the limit."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name, text = str(path.relative_to(PACKAGE)), path.read_text()
        found[name] = (len(text.splitlines()), LINES_OF_A_MODULE)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found[f"{name}:{node.name}"] = (lines_of(node), LINES_OF_A_FUNCTION)
    for folder in (PACKAGE, *(path for path in PACKAGE.rglob("*") if path.is_dir())):
        name = f"{folder.relative_to(PACKAGE)}/".removeprefix(".")
        found[name] = (len(list(folder.glob("*.py"))), FILES_OF_A_FOLDER)
    return {name: sizes for name, sizes in found.items() if sizes[0] > sizes[1]}


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how long a function is. Of a command signature and docstring are its page of options, and count not."""
    end = function.end_lineno or function.lineno
    is_command = any("Annotated" in ast.unparse(a.annotation) for a in function.args.args if a.annotation)
    return end - (function.body[1].lineno if is_command else function.lineno) + 1


def test_nothing_is_larger_than_it_may_be() -> None:
    too_large = {
        name: f"{size}, of at most {most}" for name, (size, most) in sizes().items() if name not in EXCEPTIONS
    }
    assert too_large == {}


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_exception_is_one_still(name: str) -> None:
    assert name in sizes()
