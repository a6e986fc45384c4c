"""Files of a user's that a configuration names: what they import, without running them. No verl."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path


def imports_package(path: str) -> bool:
    """Return whether a Python file imports ``verl_stepgrpo``; False where it cannot be read.

    Args:
        path: As verl takes it: a file, ``file://FILE``, or ``pkg://dotted.module``.
    """
    try:
        tree = ast.parse(_file_of(path).read_bytes())
    except (OSError, SyntaxError, ValueError, ImportError):
        return False
    return any(name.split(".")[0] == "verl_stepgrpo" for name in _imported(tree))


def _file_of(path: str) -> Path:
    if path.startswith("pkg://"):
        spec = importlib.util.find_spec(path.removeprefix("pkg://").replace("/", "."))
        return Path(spec.origin if spec and spec.origin else "")
    return Path(path.removeprefix("file://"))


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
