"""What reads data of others runs none of it, and reaches for nothing that it was not given."""

from __future__ import annotations

import ast
import gzip
import importlib.metadata
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import trace_row

from verl_stepgrpo.files import SetAside
from verl_stepgrpo.judging.formats import find
from verl_stepgrpo.traces.files import TraceWriter, iter_traces

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "verl_stepgrpo").rglob("*.py"), *(ROOT / "reward_fns").rglob("*.py")])

FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "execfile"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "marshal.load", "shelve.open"),
    *("dill.load", "dill.loads", "joblib.load", "torch.load", "numpy.load", "np.load"),
    *("yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all"),
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("sympy.sympify", "sympy.parse_expr", "sympify", "parse_expr", "pandas.eval", "pd.eval"),
}
"""Calls that run code which they are given, or that may."""


def called(path: Path) -> list[tuple[int, str, ast.Call]]:
    return [
        (node.lineno, ast.unparse(node.func), node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
    ]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_what_it_reads(path: Path) -> None:
    assert [(line, name) for line, name, _ in called(path) if name in FORBIDDEN] == []
    for line, name, call in called(path):
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert given.get("shell") in (None, "False"), f"{path}:{line}: {name} through a shell"
        assert given.get("trust_remote_code") in (None, "False"), f"{path}:{line}: {name} trusts remote code"


NETWORK = {"urllib.request.urlopen", "urllib.request.build_opener", "socket.create_connection", "httpx.get"}
"""Calls that reach out, and where each is allowed: the servers that the user named or that were started here."""

ALLOWED = {
    "bridge/cluster/liveness.py": "vLLM's servers of the run, for their health",
    "doctor/cluster.py": "the cluster's address that the user gave",
    "serving/vllm.py": "the server that the command started",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_what_the_user_named_is_reached_over_the_network(path: Path) -> None:
    found = [name for _, name, _ in called(path) if name in NETWORK or name.startswith("requests.")]
    where = path.relative_to(ROOT).as_posix().removeprefix("verl_stepgrpo/")
    assert not found or where in ALLOWED, found


def limited(code: str, *, megabytes: int = 1500) -> subprocess.CompletedProcess[str]:
    """Run ``code`` with so much memory beside what the libraries take."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    return subprocess.run(
        [sys.executable, "-c", code], preexec_fn=limit, capture_output=True, text=True, timeout=300
    )


def test_a_small_file_that_unpacks_to_more_than_the_memory_is_set_aside(tmp_path: Path) -> None:
    path = TraceWriter(tmp_path).write("train", 1, [trace_row("8")])
    assert path is not None
    zeros = gzip.compress(b"0" * (1 << 26))
    with path.open("ab") as file:
        for _ in range(32):
            file.write(zeros)
    assert path.stat().st_size < 1 << 22
    done = limited(
        "from pathlib import Path\n"
        "from verl_stepgrpo.traces.files import iter_traces\n"
        "aside = []\n"
        f"rows = list(iter_traces([Path({str(path)!r})], set_aside=aside.append))\n"
        "print(len(rows), aside[0].line, aside[0].reason)\n"
    )
    assert done.stdout == "1 2 the line is longer than 64 MiB\n", done.stderr


@pytest.mark.parametrize(
    "nested", [b"[" * 200_000, b'{"a":' * 200_000, b'{"schema": 2, "step": ' + b"9" * 100_000 + b"}"]
)
def test_json_that_is_deep_or_endless_is_set_aside(nested: bytes, tmp_path: Path) -> None:
    path = tmp_path / "step-000001.jsonl"
    path.write_bytes(nested + b"\n")
    aside: list[SetAside] = []
    assert list(iter_traces([path], set_aside=aside.append)) == []
    assert len(aside) == 1


YAML = {
    "an object": "!!python/object/apply:os.system ['touch ran']",
    "a name": "steps: !!python/name:os.system",
    "a module": "!!python/module:os",
}


@pytest.mark.parametrize("text", YAML.values(), ids=YAML)
def test_a_format_of_others_runs_nothing(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "format.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        find(str(path))
    assert not (tmp_path / "ran").exists()


def test_a_format_that_names_itself_a_billion_times_takes_no_memory(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True)]
    path = tmp_path / "format.yaml"
    path.write_text("\n".join(lines))
    done = limited(
        "from verl_stepgrpo.judging.formats import find\n"
        f"try:\n    find({str(path)!r})\nexcept ValueError as error:\n    print(len(str(error)) < 10_000)\n"
    )
    assert done.stdout == "True\n", done.stderr[-2000:]


class TestLock:
    LOCK = ROOT / "examples" / "cpu.lock"

    def locked(self) -> dict[str, str]:
        lines = [line for line in self.LOCK.read_text().splitlines() if not line.startswith("#")]
        return {
            name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in lines)
        }

    def test_it_has_all_that_the_extras_of_the_set_up_ask_for(self) -> None:
        from packaging.requirements import Requirement

        locked = self.locked()
        asked = [Requirement(text) for text in importlib.metadata.requires("verl-stepgrpo") or ()]
        for one in asked:
            extras = ("", "cpu", "report", "examples", "dev", "docs")
            if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras):
                version = locked[one.name.lower().replace("_", "-")]
                assert one.specifier.contains(version.split("+")[0]), f"{one}: {version} is locked"

    def test_each_package_has_its_licence_on_the_page(self) -> None:
        page = (ROOT / "docs" / "licences.md").read_text()
        rows = dict(re.findall(r"^\| ([\w.-]+) \| ([^ ]+) \|", page, flags=re.M))
        rows.pop("package", None)
        assert {name.lower().replace("_", "-"): version for name, version in rows.items()} == self.locked()

    def test_the_set_up_installs_by_it(self) -> None:
        script = (ROOT / "examples" / "setup_cpu.sh").read_text()
        assert "--constraint=$ROOT/examples/cpu.lock" in script
        assert subprocess.run(["bash", "-n", ROOT / "examples" / "setup_cpu.sh"]).returncode == 0
