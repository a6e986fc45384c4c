"""Compares a wheel and a source distribution with the commit that they were built from; tests/release.sh calls it."""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from email import message_from_string
from email.message import Message
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGE = "verl_stepgrpo"


def main(source: Path, dist: Path, rehearsal: bool) -> None:
    """Check what was built.

    Args:
        source: The files of the commit.
        dist: The folder of one wheel and one source distribution.
        rehearsal: Whether the changelog may call the version unreleased.

    Raises:
        AssertionError: Something is missing, too much, or other than the commit has it.
    """
    version = version_of(source)
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    check_changelog((source / "CHANGELOG.md").read_text(), version, rehearsal)
    names = {path.name for path in dist.iterdir()}
    assert names == {f"{PACKAGE}-{version}-py3-none-any.whl", f"{PACKAGE}-{version}.tar.gz"}, names
    check_wheel(dist / f"{PACKAGE}-{version}-py3-none-any.whl", source, version, project)
    check_sdist(dist / f"{PACKAGE}-{version}.tar.gz", source, version)


def version_of(source: Path) -> str:
    return re.findall(
        r'^__version__ = "(.+)"$', (source / PACKAGE / "__init__.py").read_text(), re.MULTILINE
    )[0]


def check_changelog(text: str, version: str, rehearsal: bool) -> None:
    """See that the newest section is that of the version, and says when it was released."""
    newest = re.findall(r"^## (.+)$", text, re.MULTILINE)[0]
    released = re.fullmatch(rf"{re.escape(version)} \(\d{{4}}-\d{{2}}-\d{{2}}\)", newest)
    said = f"CHANGELOG.md begins with {newest!r}; expected '{version} (YYYY-MM-DD)'"
    assert released or (rehearsal and newest == f"{version} (unreleased)"), said


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def check_wheel(wheel: Path, source: Path, version: str, project: dict[str, Any]) -> None:
    info = f"{PACKAGE}-{version}.dist-info"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = message_from_string(archive.read(f"{info}/METADATA").decode())
        entry_points = ConfigParser()
        entry_points.read_string(archive.read(f"{info}/entry_points.txt").decode())
    own = {name for name in names if not name.startswith(f"{info}/")}
    expected = {name for name in files_below(source) if name.startswith(f"{PACKAGE}/")}
    assert own == expected, f"the wheel and the commit differ in {sorted(own ^ expected)}"
    for kind in ("/bridge/conf/stepgrpo/paper.yaml", "/report/templates/report.html", "/py.typed"):
        assert f"{PACKAGE}{kind}" in own
    check_metadata(metadata, version, project)
    check_entry_points({name: dict(entry_points[name]) for name in entry_points.sections()}, own, project)


def check_metadata(metadata: Message, version: str, project: dict[str, Any]) -> None:
    """See that version, Python and each extra's packages are those of pyproject.toml."""
    assert metadata["Version"] == version
    assert set(metadata["Requires-Python"].split(",")) == set(project["requires-python"].split(","))
    extras = project["optional-dependencies"]
    assert set(metadata.get_all("Provides-Extra", [])) == set(extras)
    declared = {
        (extra, *described(Requirement(line)))
        for extra, lines in {"": project["dependencies"], **extras}.items()
        for line in lines
    }
    found = {
        (extra_of(requirement), *described(requirement))
        for requirement in map(Requirement, metadata.get_all("Requires-Dist", []))
    }
    assert found == declared, f"the metadata and pyproject.toml differ in {sorted(found ^ declared)}"


def described(requirement: Requirement) -> tuple[str, str, str]:
    return (
        canonicalize_name(requirement.name),
        str(requirement.specifier),
        ",".join(sorted(map(canonicalize_name, requirement.extras))),
    )


def extra_of(requirement: Requirement) -> str:
    found = re.search(r"""extra == ['"](.+?)['"]""", str(requirement.marker))
    return found[1] if found else ""


def check_entry_points(found: dict[str, dict[str, str]], files: set[str], project: dict[str, Any]) -> None:
    """See that commands and plugins are those of pyproject.toml, and that the wheel has their modules."""
    assert found == {"console_scripts": project["scripts"], **project["entry-points"]}, found
    for group in found.values():
        for target in group.values():
            module = target.partition(":")[0].replace(".", "/")
            assert {f"{module}.py", f"{module}/__init__.py"} & files, target


def check_sdist(sdist: Path, source: Path, version: str) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.removeprefix(f"{PACKAGE}-{version}/") for name in archive.getnames()}
    missing = files_below(source) - names
    assert not missing, f"the source distribution lacks {sorted(missing)}"
    assert names - files_below(source) == {"PKG-INFO"}, sorted(names - files_below(source))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "1")
    print("wheel and source distribution: what the commit has")
