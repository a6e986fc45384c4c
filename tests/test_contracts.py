"""What this package relies on in verl, and what its own parts promise each other."""

from __future__ import annotations

import ast
import graphlib
import inspect
import re
from pathlib import Path

import pytest
from conftest import is_quick
from processes import python
from verl_contract import Signature, check_signature, check_source, find

from verl_stepgrpo.imports import installed_version

PACKAGE = Path(__file__).resolve().parents[1] / "verl_stepgrpo"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Where each part may import from, beside the standard library. One way only: down this list.
PURE = {"verl_stepgrpo", "rapidfuzz", "math_verify", "wrapt", "numpy"}
ALLOWED = {
    "bridge": PURE
    | {
        "torch",
        "verl",
        "hydra",
        "omegaconf",
        "ray",
        "transfer_queue",
        "pyarrow",
        "safetensors",
        "tokenizers",
        "tensorboard",
    },
    "cpu": PURE | {"torch", "verl", "psutil", "ray", "safetensors"},
    "data": PURE
    | {
        "pyarrow",
        "PIL",
        "ijson",
        "transformers",
        "datasets",
        "huggingface_hub",
        "httpx",
        "qwen_vl_utils",
        "pydantic",
    },
    "serving": PURE | {"openai"},
    "evaluation": PURE | {"pyarrow", "scipy", "transformers"},
    "replay": PURE | {"torch", "scipy"},
    "report": PURE | {"jinja2", "markupsafe", "plotly", "pyarrow", "PIL"},
    "doctor": PURE | {"ray", "transformers", "packaging"},
    "cli.py": PURE | {"typer", "rich"},
    "commands": PURE | {"typer", "rich"},
    "advantage": PURE | {"torch"},
    "judging": PURE | {"sympy", "yaml"},
}


def layer(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0]


def imported(path: Path, *, types: bool = True) -> set[str]:
    """Return what a module imports anywhere; with ``types`` also what it imports for type checkers alone."""
    names = set()
    tree = ast.parse(path.read_text())
    if not types:
        tree.body = [node for node in tree.body if ast.unparse(node).split("\n")[0] != "if TYPE_CHECKING:"]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    import sys

    packages = {name.split(".")[0] for name in imported(path)} - set(sys.stdlib_module_names)
    assert packages <= ALLOWED.get(layer(path), PURE)
    inside = {".".join(n.split(".")[1:2]) for n in imported(path) if n.startswith("verl_stepgrpo.")}
    if layer(path) not in ("bridge", "cpu"):
        assert not inside & {"bridge", "cpu"}, "the pure part imports what touches verl"
    if layer(path) not in ("cli.py", "__main__.py"):
        assert not inside & {"cli"}, "nothing imports the command line"
    if layer(path) == "cpu":
        assert "bridge" not in inside, "the CPU engine does not need the bridge"


ROOMS = {
    "cluster": set(),
    "checks": {"cluster"},
    "hooks": {"checks", "cluster"},
    "extensions.py": {"checks", "hooks"},
}
"""The rooms of the bridge that a room, or a file, may import; other files of the bridge may import none."""


def test_the_rooms_of_the_bridge_import_one_way() -> None:
    bridge = PACKAGE / "bridge"
    rooms = {path.name for path in bridge.iterdir() if (path / "__init__.py").exists()} - {"conf"}
    assert rooms == {name for name in ROOMS if not name.endswith(".py")}
    for path in bridge.rglob("*.py"):
        own = path.relative_to(bridge).parts[0]
        within = [name.split(".")[2] for name in imported(path) if name.startswith("verl_stepgrpo.bridge.")]
        assert rooms & set(within) <= ROOMS.get(own, set()) | {own}, path


DATA_ROOMS = ("prompts", "sources", "rows", "key_steps")
"""The rooms of ``data``; each imports those before it, and ``prepare`` and ``lint`` import all of them."""


@pytest.mark.parametrize("room", DATA_ROOMS)
def test_the_rooms_of_the_data_import_one_way(room: str) -> None:
    assert {path.name for path in (PACKAGE / "data").iterdir() if path.is_dir()} - {"__pycache__"} == set(
        DATA_ROOMS
    )
    names = {name for path in (PACKAGE / "data" / room).glob("*.py") for name in imported(path)}
    inside = {name.split(".")[2] for name in names if name.startswith("verl_stepgrpo.data.")}
    assert inside <= set(DATA_ROOMS[: DATA_ROOMS.index(room) + 1])


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not where a function imports either: a late import does not make one way of two."""
    names = {".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts): p for p in MODULES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph = {}
    for name, path in names.items():
        found = imported(path, types=False)
        graph[name] = {n if n in names else n.rpartition(".")[0] for n in found} & (names.keys() - {name})
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    ("file", "quick"),
    [
        ("test_rewards.py", True),
        ("test_trace.py", True),
        ("test_docs.py", False),
        ("test_rules.py", False),
        ("test_visual_key_steps.py", False),  # by what a test file that it imports loads
        ("test_bars.py", False),  # by what a script of an example does
    ],
)
def test_a_test_file_is_quick_by_what_it_imports(file: str, quick: bool) -> None:
    assert is_quick(Path(__file__).with_name(file)) == quick


def test_importing_the_package_loads_neither_torch_nor_verl() -> None:
    done = python(
        "import sys, verl_stepgrpo; print([m for m in ('torch', 'verl', 'ray', 'sympy') if m in sys.modules])"
    )
    assert (done.stdout.strip(), done.returncode) == ("[]", 0)


def test_without_the_commands_dependencies_the_command_says_what_it_needs(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise ModuleNotFoundError(\"No module named 'typer'\")")
    done = python(
        "import runpy; runpy.run_module('verl_stepgrpo', run_name='__main__')", PYTHONPATH=str(tmp_path)
    )
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "verl-stepgrpo: No module named 'typer'. The commands need all dependencies: install without --no-deps."
    )


TRAINER = "verl.trainer.ppo.v1.trainer_base:PPOTrainer"
BUFFER = "verl.trainer.ppo.v1.replay_buffer"
MANAGER = "verl.experimental.reward_loop.reward_manager.base:RewardManagerBase"

SIGNATURES = {
    f"{TRAINER}.fit": Signature("self agent_loop_manager", "bridge/hooks/trainer_hooks.py"),
    f"{TRAINER}._compute_advantage": Signature("self batch metrics", "bridge/hooks/trainer_hooks.py"),
    f"{TRAINER}._val_metrics_update": Signature(
        "self data_sources sample_uids reward_extra_infos_dict", "bridge/hooks/trainer_hooks.py", True
    ),
    f"{TRAINER}.step": Signature("self metrics", "bridge/hooks/tracked.py", True),
    f"{TRAINER}._save_checkpoint": Signature("self", "bridge/hooks/tracked.py"),
    "verl.experimental.agent_loop.agent_loop:AgentLoopWorker._compute_score": Signature(
        "self outputs kwargs", "bridge/hooks/written_tokens.py", True
    ),
    f"{BUFFER}:ReplayBuffer._wait_for_next_poll": Signature(
        "self partition_id last_debug_time", "bridge/cluster/liveness.py"
    ),
    f"{BUFFER}:ReplayBuffer._evict_terminal_groups": Signature(
        "self global_steps partition_id eviction_reasons", "bridge/hooks/missing_sessions.py"
    ),
    f"{MANAGER}.__init__": Signature("self config tokenizer compute_score", "bridge/reward_manager.py", True),
    f"{MANAGER}.run_single": Signature("self data", "bridge/reward_manager.py"),
    "verl.utils.config:validate_config": Signature("config", "bridge/checks/preflight.py", True),
    "verl.models.transformers.qwen2_vl:_get_input_embeds": Signature(
        "model input_ids attention_mask pixel_values pixel_values_videos",
        "bridge/hooks/text_batches.py",
        True,
    ),
    "vllm.model_executor.model_loader.dummy_loader:DummyModelLoader.load_weights": Signature(
        "self model model_config", "bridge/hooks/dummy_weights.py"
    ),
}
"""By place in verl, or vLLM, what the plugin wraps, overrides or calls."""


class TestVerl:
    """verl 0.9.1's signatures that the bridge builds on; a new verl that breaks one fails here, by name."""

    @pytest.mark.parametrize("place", SIGNATURES)
    def test_what_is_wrapped_takes_what_it_took(self, place: str) -> None:
        check_signature(place, SIGNATURES[place])

    def test_every_function_of_verls_that_is_wrapped_has_its_signature_here(self) -> None:
        calls = [
            node
            for path in (PACKAGE / "bridge").rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "apply_once"
        ]
        wrapped = {ast.literal_eval(call.args[1]) for call in calls if ast.unparse(call.args[0]) != "ray"}
        assert wrapped == wrapped & {re.split("[:.]", place)[-1] for place in SIGNATURES}

    def test_an_estimator_is_called_with_what_ours_takes(self) -> None:
        for argument in ('"token_level_rewards"', '"response_mask"', '"config"', 'adv_kwargs["index"]'):
            check_source("verl.trainer.ppo.ray_trainer:compute_advantage", argument)

    def test_the_methods_are_wrapped_once(self) -> None:
        from verl.trainer.ppo.v1.trainer_base import PPOTrainer

        for name in ("fit", "step", "_save_checkpoint", "_compute_advantage", "_val_metrics_update"):
            method = getattr(PPOTrainer, name)
            assert method._verl_stepgrpo
            assert not getattr(method.__wrapped__, "_verl_stepgrpo", False)

    def test_no_trainer_mode_overrides_them(self) -> None:
        from verl.trainer.ppo.v1 import trainer_base

        for mode in ("sync", "colocate_async", "separate_async"):
            trainer = trainer_base.get_trainer_cls(mode)
            wrapped = {"step", "_save_checkpoint", "_compute_advantage", "_val_metrics_update"}
            overridden = wrapped & set(vars(trainer))
            assert not overridden, f"{trainer.__name__} has its own {overridden}, past the plugin's wrap"

    def test_every_agent_loop_is_scored_in_the_method_that_is_wrapped(self) -> None:
        from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
        from verl.trainer.ppo.v1 import agent_loop_tq

        method = AgentLoopWorker._compute_score
        assert method._verl_stepgrpo
        check_source(method, '"tool_extra_fields": np.array([o.extra_fields for o in outputs]')
        check_source(method, '"response_len"')
        for module in (inspect.getmodule(AgentLoopWorker), agent_loop_tq):
            check_source(module, "await self._compute_score(")

    def test_a_response_keeps_the_mask_of_its_agent_loop_beside_the_one_that_verl_rewrites(self) -> None:
        from verl.trainer.ppo.v1 import agent_loop_tq

        check_source(agent_loop_tq, 'field["loss_mask"] = field["response_mask"]')

    def test_the_sampler_waits_in_the_method_that_is_guarded(self) -> None:
        for name in ("ReplayBuffer.sample", "ReplayBufferAsync.wait_for_sampleable"):
            check_source(f"{BUFFER}:{name}", "self._wait_for_next_poll(")

    def test_each_poll_of_a_sampler_passes_the_method_that_counts(self) -> None:
        in_order = (
            "while True:",
            "self._sync_metadata_from_transfer_queue()",
            "_evict_terminal",
            "refill_fn(",
        )
        for name in ("ReplayBuffer.sample", "ReplayBufferAsync.wait_for_sampleable"):
            check_source(f"{BUFFER}:{name}", *in_order)

    def test_the_driver_validates_before_ray_starts(self) -> None:
        check_source("verl.trainer.main_ppo:main", "validate_config(", "run_ppo(")

    def test_padding_rows_are_named_as_expected(self) -> None:
        check_source("verl.trainer.ppo.padding_utils:upsample_batch_to_divisible_size", 'f"pad{uuid')

    def test_verls_own_validation_skips_the_trace_string(self) -> None:
        from verl.trainer.ppo.metric_utils import process_validation_metrics

        infos = {"reward": [1.0, 0.0], "acc": [1.0, 0.0], "stepgrpo_trace": ["{}", "{}"]}
        metrics = process_validation_metrics(["d", "d"], ["a", "b"], infos)
        assert set(metrics["d"]) == {"reward", "acc"}


class TestWhatIsSaidOfAnotherVerl:
    """Each message names the place in verl, both versions of it, and who builds on it."""

    FIT = f"{TRAINER}.fit"

    def test_a_signature_that_changed_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        trainer = find(TRAINER)
        monkeypatch.setattr(trainer, "fit", lambda self, manager, resume=None: None)
        said = (
            f"{TRAINER.replace(':', '.')}.fit of verl {installed_version('verl')} takes (self, manager, resume); "
            "verl_stepgrpo/bridge/hooks/trainer_hooks.py builds on (self, agent_loop_manager)"
        )
        with pytest.raises(AssertionError, match=re.escape(said)):
            check_signature(self.FIT, SIGNATURES[self.FIT])
        monkeypatch.setattr(trainer, "fit", lambda self, agent_loop_manager, resume=None: None)
        with pytest.raises(AssertionError, match=r"takes .self, agent_loop_manager, resume.;"):
            check_signature(self.FIT, SIGNATURES[self.FIT])

    def test_another_parameter_behind_those_that_are_used_is_no_change(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(find(TRAINER), "step", lambda self, metrics, more: None)
        check_signature(f"{TRAINER}.step", SIGNATURES[f"{TRAINER}.step"])

    def test_what_is_gone_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(find(TRAINER), "fit")
        with pytest.raises(
            AssertionError, match=r"trainer_base\.PPOTrainer\.fit of verl [\d.]+ is gone: .*'fit'"
        ):
            check_signature(self.FIT, SIGNATURES[self.FIT])
        with pytest.raises(AssertionError, match=r"verl\.no_such\.fit of verl .* is gone: No module named"):
            find("verl.no_such:fit")

    def test_a_source_that_changed_is_named_with_the_piece(self) -> None:
        place = r"verl\.trainer\.main_ppo\.main of verl [\d.]+"
        with pytest.raises(AssertionError, match=f"{place} has no 'no_such\\(' any more"):
            check_source("verl.trainer.main_ppo:main", "run_ppo(", "no_such(")
        with pytest.raises(AssertionError, match=f"{place} has 'validate_config\\(' in another order"):
            check_source("verl.trainer.main_ppo:main", "run_ppo(", "validate_config(")
