"""A fresh Python process, for what a process does when it starts, and verl's own command in one."""

from __future__ import annotations

import json
import os
import subprocess
import sys


def python(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("VERL_")} | env
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=200
    )


MAIN_IN_TURN = """
import contextlib, io, json, runpy, sys
ends = []
for words in json.loads(sys.argv[1]):
    sys.argv = ["main_ppo", *words]
    said, status = io.StringIO(), 0
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            runpy.run_module("verl.trainer.main_ppo", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code
    ends.append([status, said.getvalue()])
print(json.dumps(ends))
"""


def main_ppo(*runs: list[str]) -> list[tuple[int, str]]:
    """Return the status of ``python -m verl.trainer.main_ppo`` with each list of words, and what it printed.

    One after the other in one process, which loads verl once.
    """
    command = [sys.executable, "-c", MAIN_IN_TURN, json.dumps(runs)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return [(status, printed) for status, printed in json.loads(done.stdout.splitlines()[-1])]
