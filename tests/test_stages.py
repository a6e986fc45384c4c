"""A stage of the digits runs that ends before it is done: what it says, and that the next try goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STAGES = Path(__file__).resolve().parents[1] / "examples" / "digits" / "stages.sh"
UNRELATED = "WARNING: ModuleNotFoundError: No module named 'something_optional', going on without it"
TRACEBACK = "Traceback (most recent call last):"


def stage(folder: Path, limit: int, command: str, *, setup: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``command`` as the stage "rl", with checkpoints in ``folder``/rl."""
    (folder / "logs").mkdir(exist_ok=True)
    script = f"set -euo pipefail; PYTHON_BIN={sys.executable} OUT={folder}; source {STAGES}; {setup}"
    script += f'\nstage rl {limit} bash -c "$1" name trainer.default_local_dir={folder}/rl'
    return subprocess.run(["bash", "-c", script, "bash", command], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("saved", "said"),
    [("6", "Run the same again: it goes on from its checkpoint of step 6."), (None, "It has no checkpoint")],
)
def test_a_stage_that_ran_out_of_time_says_so_and_where_it_goes_on(
    tmp_path: Path, saved: str | None, said: str
) -> None:
    if saved:
        (tmp_path / "rl").mkdir()
        (tmp_path / "rl" / "latest_checkpointed_iteration.txt").write_text(saved)
    done = stage(tmp_path, 1, f'echo "{UNRELATED}"; sleep 50')
    assert done.returncode == 1
    assert done.stderr.startswith(f"[rl] ran into its time limit of 1 s; its log is {tmp_path}/logs/rl.log\n")
    assert said in done.stderr
    assert "ModuleNotFoundError" not in done.stderr
    assert not (tmp_path / ".rl.done").exists()


def test_a_stage_that_had_to_be_killed_at_its_limit_ran_out_of_time(tmp_path: Path) -> None:
    killed = 'timeout() { sleep 1; (kill -9 "$BASHPID"); }'
    assert "ran into its time limit of 1 s" in stage(tmp_path, 1, "true", setup=killed).stderr


def test_a_stage_that_another_killed_before_its_limit_did_not_run_out_of_time(tmp_path: Path) -> None:
    done = stage(tmp_path, 50, 'echo "last words"; kill -9 $$')
    assert done.stderr.endswith(f"[rl] failed with status 137. From {tmp_path}/logs/rl.log:\nlast words\n")


def test_a_stage_that_failed_shows_the_traceback_that_ended_it(tmp_path: Path) -> None:
    caught = f"{TRACEBACK}\\n  in an optional import\\nImportError: of no importance\\n"
    fatal = f'{TRACEBACK}\\n  File "a.py", line 1\\nConfigError: what has to be mended\\n'
    done = stage(tmp_path, 50, f"printf '{UNRELATED}\\n{caught}{fatal}'; exit 3")
    assert done.stderr.splitlines()[0].startswith("[rl] failed with status 3.")
    assert done.stderr.splitlines()[1:] == [
        TRACEBACK,
        '  File "a.py", line 1',
        "ConfigError: what has to be mended",
    ]


def test_a_stage_that_is_done_is_not_run_again(tmp_path: Path) -> None:
    assert stage(tmp_path, 50, "true").returncode == 0
    again = stage(tmp_path, 50, "false")
    assert again.returncode == 0
    assert again.stdout == "[rl] done before\n"
