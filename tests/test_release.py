"""What a release is held to (tests/release.py); tests/release.sh builds one in rehearsal, in tests/slow.sh."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from release import check_changelog, check_wheel, version_of

from verl_stepgrpo import __version__

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib  # type: ignore[no-redef]

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_version_stands_in_one_place_and_heads_the_changelog() -> None:
    assert (version_of(ROOT), PROJECT["dynamic"]) == (__version__, ["version"])
    check_changelog((ROOT / "CHANGELOG.md").read_text(), __version__, rehearsal=True)


@pytest.mark.parametrize(
    "heading", ["0.2.0 (unreleased)", "0.2.0", "0.1.0 (2026-11-30)", "10.2.0 (2026-11-30)"]
)
def test_a_changelog_that_does_not_begin_with_the_release_ends_it(heading: str) -> None:
    with pytest.raises(AssertionError, match=r"expected '0\.2\.0 \(YYYY-MM-DD\)'"):
        check_changelog(f"# Changelog\n\n## {heading}\n", "0.2.0", rehearsal=False)
    check_changelog(
        "# Changelog\n\n## 0.2.0 (2026-11-30)\n\n## 0.1.0 (2026-10-01)\n", "0.2.0", rehearsal=False
    )


FILES = (
    *("__init__.py", "__main__.py", "bridge/plugin.py"),
    *("bridge/conf/stepgrpo/paper.yaml", "report/templates/report.html", "py.typed"),
)


def wheel(folder: Path, files: tuple[str, ...], *, less: str = "", entry: str = "stepgrpo") -> Path:
    """Write a wheel with these files of the package, without the first requirement that names ``less``."""
    required = [*PROJECT["dependencies"]]
    for extra, lines in PROJECT["optional-dependencies"].items():
        for line in lines:
            requirement, _, marker = line.partition(";")
            marks = [marker.strip(), f"extra == '{extra}'"]
            required.append(f"{requirement.strip()}; " + " and ".join(filter(None, marks)))
    metadata = ["Metadata-Version: 2.4", "Name: verl-stepgrpo", "Version: 0.2.0"]
    metadata += [f"Requires-Python: {PROJECT['requires-python']}"]
    metadata += [f"Provides-Extra: {extra}" for extra in PROJECT["optional-dependencies"]]
    metadata += [f"Requires-Dist: {line}" for line in required if not less or less not in line]
    entry_points = "[console_scripts]\n" + "".join(f"{k} = {v}\n" for k, v in PROJECT["scripts"].items())
    entry_points += f"[verl.plugins]\n{entry} = verl_stepgrpo.bridge.plugin\n"
    with zipfile.ZipFile(folder / "a.whl", "w") as archive:
        for name in files:
            archive.writestr(f"verl_stepgrpo/{name}", "")
        archive.writestr("verl_stepgrpo-0.2.0.dist-info/METADATA", "\n".join(metadata))
        archive.writestr("verl_stepgrpo-0.2.0.dist-info/entry_points.txt", entry_points)
    return folder / "a.whl"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in FILES:
        path = tmp_path / "source" / "verl_stepgrpo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "source"


def test_a_whole_wheel_passes(source: Path, tmp_path: Path) -> None:
    check_wheel(wheel(tmp_path, FILES), source, "0.2.0", PROJECT)


def test_a_wheel_that_lacks_something_ends_the_release(source: Path, tmp_path: Path) -> None:
    without_group = tuple(name for name in FILES if not name.endswith(".yaml"))
    with pytest.raises(AssertionError, match=r"differ in .*paper\.yaml"):
        check_wheel(wheel(tmp_path, without_group), source, "0.2.0", PROJECT)
    with pytest.raises(AssertionError, match=r"differ in .*left_over\.py"):
        check_wheel(wheel(tmp_path, (*FILES, "left_over.py")), source, "0.2.0", PROJECT)
    with pytest.raises(AssertionError, match=r"differ in .*'trl', 'trl'"):
        check_wheel(wheel(tmp_path, FILES, less="trl>="), source, "0.2.0", PROJECT)
    with pytest.raises(AssertionError, match="'other'"):
        check_wheel(wheel(tmp_path, FILES, entry="other"), source, "0.2.0", PROJECT)
