"""Slow tests run where they are asked for, quick ones are known by what they import, and no property is judged by the
time an example took."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is.
settings.register_profile("verl_stepgrpo", deadline=None)
settings.load_profile("verl_stepgrpo")

HERE = Path(__file__).parent
NOT_QUICK = (
    # What starts a process, what has a limit of time, and what takes seconds to load.
    *("subprocess", "multiprocessing", "playwright", "time"),
    *("verl", "vllm", "ray", "transformers", "datasets"),
    *("verl_stepgrpo.bridge", "verl_stepgrpo.cpu"),
)
"""A test file that imports one of these, or a script of this repository that does, is not ``quick``."""

SCRIPTS = {
    path.stem: path
    for folder in ("recipes", "examples", "tests")
    for path in (HERE.parent / folder).rglob("*.py")
}
"""By name, what test files import beside the package."""


ENGINE = "engine"
"""The mark of tests with the real engine. Of these one runs at a time: two would be too much for a small machine."""


def group_of(item: pytest.Item) -> str:
    """Return what pytest-xdist's ``--dist loadgroup`` keeps in one process: a file, whose fixtures cost time."""
    return ENGINE if item.get_closest_marker(ENGINE) else item.path.stem


@functools.cache
def is_quick(path: Path) -> bool:
    """Say whether a test file is quick, by the imports in its text: what is not asked for is not even loaded."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    if any(f"{name}.".startswith(f"{heavy}.") for name in names for heavy in NOT_QUICK):
        return False
    scripts = {SCRIPTS[name] for name in (name.split(".")[0] for name in names) if name in SCRIPTS} - {path}
    return all(is_quick(script) for script in scripts)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "quick: in a file that starts no process, loads no engine and has no limit of time"
    )
    config.addinivalue_line("markers", "xdist_group(name): pytest-xdist's own, for where it is off")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    asked = config.option.markexpr == "quick" and collection_path.suffix == ".py"
    return True if asked and not is_quick(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if is_quick(item.path):
            item.add_marker("quick")
        item.add_marker(pytest.mark.xdist_group(group_of(item)))
    if hasattr(config, "workerinput"):
        # The longest first, or one core would wait for them at the end.
        items.sort(key=lambda item: group_of(item) != ENGINE)
    if "slow" in config.option.markexpr:
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    items[:] = [item for item in items if item not in slow]
    config.hook.pytest_deselected(items=slow)
