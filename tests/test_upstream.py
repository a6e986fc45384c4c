"""The patches for verl and vLLM apply to the versions that are installed, and give Python that compiles."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).resolve().parents[1] / "docs" / "upstream").glob("*.md"))


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "README.md"], ids=lambda page: page.stem
)
def test_the_patch_applies_to_what_is_installed(page: Path, tmp_path: Path) -> None:
    import verl

    (patch,) = re.findall(r"```diff\n(.*?)```", page.read_text(), flags=re.S)
    files = re.findall(r"^--- a/(\S+)", patch, flags=re.M)
    assert files
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path(verl.__file__).parents[1] / file, tmp_path / file)
    (tmp_path / "patch").write_text(patch)
    done = subprocess.run(["git", "apply", "patch"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for file in files:
        ast.parse((tmp_path / file).read_text())


def test_the_index_lists_every_page() -> None:
    (index,) = [page for page in PAGES if page.name == "README.md"]
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", index.read_text()))
    assert listed == {page.name for page in PAGES} - {"README.md"}
