"""Print the licence of every package of the CPU set-up's lock, as its metadata has it: the table of docs/licences.md.

python examples/licences.py > docs/licences.md
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

LOCK = Path(__file__).with_name("cpu.lock")

HEAD = """# Licences

verl-stepgrpo is under Apache-2.0 and brings no code of others. What the set-up for a CPU
([examples/setup_cpu.sh](../examples/setup_cpu.sh)) installs beside it, by the versions of
[its lock](../examples/cpu.lock), is under these, as each package's own metadata says
(`python examples/licences.py > docs/licences.md`):

| package | version | licence |
|---|---|---|"""

CLASSIFIER = "License :: OSI Approved :: "
REMOVED = {"torchaudio": "BSD License"}
"""What the set-up removes where its build is for another engine, and whose metadata are gone then."""


def locked() -> dict[str, str]:
    """Return the version of each package of the lock, by its name."""
    lines = LOCK.read_text().splitlines()
    return dict(line.split("==", 1) for line in lines if line and not line.startswith("#"))


def licence(package: str) -> str:
    """Return a licence as one line: the expression where there is one, else the classifiers, else the field."""
    try:
        data = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        return REMOVED[package]
    if expression := data.get("License-Expression"):
        return str(expression)
    named = [c.removeprefix(CLASSIFIER) for c in data.get_all("Classifier", []) if c.startswith(CLASSIFIER)]
    if named:
        return ", ".join(named)
    # Some packages put the whole text here.
    field = str(data.get("License") or "").strip().split("\n")[0]
    return re.sub(r"\s+", " ", field)[:60] or "(none named in its metadata)"


def main() -> None:
    print(HEAD)
    for package, version in locked().items():
        print(f"| {package} | {version} | {licence(package)} |")


if __name__ == "__main__":
    main()
