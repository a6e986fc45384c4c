"""How verl finds the plugin, and what the plugin checks before Ray starts. Each case runs as a user would:
a fresh Python process that imports verl."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util
import itertools
import json
import logging
import re
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from helpers import parquet, rows
from hydra import compose, initialize_config_module
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf
from processes import main_ppo, python

from verl_stepgrpo import ConfigError, DataError, RunSettings
from verl_stepgrpo.bridge import conf
from verl_stepgrpo.bridge.checks import dataset_check, preflight
from verl_stepgrpo.bridge.checks.refusal import said_in_a_sentence
from verl_stepgrpo.judging.answers.symbolic import VerifierFailedError

MAIN = [sys.executable, "-m", "verl.trainer.main_ppo"]


RECOMMENDED = {"combine": "answer_first", "credit": "step", "outcome_gate": 0.0}
"""What the group departs from the paper's in, by recipes/ablation_digits."""


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    import verl  # noqa: F401  the import that loads the plugin

    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=["+stepgrpo=paper"])


def without_data(config: DictConfig, key: str = "trainer.use_v1", value: object = True) -> DictConfig:
    """Return a copy of ``config`` with a setting, and with rows that nobody looks at."""
    config = config.copy()
    config.data.custom_cls.path = "own.py"
    OmegaConf.update(config, key, value)
    return config


TOLD = """
import json, sys, verl
loaded = sys.modules
told = {"at import": [name for name in WATCHED if name in loaded]}
import verl.utils.config
told["with the driver's module"] = [name for name in WATCHED if name in loaded]
from verl_stepgrpo.bridge import extensions as plugin
before = verl.utils.config.validate_config
plugin.register(); plugin.register()
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
told["wrapped once"] = verl.utils.config.validate_config is before
told["registered"] = [get_adv_estimator_fn("stepgrpo").__module__, get_reward_manager_cls("stepgrpo").__name__]
print(json.dumps(told))
"""
CHECKS = [
    f"verl_stepgrpo.{name}"
    for name in (
        "bridge.checks.rules",
        "bridge.checks.dataset_check",
        "judging.key_steps",
        "rewards",
        "bridge.reward_manager",
    )
]
"""What the driver alone loads, and when it validates."""
CPU = ["verl_stepgrpo.cpu.platform", "verl_stepgrpo.cpu.adaptations"]
PLUGIN, PREFLIGHT, ALGORITHMS = (
    *("verl_stepgrpo.bridge.plugin", "verl_stepgrpo.bridge.checks.preflight"),
    "verl.trainer.ppo.core_algos",
)


class TestDiscovery:
    @pytest.fixture(scope="class")
    def told(self) -> dict:
        """Return what a process that imports verl, and then the driver's modules, says of itself."""
        watched = [PLUGIN, PREFLIGHT, ALGORITHMS, *CHECKS, *CPU]
        assert all(importlib.util.find_spec(name) for name in watched)
        done = python(TOLD.replace("WATCHED", repr(watched)))
        assert done.returncode == 0, done.stderr
        assert "could not extend" not in done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    def test_importing_verl_is_enough_and_stays_light(self, told: dict) -> None:
        assert PLUGIN in told["at import"]
        assert not {ALGORITHMS, *CHECKS} & set(told["at import"])
        assert told["registered"] == ["verl_stepgrpo.bridge.estimator", "StepGRPORewardManager"]

    def test_the_checks_of_the_driver_are_loaded_by_the_driver_alone(self, told: dict) -> None:
        assert PREFLIGHT in told["with the driver's module"]
        assert not set(CHECKS) & set(told["with the driver's module"])

    def test_registering_twice_changes_nothing(self, told: dict) -> None:
        assert told["wrapped once"]

    def test_the_cpu_engine_is_not_loaded_without_its_platform(self, told: dict) -> None:
        assert not set(CPU) & set(told["with the driver's module"])

    @pytest.mark.parametrize("missing", ["rapidfuzz", "verl_stepgrpo.bridge.extensions"])
    def test_a_plugin_that_fails_says_so(self, missing: str) -> None:
        code = (
            f"import sys; sys.modules[{missing!r}] = None\n"
            "import verl, verl.experimental.reward_loop.reward_manager\n"
        )
        done = python(code)
        assert done.returncode == 0
        assert "WARNING" in done.stderr
        assert re.search("verl-stepgrpo (was not loaded|could not extend)", done.stderr)
        assert missing in done.stderr
        assert "0.9.1" in done.stderr

    def test_an_extension_point_that_is_gone_is_named_with_both_versions(self) -> None:
        done = python(
            "import verl, sys, types\n"
            "import wrapt\n"
            "wrapt.notify_module_loaded(types.ModuleType('verl.trainer.ppo.v1.trainer_base'))\n"
        )
        assert "could not extend verl.trainer.ppo.v1.trainer_base" in done.stderr
        assert done.stderr.count("0.9.1") >= 2

    def test_without_the_plugin_nothing_is_loaded_and_plain_grpo_gets_the_same(self) -> None:
        code = (
            "import verl, json, sys, torch, numpy as np\n"
            "from hydra import compose, initialize_config_module\n"
            "from omegaconf import OmegaConf\n"
            "from verl.trainer.ppo.core_algos import compute_grpo_outcome_advantage as f\n"
            "with initialize_config_module('verl.trainer.config', version_base=None):\n"
            "    config = compose('ppo_trainer', overrides=['algorithm.adv_estimator=grpo'])\n"
            "a, _ = f(torch.eye(4), torch.ones(4, 4), np.array(list('aabb')))\n"
            "loaded = 'verl_stepgrpo.bridge' in sys.modules\n"
            "print(json.dumps([loaded, OmegaConf.to_container(config), a.tolist()]))\n"
        )
        loaded, *given = json.loads(python(code).stdout.strip().splitlines()[-1])
        left_out = python(code, VERL_USE_EXTERNAL_PLUGINS="none").stdout.strip().splitlines()[-1]
        assert (loaded, json.loads(left_out)) == (True, [False, *given])


class TestConfigGroups:
    def test_paper_has_the_numbers_of_the_paper(self, composed: DictConfig) -> None:
        rollout, actor = composed.actor_rollout_ref.rollout, composed.actor_rollout_ref.actor
        assert composed.algorithm.adv_estimator == composed.reward.reward_manager.name == "stepgrpo"
        assert composed.algorithm.stepgrpo.alpha == 0.1
        assert (rollout.n, rollout.temperature, rollout.response_length) == (4, 1.2, 1024)
        assert (actor.use_kl_loss, actor.kl_loss_coef, actor.kl_loss_type) == (True, 0.04, "low_var_kl")
        assert (actor.optim.lr, actor.loss_agg_mode) == (1e-6, "seq-mean-token-mean")

    @pytest.mark.parametrize("group", ["paper", "recommended", "digits_cpu"])
    def test_a_group_is_valid_for_verls_own_config_classes(self, group: str) -> None:
        import verl  # noqa: F401
        from verl.trainer.config import AlgoConfig
        from verl.utils.config import omega_conf_to_dataclass

        with initialize_config_module("verl.trainer.config", version_base=None):
            config = compose("ppo_trainer", overrides=[f"+stepgrpo={group}"])
        OmegaConf.set_struct(config, False)
        node = config.algorithm.pop("stepgrpo")
        assert isinstance(omega_conf_to_dataclass(config.algorithm), AlgoConfig)
        changed = RECOMMENDED if group == "recommended" else {}
        run = RunSettings.from_mapping(node)
        assert run == RunSettings.from_mapping(changed)
        parts = dataclasses.asdict(run)
        assert set(node) == {*parts.pop("reward"), *parts.pop("advantage"), *parts}
        config.actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu = 1
        omega_conf_to_dataclass(config.actor_rollout_ref.actor)

    @pytest.mark.parametrize("path", sorted(Path(conf.__path__[0]).glob("stepgrpo/*.yaml")), ids=str)
    def test_a_comment_stands_above_every_key(self, path: Path) -> None:
        lines = path.read_text().splitlines()
        for above, line in itertools.pairwise(lines):
            is_value = (
                ":" in line and not line.strip().startswith(("#", "-")) and not line.rstrip().endswith(":")
            )
            assert not is_value or above.strip().startswith("#"), line


WRONG = {
    "algorithm.stepgrpo.alpha=-1": "algorithm.stepgrpo.alpha=-1 is out of range",
    "algorithm.stepgrpo.mode=fast": "one of paper, reference",
    "+algorithm.stepgrpo.alhpa=1": "algorithm.stepgrpo.alhpa=1 is not a setting",
    "algorithm.adv_estimator=grpo": "algorithm.adv_estimator=grpo and reward.reward_manager.name=stepgrpo",
}


class TestPreflight:
    def test_the_stock_command_ends_before_ray_on_a_wrong_setting(self) -> None:
        runs = main_ppo(*(["+stepgrpo=paper", override] for override in WRONG))
        for (status, printed), (override, said) in zip(runs, WRONG.items(), strict=True):
            assert status == 1, override
            assert said in printed
            assert "Traceback" not in printed
            assert "ray init kwargs" not in printed

    @pytest.mark.parametrize(
        "error", [ConfigError("a=1"), DataError("b"), VerifierFailedError("c", "its stderr")]
    )
    def test_a_mistake_is_what_it_is_and_what_hydra_says_in_its_own_words(self, error: Exception) -> None:
        with pytest.raises(type(error)) as raised, said_in_a_sentence():
            raise error
        assert isinstance(raised.value, CompactHydraException)
        assert str(raised.value) == str(error)
        assert vars(raised.value) == vars(error)
        assert raised.value.__cause__ is error

    def test_an_error_of_the_code_keeps_its_traceback(self) -> None:
        with pytest.raises(KeyError) as raised, said_in_a_sentence():
            raise KeyError("x")
        assert not isinstance(raised.value, CompactHydraException)

    def test_the_stock_command_ends_before_ray_on_an_empty_answer(self, tmp_path: Path) -> None:
        bad = rows(2) + rows(1, reward_model={"style": "rule", "ground_truth": ""})
        bad[2]["extra_info"] = {"index": 2, "key_steps": [["x"]]}
        file = parquet(tmp_path / "train.parquet", bad)
        command = [*MAIN, "+stepgrpo=paper", f"data.train_files={file}", f"data.val_files={file}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        assert done.returncode != 0
        assert f"{file}, row 2: reward_model.ground_truth is empty" in done.stderr
        assert "ray init kwargs" not in done.stdout

    def test_a_math_verify_that_judges_nothing_ends_the_command(
        self, composed: DictConfig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "executable", "/no/such/python")
        preflight._check_verifier.cache_clear()
        with pytest.raises(
            VerifierFailedError, match=r"(?s)could not be started: .*/no/such/python.*pip install"
        ):
            preflight.check(without_data(composed))
        # Another manager judges by itself.
        preflight.check(without_data(composed, "reward.reward_manager.name", "naive"))

    def test_another_verl_is_named_with_both_versions(
        self,
        composed: DictConfig,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(preflight, "installed_version", lambda name: "0.8.0")
        with caplog.at_level(logging.WARNING, "verl_stepgrpo"):
            preflight.check(without_data(composed))
        assert "verl 0.8.0" in caplog.text
        assert "verl 0.9.1" in caplog.text

    @pytest.mark.parametrize("installed", ["0.8.0", "0.9.2", "0.10.0.dev0", None])
    def test_another_verl_is_refused_where_that_is_set(
        self, composed: DictConfig, installed: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        strict = without_data(composed, "algorithm.stepgrpo.other_verl", "refused")
        preflight.check(strict)
        monkeypatch.setattr(preflight, "installed_version", lambda name: installed)
        said = (
            rf"verl {installed} is installed.*tested for verl 0\.9\.1\. algorithm\.stepgrpo\.other_verl=refused.*"
            r"pip install verl==0\.9\.1, or set it to warned"
        )
        with pytest.raises(ConfigError, match=said):
            preflight.check(strict)

    def test_a_run_without_stepgrpo_is_not_looked_at(self) -> None:
        assert not preflight.uses_stepgrpo(OmegaConf.create({"algorithm": {"adv_estimator": "grpo"}}))

    def test_settings_are_checked_whoever_reads_them(self) -> None:
        with pytest.raises(ConfigError, match="alpha"):
            preflight.check(OmegaConf.create({"algorithm": {"stepgrpo": {"alpha": -1}}}))

    def test_a_trace_folder_that_cannot_be_written_is_an_error(
        self, composed: DictConfig, tmp_path: Path
    ) -> None:
        (tmp_path / "file").write_text("")
        config = without_data(composed, "algorithm.stepgrpo.trace_dir", str(tmp_path / "file"))
        with pytest.raises(ConfigError, match=r"trace_dir=.*cannot be written"):
            preflight.check(config)

    @pytest.mark.parametrize("trace_dir", ["traces", "~/traces", "/{home}/traces"])
    def test_traces_go_where_the_command_was_started_wherever_the_trainer_runs(
        self, composed: DictConfig, trace_dir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path))
        config = without_data(
            composed, "algorithm.stepgrpo.trace_dir", trace_dir.replace("/{home}", str(tmp_path))
        )
        preflight.check(config)
        assert config.algorithm.stepgrpo.trace_dir == str(tmp_path / "traces")
        assert (tmp_path / "traces").is_dir()

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("", "AttributeError: Object not found in module"),
            ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
            (None, "FileNotFoundError: Custom module file not found"),
        ],
    )
    def test_a_manager_that_verl_cannot_load_ends_the_command_here(
        self, composed: DictConfig, source: str | None, said: str, tmp_path: Path
    ) -> None:
        if source is not None:
            (tmp_path / "own.py").write_text(source)
        config = without_data(composed, "reward.reward_manager.name", "Own")
        config.reward.reward_manager.source = "importlib"
        config.reward.reward_manager.module.path = str(tmp_path / "own.py")
        with pytest.raises(ConfigError, match=rf"reward_manager\.name=Own: verl cannot load .*{said}"):
            preflight.check(config)

    def test_a_manager_that_nobody_registered_is_named(self, composed: DictConfig) -> None:
        with pytest.raises(ConfigError, match=r"name=stepgrop: .*Unknown reward manager: stepgrop"):
            preflight.check(without_data(composed, "reward.reward_manager.name", "stepgrop"))


class TestDatasetCheck:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("no.parquet", None),
            ("bad.parquet", b"x"),
            ("bad.jsonl", b"x"),
            ("empty.jsonl", b""),
            ("deep.json", b"[" * 100_000),
        ],
    )
    def test_a_file_that_cannot_be_read_is_named_with_its_key(
        self, tmp_path: Path, name: str, content: bytes | None
    ) -> None:
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=rf"data\.train_files: .*{name}"):
            dataset_check.check_files(str(tmp_path / name), "data.train_files")

    def test_good_rows_pass(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        dataset_check.check_files(parquet(tmp_path / "a.parquet", rows()), "data.train_files")
        assert caplog.text == ""

    @pytest.mark.parametrize("suffix", ["jsonl", "json"])
    def test_json_files_are_read_as_verl_reads_them(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"a.{suffix}"
        table = rows(2, reward_model={"ground_truth": ""})
        path.write_text(json.dumps(table) if suffix == "json" else "\n".join(map(json.dumps, table)))
        with pytest.raises(DataError, match=r"2 of 2 rows of data\.train_files"):
            dataset_check.check_files([str(path)], "data.train_files")

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"reward_model": {"style": "rule"}}, "ground_truth is None"),
            ({"reward_model": None}, "ground_truth is None"),
            ({"extra_info": {"key_steps": [["x"]]}}, "extra_info.index is missing"),
            ({"extra_info": {"index": 1, "key_steps": [["x"]]}}, "stands in row 0 already"),
            ({"extra_info": {"index": 1, "key_steps": 3}}, "key_steps is 3"),
            ({"extra_info": None}, "extra_info.index is missing"),
            ({"extra_info": "x"}, "extra_info is 'x'"),
            ({"reward_model": "x"}, "reward_model is 'x'"),
            ({"extra_info": {"index": [1], "key_steps": [["x"]]}}, "stands in row 0 already"),
            ({"extra_info": {"index": np.int64(1), "key_steps": [["x"]]}}, "index=1 stands in row 0 already"),
            ({"extra_info": {"index": b"a", "key_steps": [["x"]]}}, "index=b'a' (bytes) cannot be written"),
            ({"extra_info": {"index": datetime.date(2026, 1, 2)}}, "(date) cannot be written to a trace"),
            ({"extra_info": {"index": uuid.UUID(int=7)}}, "(UUID) cannot be written to a trace"),
            ({"extra_info": {"index": float("nan")}}, "index=nan (float) cannot be written to a trace"),
        ],
    )
    def test_a_mistake_names_its_row_and_reason(self, changes: dict, said: str) -> None:
        problems, _, _, n = dataset_check.check_rows(rows(3, **changes))
        assert n == 3
        assert said in problems[-1][1]
        assert problems[-1][0] == 2

    @pytest.mark.parametrize("said", ["<video>", "<audio>", "<|image_pad|>"])
    def test_a_prompt_on_which_verl_fails_beside_its_images_is_named(self, tmp_path: Path, said: str) -> None:
        table = rows(3, images=[{"bytes": b"x"}], prompt=[{"role": "user", "content": "<image>?"}])
        table[1]["prompt"] = [{"role": "user", "content": f"<image>Is it {said}?"}]
        with pytest.raises(
            DataError, match=r"1 of 3 rows of k cannot be used:\n.*row 1: the prompt has"
        ) as error:
            dataset_check.check_files(parquet(tmp_path / "a.parquet", table), "k")
        assert said in str(error.value)
        table[1]["prompt"][0]["content"] = f"Is it {said}?"  # without an image verl leaves it in the text
        dataset_check.check_files(parquet(tmp_path / "b.parquet", table), "k")
        table[1]["prompt"][0]["content"] = f"<image>Is it {said}?"
        other = [row | {"videos": ["a.mp4"]} for row in table]
        dataset_check.check_files(parquet(tmp_path / "c.parquet", other), "k")

    def test_rows_without_key_steps_give_one_warning_with_the_count(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        table = [row | {"extra_info": {"index": i, "key_steps": []}} for i, row in enumerate(rows(40))]
        table[0]["extra_info"]["key_steps"] = [["x"]]
        with caplog.at_level(logging.WARNING, "verl_stepgrpo"):
            dataset_check.check_files(parquet(tmp_path / "a.parquet", table), "data.train_files")
        assert len(caplog.records) == 1
        assert "39 of 40 rows" in caplog.text

    def test_only_the_first_few_mistakes_are_shown(self, tmp_path: Path) -> None:
        file = parquet(tmp_path / "a.parquet", rows(50, reward_model={"ground_truth": " "}))
        with pytest.raises(DataError) as error:
            dataset_check.check_files(file, "data.train_files")
        assert str(error.value).count("row ") == dataset_check.SHOWN_ERRORS
        assert "and 45 more" in str(error.value)
