"""Settings that make a run another one than it reads: each composed as the stock command composes it, and checked."""

from __future__ import annotations

import ast
import functools
import inspect
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from verl_stepgrpo import ConfigError
from verl_stepgrpo.bridge.checks import preflight
from verl_stepgrpo.bridge.checks.preflight import WRONG_MAY_BE_PAID_MORE
from verl_stepgrpo.bridge.checks.rules import RULES, rewards, settings
from verl_stepgrpo.bridge.checks.run import DEFAULTS, Run
from verl_stepgrpo.bridge.checks.trace_folder import has_scheme

ROOT = Path(__file__).resolve().parents[1]
RECIPES = sorted(path.parent.name for path in (ROOT / "recipes").glob("*/train.sh"))

PAPER = "+stepgrpo=paper"
GRPO = "algorithm.adv_estimator=grpo"
RLOO = "algorithm.adv_estimator=rloo"
OURS = "reward.reward_manager.name=stepgrpo"
NAIVE = "reward.reward_manager.name=naive"
FUNCTION = "reward.custom_reward_function.path=own.py"
IMPORTLIB = "reward.reward_manager.source=importlib"
MODULE = "reward.reward_manager.module.path=manager.py"
NO_STD = "algorithm.norm_adv_by_std_in_grpo=False"
V0 = "trainer.use_v1=False"
ROLLOUT = "actor_rollout_ref.rollout"
ASYNC = "trainer.v1.trainer_mode=separate_async"

WRAPPER = "def compute_score(*args):\n    from verl_stepgrpo import compute_score\n    return compute_score(*args)\n"
PLAIN = "from math import inf\n\ndef compute_score(*args, **named):\n    return 1.0\n"
SUBCLASS = """
from verl_stepgrpo.bridge.reward_manager import StepGRPORewardManager

class Own(StepGRPORewardManager):
    pass

class stepgrpo(StepGRPORewardManager):
    pass
"""
UNKNOWN = """
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

class Own(RewardManagerBase):
    async def run_single(self, data):
        return {"reward_score": 1.0}
"""
COMPOSED = UNKNOWN.replace("return {", "from verl_stepgrpo import score_response\n        return {")
ARCHIVE = "PK\x05\x06" + "\0" * 18
"""A ZIP archive without a member, as far as whoever looks for its directory can tell."""
FOREIGN = "from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager as stepgrpo\n"


@dataclass(frozen=True)
class Case:
    """A command line, the files of its working directory, and the facts of each message."""

    overrides: tuple[str, ...]
    refused: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    files: tuple[tuple[str, str], ...] = ()


def node(setting: str) -> str:
    return f"algorithm.stepgrpo.{setting}"


CASES = {
    "verl's GRPO, with the group": Case((PAPER, GRPO), refused=(f"{GRPO} and {OURS}",)),
    "verl's GRPO, without": Case(
        (OURS, "algorithm.adv_estimator=grpo_vectorized", f"{ROLLOUT}.n=4"),
        refused=(f"algorithm.adv_estimator=grpo_vectorized and {OURS}",),
    ),
    "another estimator": Case((PAPER, RLOO), warned=(f"{RLOO} and {OURS}",)),
    "no step-wise reward": Case((PAPER, NAIVE), warned=(f"algorithm.adv_estimator=stepgrpo and {NAIVE}",)),
    "a function of something else": Case(
        (PAPER, NAIVE, FUNCTION), warned=(f"{FUNCTION} and {NAIVE}",), files=(("own.py", PLAIN),)
    ),
    "a function that cannot be read": Case((PAPER, NAIVE, FUNCTION), warned=(f"{FUNCTION} and {NAIVE}",)),
    "a manager of one's own of something else": Case(
        (PAPER, IMPORTLIB, MODULE, "reward.reward_manager.name=Own"),
        warned=(f"reward.reward_manager.name=Own and {MODULE}",),
        files=(("manager.py", UNKNOWN),),
    ),
    "neither": Case((PAPER, GRPO, NAIVE), warned=(f"{GRPO} and {NAIVE}",)),
    "another class of the name": Case(
        (PAPER, IMPORTLIB, MODULE),
        refused=(f"{OURS} and {IMPORTLIB} and {MODULE}",),
        warned=(f"algorithm.adv_estimator=stepgrpo and {OURS}",),
        files=(("manager.py", FOREIGN),),
    ),
    "a function beside the manager, without a weight": Case(
        (PAPER, FUNCTION),
        refused=(f"{FUNCTION} and {node('extra_weights=null')}",),
        files=(("own.py", PLAIN),),
    ),
    "a weight for a ready part, and a function that nobody calls": Case(
        (PAPER, FUNCTION, node("extra_weights={repetition:1}")),
        refused=(f"{FUNCTION} and {node('extra_weights=')}{{{{repetition:1}}}}",),
        files=(("own.py", PLAIN),),
    ),
    "a weight without a function": Case(
        (PAPER, node("extra_weights={brief:0.1,overlong:1}")),
        refused=(f"{node('extra_weights.brief=0.1')} and {FUNCTION.split('=')[0]}=null",),
    ),
    "a buffer for a part that is not paid": Case(
        (PAPER, node("overlong_buffer=0.5")),
        refused=(f"{node('overlong_buffer=0.5')} and {node('extra_weights.overlong=null')}",),
    ),
    "weights of parts where another manager pays": Case(
        (PAPER, NAIVE, node("extra_weights={repetition:1}")),
        refused=(f"{node('extra_weights=')}{{{{repetition:1}}}} and {NAIVE}",),
        warned=(f"algorithm.adv_estimator=stepgrpo and {NAIVE}",),
    ),
    "a reward model": Case(
        (PAPER, "reward.reward_model.enable=True"), refused=(f"reward.reward_model.enable=True and {OURS}",)
    ),
    "old keys": Case(
        (PAPER, "custom_reward_function.path=own.py", "reward_model.reward_manager=dapo"),
        refused=("reward_model.reward_manager=dapo and custom_reward_function.path=own.py",),
    ),
    "the manager by its old key": Case(
        ("reward_model.reward_manager=stepgrpo", "algorithm.adv_estimator=gae"),
        refused=("reward_model.reward_manager=stepgrpo",),
    ),
    **{
        f"{name} on v1": Case(
            (PAPER, f"algorithm.adv_estimator={name}"),
            refused=(f"algorithm.adv_estimator={name} and trainer.use_v1=True",),
        )
        for name in rewards.FAIL_ON_V1
    },
    "a setting that needs the manager": Case(
        (PAPER, NAIVE, node("alpha=0.2")),
        refused=(f"{node('alpha=0.2')} and {NAIVE}",),
        warned=(f"algorithm.adv_estimator=stepgrpo and {NAIVE}",),
    ),
    "rvr_weight": Case(
        (PAPER, NAIVE, FUNCTION, node("rvr_weight=0.5")),
        refused=(f"{node('rvr_weight=0.5')} and {NAIVE}",),
        files=(("own.py", WRAPPER),),
    ),
    "match_threshold": Case(
        (PAPER, NAIVE, FUNCTION, node("match_threshold=1")),
        refused=(f"{node('match_threshold=1')} and {NAIVE}",),
        files=(("own.py", WRAPPER),),
    ),
    "answer_tolerance": Case(
        (PAPER, NAIVE, FUNCTION, node("answer_tolerance=0.01")),
        refused=(f"{node('answer_tolerance=0.01')} and {NAIVE}",),
        files=(("own.py", WRAPPER),),
    ),
    "format": Case(
        (PAPER, NAIVE, FUNCTION, node("format=think")),
        refused=(f"{node('format=think')} and {NAIVE}",),
        files=(("own.py", WRAPPER),),
    ),
    "draft": Case(
        (PAPER, NAIVE, FUNCTION, node("draft=judged")),
        refused=(f"{node('draft=judged')} and {NAIVE}",),
        files=(("own.py", WRAPPER),),
    ),
    "true_steps": Case(
        (PAPER, NAIVE, FUNCTION, node("true_steps=True")),
        refused=(f"{node('true_steps=True')} and {NAIVE}",),
        files=(("own.py", WRAPPER),),
    ),
    "image_description": Case(
        (PAPER, NAIVE, FUNCTION, node("image_description=optional")),
        refused=(f"{node('image_description=optional')} and {NAIVE}",),
        files=(("own.py", WRAPPER),),
    ),
    "credit": Case((PAPER, V0, node("credit=step")), refused=(f"{node('credit=step')} and {V0}",)),
    "outcome_gate": Case(
        (PAPER, NAIVE, FUNCTION, node("outcome_gate=0.5")),
        refused=(f"{node('outcome_gate=0.5')} and {NAIVE}",),
        files=(("own.py", WRAPPER),),
    ),
    "std_floor, by another estimator": Case(
        (PAPER, RLOO, node("std_floor=0.5")),
        refused=(f"{node('std_floor=0.5')} and {RLOO}",),
        warned=(f"{RLOO} and {OURS}",),
    ),
    "combine, of a script's estimator": Case(
        (PAPER, GRPO, node("combine=component")),
        refused=(f"{GRPO} and {OURS}",),  # once, since its remedy mends the other, too
    ),
    "combine, of the old trainer": Case(
        (PAPER, V0, node("combine=component")), refused=(f"{node('combine=component')} and {V0}",)
    ),
    "process_weight, of a sum": Case(
        (PAPER, node("process_weight=1.0")),
        refused=(f"{node('process_weight=1.0')} and {node('combine=sum')}",),
    ),
    "value_lambda, of a trajectory": Case(
        (PAPER, node("value_lambda=0.5")),
        refused=(f"{node('value_lambda=0.5')} and {node('credit=trajectory')}",),
    ),
    "components without the KL in the reward": Case(
        (PAPER, "algorithm.use_kl_in_reward=True", node("combine=answer_first"), node("std_floor=0.1")),
        refused=(f"{node('combine=answer_first')} and algorithm.use_kl_in_reward=True",),
    ),
    "components without a part of one's own": Case(
        (PAPER, IMPORTLIB, MODULE, "reward.reward_manager.name=Own", node("combine=component")),
        refused=(f"{node('combine=component')} and reward.reward_manager.name=Own",),
        files=(("manager.py", SUBCLASS),),
    ),
    "states in groups of two": Case(
        (PAPER, "actor_rollout_ref.rollout.n=2", node("credit=value")),
        refused=(f"{node('credit=value')} and actor_rollout_ref.rollout.n=2",),
    ),
    "std_floor, without a std": Case(
        (PAPER, NO_STD, node("std_floor=0.5")), refused=(f"{node('std_floor=0.5')} and {NO_STD}",)
    ),
    "trace_dir, of a script's estimator": Case(
        (PAPER, GRPO, node("trace_dir=traces")),
        refused=(f"{GRPO} and {OURS}",),
    ),
    "trace_dir, of a function": Case(
        (PAPER, NAIVE, FUNCTION, node("trace_dir=traces")),
        refused=(f"{node('trace_dir=traces')} and {NAIVE}",),
        files=(("own.py", WRAPPER),),
    ),
    "trace_dir, of the old trainer": Case(
        (PAPER, V0, node("trace_dir=traces")), refused=(f"{node('trace_dir=traces')} and {V0}",)
    ),
    "a share of no traces": Case(
        (PAPER, node("trace_share=0.5")),
        refused=(f"{node('trace_share=0.5')} and {node('trace_dir=null')}",),
    ),
    "max_missing_sessions": Case(
        (PAPER, V0, node("max_missing_sessions=0.1")),
        refused=(f"{node('max_missing_sessions=0.1')} and {V0}",),
    ),
    "mode, of nobody": Case(
        (PAPER, RLOO, NAIVE, node("mode=reference")),
        refused=(
            f"{node('mode=reference')} and {NAIVE} and {RLOO} and algorithm.norm_adv_by_std_in_grpo=True",
        ),
        warned=(f"{RLOO} and {NAIVE}",),
    ),
    "mode, its epsilon": Case(
        (PAPER, NO_STD, node("mode=reference")),
        warned=(f"{node('mode=reference')} and algorithm.adv_estimator=stepgrpo and {NO_STD}",),
    ),
    "mode, its scores": Case(
        (PAPER, NAIVE, FUNCTION, node("mode=reference")),
        warned=(f"{node('mode=reference')} and {NAIVE}",),
        files=(("own.py", WRAPPER),),
    ),
    "trace_dir on another system": Case(
        (PAPER, node("trace_dir=s3://bucket/x")), refused=(node("trace_dir=s3://bucket/x"),)
    ),
    "traces of another run": Case(
        (PAPER, node("trace_dir=traces")),
        warned=(f"{node('trace_dir=traces')} holds steps 0 to 12, and the run goes on from step 0",),
        files=(("traces/train/step-000012.jsonl", ""), ("traces/val/step-000000.jsonl", "")),
    ),
    "traces of an attempt that went further": Case(
        (PAPER, node("trace_dir=traces"), "trainer.default_local_dir=ckpt"),
        warned=(f"{node('trace_dir=traces')} holds step 6, and the run goes on from step 5",),
        files=(
            ("ckpt/latest_checkpointed_iteration.txt", "5"),
            ("ckpt/global_step_5/actor/weights.distcp", "x"),
            ("ckpt/global_step_5/data.pt", ARCHIVE),
            *((f"traces/train/step-{step:06d}.jsonl", "") for step in range(1, 7)),
        ),
    ),
    "a group of one": Case((PAPER, f"{ROLLOUT}.n=1"), refused=(f"{ROLLOUT}.n=1",)),
    "a group of none": Case((PAPER, f"{ROLLOUT}.n=0"), refused=(f"{ROLLOUT}.n=0",)),
    "a group of one, whoever estimates": Case(
        (OURS, RLOO), refused=(f"{ROLLOUT}.n=1",), warned=(f"{RLOO} and {OURS}",)
    ),
    "KL in the reward": Case(
        (PAPER, "algorithm.use_kl_in_reward=True"), warned=("algorithm.use_kl_in_reward=True",)
    ),
    "the same validation four times": Case(
        (PAPER, f"{ROLLOUT}.val_kwargs.n=4", f"{ROLLOUT}.val_kwargs.do_sample=True"),
        warned=(f"{ROLLOUT}.val_kwargs.n=4 and {ROLLOUT}.val_kwargs.temperature=0",),
    ),
    "separate_async, as the group is": Case(
        (PAPER, ASYNC, f"{ROLLOUT}.n_gpus_per_node=0"),
        refused=(
            f"data.train_batch_size=4 (not 4 * 4) and {ROLLOUT}.nnodes=0 and {ROLLOUT}.n_gpus_per_node=0 and "
            f"{ROLLOUT}.checkpoint_engine.backend=naive",
        ),
    ),
    "micro batches larger than what a worker is handed": Case(
        (
            "+stepgrpo=[digits_cpu,separate_async_cpu]",
            "actor_rollout_ref.actor.ppo_mini_batch_size=4",
            "data.train_batch_size=8",
        ),
        refused=(
            "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=64 (of 32) and "
            f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu=64 (of 32) and "
            "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu=64 (of 32)",
        ),
    ),
    "no hybrid engine": Case(
        (
            PAPER,
            ASYNC,
            "data.train_batch_size=16",
            f"{ROLLOUT}.nnodes=1",
            f"{ROLLOUT}.checkpoint_engine.backend=nccl",
            "actor_rollout_ref.hybrid_engine=False",
        ),
        refused=(f"actor_rollout_ref.hybrid_engine=False and {ASYNC}",),
    ),
    "an unknown mode of resuming": Case(
        (PAPER, "trainer.resume_mode=last"),
        refused=("trainer.resume_mode=last and trainer.resume_from_path=null",),
    ),
    "a path that names no step": Case(
        (PAPER, "trainer.resume_mode=resume_path", "trainer.resume_from_path=ckpt/global_step_5/"),
        refused=("trainer.resume_mode=resume_path and trainer.resume_from_path=ckpt/global_step_5/",),
    ),
    "a tracker without a step": Case(
        (PAPER, "trainer.default_local_dir=ckpt", node("trace_dir=traces")),
        refused=(
            "{cwd}/ckpt/latest_checkpointed_iteration.txt is empty, and no whole checkpoint is beside it",
        ),
        files=(
            ("ckpt/latest_checkpointed_iteration.txt", ""),
            ("traces/train/step-000009.jsonl", ""),
            ("ckpt/global_step_10/actor/model.pt", "torn"),
        ),
    ),
    "a path to a torn checkpoint": Case(
        (PAPER, "trainer.resume_mode=resume_path", "trainer.resume_from_path=ckpt/global_step_5"),
        refused=("ckpt/global_step_5 has no data.pt, and no whole checkpoint is beside it",),
        files=(("ckpt/global_step_5/actor/weights.distcp", "x"),),
    ),
    "a checkpoint that verl forgets": Case(
        (PAPER, "trainer.default_local_dir=ckpt"),
        warned=("{cwd}/ckpt has global_step_5 and no latest_checkpointed_iteration.txt",),
        files=(("ckpt/global_step_5/actor/weights.distcp", "x"), ("ckpt/global_step_5/data.pt", ARCHIVE)),
    ),
    "a tracker of a checkpoint that is gone": Case(
        (PAPER, "trainer.default_local_dir=ckpt"),
        refused=(
            "{cwd}/ckpt/latest_checkpointed_iteration.txt names global_step_7, which is not there, and no whole "
            "checkpoint is beside it",
        ),
        files=(("ckpt/latest_checkpointed_iteration.txt", "7\n"),),
    ),
}

SILENT = {
    "the group": Case((PAPER,)),
    **{recipe: Case((f"+stepgrpo={recipe}",)) for recipe in RECIPES},
    "a recipe on a CPU": Case((f"+stepgrpo=[{RECIPES[0]},cpu]",)),
    "the digits": Case(("+stepgrpo=digits_cpu",)),
    "two settings alone": Case((OURS, "algorithm.adv_estimator=stepgrpo", f"{ROLLOUT}.n=4")),
    "a subclass": Case(
        (PAPER, IMPORTLIB, MODULE, "reward.reward_manager.name=Own", node("credit=step"), node("alpha=0.5")),
        files=(("manager.py", SUBCLASS),),
    ),
    "a subclass of the same name": Case((PAPER, IMPORTLIB, MODULE), files=(("manager.py", SUBCLASS),)),
    "a subclass that may call a function": Case(
        (PAPER, IMPORTLIB, MODULE, "reward.reward_manager.name=Own", FUNCTION),
        files=(("manager.py", SUBCLASS), ("own.py", PLAIN)),
    ),
    "a manager that calls ours": Case(
        (PAPER, IMPORTLIB, MODULE, "reward.reward_manager.name=Own", node("alpha=0.5")),
        files=(("manager.py", COMPOSED),),
    ),
    "a function that wraps ours": Case((PAPER, NAIVE, FUNCTION), files=(("own.py", WRAPPER),)),
    "the function of this repository": Case(
        (PAPER, NAIVE, f"reward.custom_reward_function.path={ROOT}/reward_fns/stepgrpo.py")
    ),
    "a function of the reference's rules": Case(
        (
            PAPER,
            NAIVE,
            FUNCTION,
            node("mode=reference"),
            "+reward.custom_reward_function.reward_kwargs.mode=reference",
        ),
        files=(("own.py", WRAPPER),),
    ),
    "validation that samples": Case(
        (PAPER, f"{ROLLOUT}.val_kwargs.n=4", f"{ROLLOUT}.val_kwargs.temperature=0.7")
    ),
    "KL in a reward with a floor": Case((PAPER, "algorithm.use_kl_in_reward=True", node("std_floor=0.2"))),
    "a resumed run in its own folder": Case(
        (PAPER, node("trace_dir=traces"), "trainer.default_local_dir=ckpt"),
        files=(
            ("ckpt/latest_checkpointed_iteration.txt", "5"),
            ("ckpt/global_step_5/actor/weights.distcp", "x"),
            ("ckpt/global_step_5/data.pt", ARCHIVE),
            *((f"traces/train/step-{step:06d}.jsonl", "") for step in range(1, 6)),
        ),
    ),
    "all that separate_async asks": Case(
        (
            PAPER,
            ASYNC,
            "data.train_batch_size=16",
            f"{ROLLOUT}.nnodes=1",
            f"{ROLLOUT}.checkpoint_engine.backend=nccl",
        )
    ),
}


@functools.cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    import verl  # noqa: F401  before Hydra looks for groups

    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=list(overrides))


def composed(*overrides: str) -> DictConfig:
    """Return the configuration of a command line, whose data nobody looks at."""
    return _composed((*overrides, "data.custom_cls.path=own_data.py")).copy()


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def put(*files: tuple[str, str]) -> None:
    for name, text in files:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)


def said(config: DictConfig, caplog: pytest.LogCaptureFixture) -> tuple[list[str], list[str]]:
    """Return what is refused and what is warned of, but for what the paper's weights do."""
    with caplog.at_level(logging.WARNING, "verl_stepgrpo"):
        try:
            preflight.check(config)
        except ConfigError as error:
            return str(error).splitlines(), _warnings(caplog)
    return [], _warnings(caplog)


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.msg != WRONG_MAY_BE_PAID_MORE]


class TestRules:
    @pytest.mark.parametrize("case", CASES.values(), ids=CASES)
    def test_what_clashes_is_named_with_its_values_and_a_remedy(
        self, case: Case, caplog: pytest.LogCaptureFixture
    ) -> None:
        put(*case.files)
        config = composed(*case.overrides)
        remedies = {f"{rule.why}. {rule.remedy}." for rule in RULES if rule.facts(Run.of(config))}
        messages = said(config, caplog)
        for expected, found in zip((case.refused, case.warned), messages, strict=True):
            facts, explained = (
                zip(*(line.split(": ", 1) for line in found), strict=True) if found else ((), ())
            )
            assert sorted(facts) == sorted(fact.format(cwd=Path.cwd()) for fact in expected)
            assert set(explained) <= remedies

    def test_every_rule_has_a_case(self) -> None:
        held: set[int] = set()
        for case in CASES.values():
            put(*case.files)
            run = Run.of(composed(*case.overrides))
            held |= {place for place, rule in enumerate(RULES) if rule.facts(run)}
            for name, _ in case.files:
                Path(name).unlink()
        assert [rule.when for place, rule in enumerate(RULES) if place not in held] == []

    @pytest.mark.parametrize("case", SILENT.values(), ids=SILENT)
    def test_what_is_as_it_reads_is_passed_in_silence(
        self, case: Case, caplog: pytest.LogCaptureFixture
    ) -> None:
        put(*case.files)
        assert said(composed(*case.overrides), caplog) == ([], [])

    def test_the_page_has_every_rule(self) -> None:
        page = (ROOT / "docs" / "settings.md").read_text()
        said = {True: "refused", False: "warned of"}
        rows = [f"| {rule.when} | {said[rule.refused]} | {rule.why} | {rule.remedy} |" for rule in RULES]
        table = "\n".join(["| what is set | | what it would be | what to do |", "|---|---|---|---|", *rows])
        assert page.partition("<!-- rules -->\n")[2].partition("\n<!-- /rules -->")[0] == table

    def test_every_setting_says_what_it_needs(self) -> None:
        assert {*settings.NEEDS, "mode", "other_verl"} == set(DEFAULTS)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((PAPER,), True),
        ((PAPER, node("rvr_weight=0.9")), True),
        ((PAPER, node("rvr_weight=0.5")), False),
        ((PAPER, node("combine=answer_first")), False),
        ((PAPER, node("rvr_weight=0"), node("alpha=1.0")), True),
    ],
)
def test_weights_that_may_pay_a_wrong_answer_more_are_told(
    overrides: tuple[str, ...], expected: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "verl_stepgrpo"):
        preflight.check(composed(*overrides))
    assert any(record.msg == WRONG_MAY_BE_PAID_MORE for record in caplog.records) is expected


def test_the_estimators_that_fail_on_the_v1_trainer_are_those_that_are_refused() -> None:
    """Each gets what ``PPOTrainer._compute_advantage`` of verl 0.9.1 fetches, and nothing else."""
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    source = inspect.getsource(inspect.unwrap(PPOTrainer._compute_advantage))
    (fetched,) = re.findall(r"fields = (\[[^\]]*\])", source)[:1]
    fields = [name for name in ast.literal_eval(fetched) if name not in ("uid", "response_mask")]
    names = [str(getattr(name, "value", name)) for name in ADV_ESTIMATOR_REGISTRY]
    assert {name for name in names if not estimates(name, fields)} == set(rewards.FAIL_ON_V1)


def estimates(name: str, fields: list[str]) -> bool:
    """Return whether verl's estimator of this name gives advantages of the rows of two groups with these fields."""
    from verl import DataProto
    from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories

    config = composed(PAPER, "+algorithm.gdpo_reward_keys=[acc]")
    tensors = {key: torch.rand(4, 3) for key in (*fields, "token_level_scores", "token_level_rewards")}
    data = DataProto.from_dict(
        tensors={**tensors, "response_mask": torch.ones(4, 3, dtype=torch.int64)},
        non_tensors={"uid": np.array(["a", "a", "b", "b"], dtype=object)},
    )
    try:
        compute_advantage_for_multi_trajectories(
            data,
            batch_keys=["a_0_0", "a_1_0", "b_0_0", "b_1_0"],
            adv_estimator=name,
            num_repeat=2,
            config=config.algorithm,
        )
    except (AssertionError, KeyError, TypeError):
        return False
    return True


@pytest.mark.parametrize(
    ("trace_dir", "expected"),
    [
        ("hdfs://nn/x", True),
        ("s3://bucket/x", True),
        ("file:///x", True),
        ("traces", False),
        ("/a/b:c", False),
        ("a//b", False),
        ("~/x", False),
    ],
)
def test_a_scheme_is_told_from_a_folder(trace_dir: str, expected: bool) -> None:
    assert has_scheme(trace_dir) is expected
