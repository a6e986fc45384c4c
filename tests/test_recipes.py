"""Every recipe composes, passes verl's own validation and config classes, and (``engine``, ``slow``) starts."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiny_models  # makes examples/digits importable, too
from hand_overs import Held, Weights, answers, furthest, held, loaded
from omegaconf import DictConfig, OmegaConf
from processes import python
from provenance import provenance
from raw_dataset import write_raw_dataset
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel

from verl_stepgrpo.traces.files import read_trace
from verl_stepgrpo.traces.header import weights_of

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "recipes"))

import estimate  # noqa: E402

RECIPES = sorted(path.parent.name for path in (ROOT / "recipes").glob("*/train.sh"))
STAGES = ("warmup", "train", "merge", "eval")
OF_CLUSTERS = {"multi_node": ("slurm.sbatch", "kuberay.yaml")}
"""What starts a recipe by another's scheduler (test_cluster.py composes them)."""


def composed(config: str, *overrides: str) -> DictConfig:
    import verl  # noqa: F401  before Hydra looks for groups
    from hydra import compose, initialize_config_module

    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose(config, overrides=list(overrides))


@functools.cache
def estimates() -> dict[str, estimate.Estimate]:
    return estimate.of_recipes()


def built(config: DictConfig, group: str) -> Any:
    """Build what verl builds of a part of the configuration, interpolations resolved by the whole."""
    from verl.utils.config import omega_conf_to_dataclass

    return omega_conf_to_dataclass(OmegaConf.select(config, group))


def test_there_are_the_recipes_that_the_index_lists() -> None:
    index = (ROOT / "recipes" / "README.md").read_text()
    for folder in (ROOT / "recipes").iterdir():
        assert not folder.is_dir() or f"({folder.name}/README.md)" in index


@pytest.mark.parametrize("recipe", RECIPES)
class TestRecipe:
    def test_it_has_all_its_stages(self, recipe: str) -> None:
        folder = ROOT / "recipes" / recipe
        assert {path.name for path in folder.iterdir()} == {
            "README.md",
            "cpu_run.json",
            *(f"{s}.sh" for s in STAGES),
            *OF_CLUSTERS.get(recipe, ()),
        }

    def test_its_page_says_what_the_run_on_a_cpu_showed(self, recipe: str) -> None:
        folder = ROOT / "recipes" / recipe
        said = " ".join(cpu_run_in_words(json.loads((folder / "cpu_run.json").read_text())).split())
        assert said in " ".join((folder / "README.md").read_text().split())

    def test_its_page_says_what_it_needs_by_the_rule(self, recipe: str) -> None:
        it = estimates()[recipe]
        gpus = "1 GPU" if it.gpus == 1 else f"{it.gpus} GPUs"
        said = f"By the rule of [estimate.py](../estimate.py) a run takes {gpus} of {it.card} GB or more;"
        assert said in " ".join((ROOT / "recipes" / recipe / "README.md").read_text().split())

    def test_rl_passes_verls_own_validation(self, recipe: str) -> None:
        from verl.trainer.config import AlgoConfig
        from verl.trainer.ppo.utils import need_critic, need_reference_policy
        from verl.utils.config import omega_conf_to_dataclass, validate_config

        config = composed("ppo_trainer", f"+stepgrpo={recipe}")
        OmegaConf.set_struct(config, False)
        node = config.algorithm.pop("stepgrpo")
        papers = composed("ppo_trainer", "+stepgrpo=paper").algorithm.stepgrpo
        recommended = composed("ppo_trainer", "+stepgrpo=recommended").algorithm.stepgrpo
        assert node == (papers if recipe.startswith("r1vl") else recommended)
        assert config.algorithm.adv_estimator == config.reward.reward_manager.name == "stepgrpo"
        # Without the node this is verl's own check alone: ours reads the data, which is not here.
        config.algorithm.adv_estimator, config.reward.reward_manager.name = "grpo", "naive"
        assert need_reference_policy(config)
        assert not need_critic(config)
        validate_config(config, use_reference_policy=True, use_critic=False)
        assert isinstance(omega_conf_to_dataclass(config.algorithm, AlgoConfig), AlgoConfig)
        actor, rollout = (built(config, f"actor_rollout_ref.{part}") for part in ("actor", "rollout"))
        assert actor.kl_loss_coef == 0.04
        assert rollout.n >= 4
        # vLLM reserves cache for a sequence of this length; null would be the model's whole context.
        assert rollout.max_model_len == config.data.max_prompt_length + config.data.max_response_length
        # What is left over after a step would go nowhere.
        assert (config.data.train_batch_size * rollout.n) % (
            config.trainer.n_gpus_per_node * config.trainer.nnodes
        ) == 0

    def test_the_warm_up_passes_verls_own_config_classes(self, recipe: str) -> None:
        config = composed("sft_trainer_engine", f"+stepgrpo_warmup={recipe}")
        assert dataclasses.is_dataclass(built(config, "optim"))
        assert dataclasses.is_dataclass(built(config, "engine"))
        assert (
            config.model.path == composed("ppo_trainer", f"+stepgrpo={recipe}").actor_rollout_ref.model.path
        )
        assert "hf_model" in config.checkpoint.save_contents

    def test_its_commands_are_the_documented_ones(self, recipe: str, tmp_path: Path) -> None:
        """Each script calls verl's own program with the recipe's group; a program that only notes its call shows it."""
        calls = tmp_path / "calls"
        for name in ("python", "torchrun", "verl-stepgrpo"):
            program = tmp_path / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f'#!/bin/sh\necho "{name} $*" >> {calls}\n')
            program.chmod(0o755)
        for name in (
            "warmup/latest_checkpointed_iteration.txt",
            "rl/checkpoints/latest_checkpointed_iteration.txt",
        ):
            (tmp_path / "out" / name).parent.mkdir(parents=True)
            (tmp_path / "out" / name).write_text("7")
        for name in ("sft-train", "rl-train", "rl-val"):
            (tmp_path / "prepared").mkdir(exist_ok=True)
            (tmp_path / "prepared" / f"{name}.parquet").touch()
        (tmp_path / "out" / "rl" / "model").mkdir()
        (tmp_path / "out" / "rl" / "model" / "config.json").touch()
        env = os.environ | {
            "PATH": f"{tmp_path}/bin:{os.environ['PATH']}",
            "OUT": str(tmp_path / "out"),
            "N_GPUS": "1",
        }
        for stage in STAGES:
            script = ROOT / "recipes" / recipe / f"{stage}.sh"
            subprocess.run(["bash", str(script), "last=word"], env=env, check=True, cwd=tmp_path)
        warmup, train, merge, evaluate = calls.read_text().splitlines()
        assert f"-m verl.trainer.sft_trainer +stepgrpo_warmup=[{recipe}] " in warmup
        assert train.startswith(f"python -m verl.trainer.main_ppo +stepgrpo=[{recipe}] ")
        assert "warmup/global_step_7/huggingface" in train
        assert merge.startswith("python -m verl.model_merger merge --backend fsdp ")
        assert "rl/checkpoints/global_step_7/actor" in merge
        assert evaluate.startswith("verl-stepgrpo eval prepared/rl-val.parquet --model ")
        assert all(call.endswith(" last=word") for call in (warmup, train, merge, evaluate))


def test_the_longest_sequence_follows_lengths_on_the_command_line() -> None:
    config = composed("ppo_trainer", "+stepgrpo=paper", "data.max_response_length=8192")
    assert built(config, "actor_rollout_ref.rollout").max_model_len == 1024 + 8192
    config = composed("ppo_trainer", "+stepgrpo=qwen3_vl_8b", "actor_rollout_ref.rollout.max_model_len=32768")
    assert built(config, "actor_rollout_ref.rollout").max_model_len == 32768


def test_a_process_that_imports_verl_alone_resolves_the_longest_sequence() -> None:
    """As the one that Ray starts for the trainer, which gets the configuration as it stands and resolves it."""
    told = python(
        "import verl\nfrom omegaconf import OmegaConf\n"
        "print(OmegaConf.create({'n': '${stepgrpo.sum:${a},${b}}', 'a': 2, 'b': 3}).n)"
    )
    assert told.stdout.split() == ["5"], told.stderr


def test_the_smoke_run_composes_for_a_gpu() -> None:
    script = (ROOT / "recipes" / "gpu_smoke" / "run.sh").read_text()
    (groups,) = re.findall(r'"(\+stepgrpo=\[[\w,]+\])"', script)
    config = composed("ppo_trainer", groups)
    assert config.trainer.device == "cuda"
    assert config.actor_rollout_ref.model.use_remove_padding
    assert config.data.train_batch_size * config.actor_rollout_ref.rollout.n == 32 * 8  # as check.py expects
    assert dataclasses.is_dataclass(built(config, "actor_rollout_ref.actor"))


@pytest.mark.parametrize(
    ("stage", "there", "said"),
    [
        ("warmup", [], "verl-stepgrpo prepare writes it"),
        ("train", [], "verl-stepgrpo prepare writes it"),
        (
            "train",
            ["prepared/rl-train.parquet"],
            "Run recipes/r1vl_qwen2vl_2b/warmup.sh first, or name another model: MODEL=...",
        ),
        ("merge", [], "Run recipes/r1vl_qwen2vl_2b/train.sh first"),
        ("eval", ["prepared/rl-val.parquet"], "Run recipes/r1vl_qwen2vl_2b/merge.sh first"),
        ("warmup", ["prepared/sft-train.parquet"], "This machine has no GPU"),
    ],
)
def test_a_stage_before_its_turn_says_what_is_missing(
    tmp_path: Path, stage: str, there: list[str], said: str
) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    script = ROOT / "recipes" / "r1vl_qwen2vl_2b" / f"{stage}.sh"
    env = {key: value for key, value in os.environ.items() if key != "N_GPUS"}
    if stage == "warmup" and there:
        env["N_GPUS"] = "0"
    done = subprocess.run(["bash", str(script)], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode != 0
    assert said in done.stderr


def test_the_table_of_estimates_is_what_the_rule_gives() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "recipes" / "estimate.py")], capture_output=True, text=True, check=True
    )
    page = (ROOT / "recipes" / "README.md").read_text()
    assert re.findall(r"<!-- estimate -->\n(.*?)<!-- /estimate -->", page, re.DOTALL) == [done.stdout]


@pytest.mark.parametrize(("script", "lacking"), [("estimate.py", "verl"), ("fold_adapters.py", "torch")])
def test_outside_the_environment_a_script_says_what_is_missing(script: str, lacking: str) -> None:
    command = [sys.executable, "-I", "-S", str(ROOT / "recipes" / script)]  # without site-packages
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"{lacking} is not installed here. Run this where" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_sequence_of_the_models_context_alone_would_not_fit_an_80_gb_card() -> None:
    """What verl's default asks of the recipe for Qwen3-VL: 36 GiB of cache for one sequence, before a question."""
    group = "+stepgrpo=qwen3_vl_8b"
    context = estimate.estimated(
        composed("ppo_trainer", group, "actor_rollout_ref.rollout.max_model_len=262144")
    )
    assert context.vllm - estimate.estimated(composed("ppo_trainer", group)).vllm > 35
    assert context.card > 80


def test_the_estimate_follows_what_takes_memory() -> None:
    plain = estimate.estimated(composed("ppo_trainer", "+stepgrpo=r1vl_qwen2vl_7b"))
    # Weights and Adam's moments of 8.3e9 parameters on 4 GPUs, and 0.6 of a card for vLLM.
    assert plain.sampling(79) == pytest.approx(8.3e9 * 12 / 4 / 2**30 + 0.6 * 79)
    unfused = composed(
        "ppo_trainer", "+stepgrpo=r1vl_qwen2vl_7b", "actor_rollout_ref.model.use_fused_kernels=False"
    )
    assert estimate.estimated(unfused).update > plain.update + 20
    lora = composed("ppo_trainer", "+stepgrpo=lora_single_gpu")
    state = estimate.estimated(lora).state
    # verl keeps adapters in the type of their base.
    assert built(lora, "actor_rollout_ref.actor.fsdp_config").model_dtype in (None, "fp32")
    assert state == pytest.approx((4 * 3.8e9 + 12 * 119_734_272) / 2**30)


def cpu_run_in_words(facts: dict[str, Any]) -> str:
    """Return what a recipe's page says of its ``cpu_run.json``."""
    steps = "1 step" if facts["steps"] == 1 else f"{facts['steps']} steps"
    return f"""What was run are its stages on the [CPU engine](../../docs/cpu-engine.md) with an untrained tiny model of
its architecture ({facts["architecture"]}, {facts["parameters"] / 1e6:.1f} million parameters), {steps} of
{facts["prompts"]} prompts x {facts["responses"]} responses, in {facts["minutes"]} minutes on
{facts["machine"]["cores"]} cores: the probabilities of the sampled tokens under vLLM and under the actor lie
{facts["difference"]:.0e} apart on average{hand_overs_in_words(facts)} (`bash tests/slow.sh`; [log](cpu_run.json))."""


def hand_overs_in_words(facts: dict[str, Any]) -> str:
    """Return the part about the weights."""
    handed, given = facts["hand_overs"], facts["hand_overs"]["answers"]
    return f""". All weights were compared at each hand-over: those that RL began with lie at most
{handed["warm_up_to_rl"]:.0e} from what the warm-up held, RL moved them by up to {handed["rl_moved"]:.0e}, and the
merged ones lie at most {handed["actor_to_merged"]:.0e} from what the actor held then, rounded as they are written.
`eval` served the merged ones: {given["same"]} of {given["asked"]} greedy answers are what they give elsewhere"""


CPU = {"VERL_PLATFORM": "cpu", "ENGINE": "cpu", "N_GPUS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
LR = 3e-3
"""Of both stages: a step that shows in bfloat16 and in what the model answers."""
FEW = (
    "data.max_response_length=64",
    "trainer.val_before_train=False",
    f"actor_rollout_ref.actor.optim.lr={LR}",
    # An untrained model's answers are all paid 0, which alone would move nothing.
    "actor_rollout_ref.actor.entropy_coeff=0.1",
)


def last_checkpoint(folder: Path) -> Path:
    """Return the folder of the model in a run's only checkpoint."""
    (data,) = folder.rglob("model_world_size_1_rank_0.pt")
    return data.parent


def as_written(actor: Held) -> Weights:
    """Return the actor's weights as its recipe writes them: in bfloat16 by verl's merger, in float32 with adapters."""
    return actor.now if actor.adapters else {n: tensor.bfloat16().float() for n, tensor in actor.now.items()}


class Run:
    """A recipe's scripts, run on the CPU engine in a folder of their own."""

    def __init__(self, recipe: str, folder: Path) -> None:
        self.recipe, self.folder, self.began = recipe, folder, time.monotonic()
        self.env = os.environ | CPU | {"DATA": str(folder / "prepared"), "OUT": str(folder / "out")}
        self.env["PATH"] = f"{Path(sys.executable).parent}:{self.env['PATH']}"

    def __call__(self, *command: str, allowed: tuple[int, ...] = (0,), limit: float = 900) -> str:
        done = subprocess.run(
            command, env=self.env, cwd=self.folder, capture_output=True, text=True, timeout=limit
        )
        assert done.returncode in allowed, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    def record(self, log: str) -> None:
        """Check what the run on the CPU engine showed; with ``RECORD=1`` keep it beside the recipe, for its README."""
        (difference,) = re.findall(r"rollout_probs_diff_mean:([\d.e-]+)", log)[-1:]
        config = AutoConfig.from_pretrained(self.folder / "model")
        rows = read_trace(self.folder / "out" / "rl" / "trace" / "train" / "step-000001.jsonl.gz")
        prompts = len({row.uid for row in rows})
        facts = {
            "architecture": config.architectures[0],
            "parameters": AutoModelForImageTextToText.from_config(config).num_parameters(),
            "steps": len(list((self.folder / "out" / "rl" / "trace" / "train").iterdir())),
            "prompts": prompts,
            "responses": len(rows) // prompts,
            "difference": float(difference),
            "hand_overs": self.hand_overs(log),
            "minutes": round((time.monotonic() - self.began) / 60, 1),
            **provenance(),
        }
        if os.environ.get("RECORD") == "1":
            path = ROOT / "recipes" / self.recipe / "cpu_run.json"
            path.write_text(json.dumps(facts, indent=1) + "\n")
        # In float32 both engines agree to 1e-5. Where vLLM saw noise for its images it was 2e-3 to 2e-2.
        assert float(difference) < 1e-4, "vLLM samples from another model than the one that is trained"

    def cut(self, saved: int, *overrides: str) -> None:
        """Begin the RL stage, and end it as a job's time limit does, as soon as it has saved step ``saved``."""
        script = ROOT / "recipes" / self.recipe / "train.sh"
        tracker = self.folder / "out" / "rl" / "checkpoints" / "latest_checkpointed_iteration.txt"
        begun = subprocess.Popen(
            ["bash", str(script), *overrides], env=self.env, cwd=self.folder, start_new_session=True
        )
        try:
            for _ in range(600):
                assert begun.poll() is None, "the stage ended before it was cut"
                if tracker.exists() and int(tracker.read_text() or 0) >= saved:
                    break
                time.sleep(1)
        finally:
            os.killpg(begun.pid, signal.SIGTERM)
            begun.wait(60)

    def hand_overs(self, log: str) -> dict[str, Any]:
        """Compare all weights wherever one stage gives them to the next; return the largest differences."""
        warmed, actor = (held(last_checkpoint(self.folder / "out" / part)) for part in ("warmup", "rl"))
        # As verl prints its configuration.
        (given,) = set(re.findall(rf"'path': '({re.escape(str(self.folder))}/out/warmup/[^']*)'", log))
        first, merged = (loaded(Path(folder)) for folder in (given, self.folder / "out" / "rl" / "model"))
        start = first.state_dict()
        assert furthest(loaded(self.folder / "model").state_dict(), warmed.now) > 1e-6, (
            "no warm-up took place"
        )
        # What adapters stand on is what RL began with; without them a step has moved each weight by about LR.
        reach = 1e-6 if actor.adapters else 3 * LR
        assert furthest(start, actor.base) < reach, "RL began with other weights than it was given"
        assert all(size > 0 for one in (warmed, actor) for size in one.adapters.values())
        differences = {
            "warm_up_to_rl": furthest(warmed.now, start),
            "rl_moved": furthest(start, actor.now),
            "actor_to_merged": furthest(as_written(actor), merged.state_dict()),
        }
        assert differences["rl_moved"] > 1e-3, "RL moved nothing: what follows would say nothing"
        assert max(differences["warm_up_to_rl"], differences["actor_to_merged"]) < 1e-6
        return differences | {"answers": self.compare_answers(merged)}

    def compare_answers(self, merged: PreTrainedModel) -> dict[str, int]:
        """See that ``eval`` served the merged model's files, and was answered what the merged model answers."""
        folder = self.folder / "out" / "rl"
        options = json.loads((folder / "eval" / "results.json").read_text())["options"]
        assert options["model"] == str(folder / "model")
        assert [tuple(file) for file in options["weights"]] == list(weights_of(str(folder / "model")))
        served = {row.index: row.response for row in read_trace(folder / "eval" / "responses.jsonl")}
        val = self.folder / "prepared" / "rl-val.parquet"
        own = answers(merged, self.folder / "model", val, 64)
        assert all(own.values()), "nothing was written that could be compared"
        same = sum(served[index] == text for index, text in own.items())
        # Rounding may turn one answer, where two tokens are as good as equal.
        assert same >= len(served) - 1
        return {"asked": len(served), "same": same}

    def stage(self, stage: str, *overrides: str) -> str:
        return self("bash", str(ROOT / "recipes" / self.recipe / f"{stage}.sh"), *overrides)

    def warm_up(self, *, steps: int) -> str:
        model = f"model.path={self.folder / 'model'}"
        size = ("data.train_batch_size=8", f"trainer.total_training_steps={steps}", f"optim.lr={LR}")
        return self.stage("warmup", model, *size)

    def evaluate(self) -> str:
        served = "--dtype float32 --enforce-eager --max-model-len 2048 --gpu-memory-utilization 0.1"
        return self.stage("eval", "--max-tokens", "64", "--vllm-args", served)

    def prepare(self, model: Path) -> str:
        """Raw JSON to key steps, to checked parquet."""
        raw = write_raw_dataset(self.folder / "raw")
        keyed = str(self.folder / "keyed.jsonl")
        # Status 1: there are rows that the rules find no key step in.
        self("verl-stepgrpo", "key-steps", str(raw), "--out", keyed, "--rules", allowed=(1,))
        limits = ("--model", str(model), "--max-prompt-length", "1024", "--max-pixels", "12544")
        where = ("--image-root", str(raw.parent / "images"), "--out", "prepared", "--val-share", "0.3")
        return self("verl-stepgrpo", "prepare", keyed, *where, *limits)


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    recipe, architecture = request.param
    tiny_models.build(architecture, tmp_path / "model")
    return Run(recipe, tmp_path)


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.parametrize("run", [("r1vl_qwen2vl_2b", "Qwen2VL")], indirect=True, ids=lambda pair: pair[0])
def test_raw_data_becomes_an_evaluated_checkpoint(run: Run) -> None:
    """The whole path, with the commands of the recipes: raw JSON, key steps, parquet, warm-up, RL, merge, eval."""
    model = run.folder / "model"
    printed = run.prepare(model)
    assert re.search(r"\b1 dropped  image:", printed)
    report = json.loads((run.folder / "prepared" / "report.json").read_text())
    written = report["written"]
    assert written["rl-train"] == written["sft-train"] >= 16
    assert report["key_steps"]["kept"] >= written["rl-train"]
    # Status 1: two of the rows are small images, and digits' sums repeat.
    run("verl-stepgrpo", "lint", "prepared/rl-train.parquet", "--model", str(model), allowed=(0, 1))

    warm = run.warm_up(steps=4)
    assert "train/loss" in warm
    steps = ("trainer.total_training_steps=2", "trainer.save_freq=2", "trainer.test_freq=2")
    log = run.stage("train", *steps, *FEW)
    for curve in ("acc", "step_rar", "step_rvr", "decoy_match"):
        assert len(re.findall(rf"stepgrpo/{curve}/mean:", log)) == 2
    run.stage("merge")
    evaluated = run.evaluate()
    run.record(log)
    assert f"{written['rl-val']} rows, {written['rl-val']} responses" in evaluated

    results = json.loads((run.folder / "out" / "rl" / "eval" / "results.json").read_text())
    assert results["failed"] == 0
    # The same rows under the same weights: what verl's validation saw at the end, the merged model answers too.
    trained = {
        r.index: r for r in read_trace(run.folder / "out" / "rl" / "trace" / "val" / "step-000002.jsonl.gz")
    }
    merged = {r.index: r for r in read_trace(run.folder / "out" / "rl" / "eval" / "responses.jsonl")}
    assert trained.keys() == merged.keys()
    assert [trained[i].prompt for i in trained] == [merged[i].prompt for i in trained]


@pytest.mark.slow
@pytest.mark.parametrize(
    "run",
    [
        ("r1vl_qwen2vl_7b", "Qwen2VL"),
        ("qwen2_5_vl_7b", "Qwen2_5_VL"),
        ("qwen3_vl_8b", "Qwen3VL"),
        ("lora_single_gpu", "Qwen2_5_VL"),
        ("multi_node", "Qwen2_5_VL"),
    ],
    indirect=True,
    ids=lambda pair: pair[0],
)
def test_a_recipes_stages_run_with_a_tiny_model_of_its_architecture(run: Run) -> None:
    model = run.folder / "model"
    run.prepare(model)
    run.warm_up(steps=1)
    small = ("data.train_batch_size=4", "actor_rollout_ref.actor.ppo_mini_batch_size=4")
    # In the second step vLLM has what the first one changed, adapters too.
    steps = ("trainer.total_training_steps=2", "trainer.save_freq=2", "trainer.test_freq=-1")
    log = run.stage("train", *steps, *small, *FEW)
    assert "step:2 - " in log
    assert "stepgrpo/step_rar/mean:" in log
    run.stage("merge")
    run.evaluate()
    run.record(log)


@pytest.mark.slow
@pytest.mark.parametrize("run", [("lora_single_gpu", "Qwen2VL")], indirect=True, ids=["cut"])
def test_a_stage_that_was_cut_goes_on_from_its_last_checkpoint(run: Run) -> None:
    run.prepare(run.folder / "model")
    run.warm_up(steps=1)
    small = ("data.train_batch_size=4", "actor_rollout_ref.actor.ppo_mini_batch_size=4", *FEW)
    steps = ("trainer.total_training_steps=8", "trainer.total_epochs=2", "trainer.save_freq=1")
    run.cut(2, *steps, "trainer.test_freq=-1", *small)
    log = run.stage("train", *steps, "trainer.test_freq=-1", *small)
    trained = [int(step) for step in re.findall(r"\bstep:(\d+) - ", log)]
    # Its workers may have saved one more step after the driver was ended.
    saved = trained[0] - 1
    assert 2 <= saved < 8
    assert trained == list(range(saved + 1, 9))
    checkpoints = run.folder / "out" / "rl" / "checkpoints"
    traced = sorted(path.name for path in (run.folder / "out" / "rl" / "trace" / "train").iterdir())
    assert traced == [f"step-{step:06d}.jsonl.gz" for step in range(1, 9)]
    # The adapters went on, and count once.
    run.stage("merge")
    actor = held(checkpoints / "global_step_8" / "actor")
    assert all(actor.adapters.values())
    merged = loaded(run.folder / "out" / "rl" / "model").state_dict()
    assert furthest(actor.now, merged) < 1e-6
    before = held(checkpoints / f"global_step_{saved}" / "actor")
    assert furthest(before.base, actor.base) < 1e-6 < furthest(before.now, actor.now)
