"""Rules of who pays and who makes advantages of it."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig

from verl_stepgrpo.bridge.asked import ESTIMATOR, FUNCTION, MANAGER, MODULE, SOURCE
from verl_stepgrpo.bridge.checks.own_files import imports_package
from verl_stepgrpo.bridge.checks.rules.rule import Rule, clash
from verl_stepgrpo.bridge.checks.run import Manager, Run
from verl_stepgrpo.settings import NAME, NODE

VERLS_GRPO = ("grpo", "grpo_vectorized")
"""verl's names of the advantage that ``stepgrpo`` gives by default."""

FAIL_ON_V1 = ("gdpo", "remax", "optimal_token_baseline", "tir_optimal_token_baseline")
"""Estimators that need what verl 0.9.1's v1 trainer does not hand them; each ends the run in its first step."""

REWARD_MODEL = "reward.reward_model.enable"
OLD_GROUPS = ("reward_model", "custom_reward_function", "sandbox_fusion")
"""Groups of older versions, which verl 0.9.1 still composes."""


def _fails_on_v1(run: Run) -> bool:
    return run.uses_v1 and run.value(ESTIMATOR) in FAIL_ON_V1


def pays_verls_grpo(run: Run) -> bool:
    """Return whether verl's own GRPO would train on this manager's rewards, which is refused."""
    return run.pays and run.value(ESTIMATOR) in VERLS_GRPO


def _pays_another_estimator(run: Run) -> bool:
    said_elsewhere = pays_verls_grpo(run) or _fails_on_v1(run)
    return run.pays and not run.estimates and not said_elsewhere


def _verl_pays(run: Run) -> bool:
    return run.estimates and run.manager is Manager.VERLS and not run.value(FUNCTION)


def _unknown_who_pays(run: Run) -> list[str]:
    function = run.value(FUNCTION)
    known = run.may_pay or _verl_pays(run) or (function and imports_package(str(function)))
    if not run.estimates or known:
        return []
    keys = [*([FUNCTION] if function else []), MANAGER, *([MODULE] if run.manager is Manager.UNKNOWN else [])]
    return [run.said(key) for key in keys]


def _nothing_is_used(run: Run) -> bool:
    return run.value(NODE) is not None and not run.estimates and not run.may_pay


def _reward_model_pays(run: Run) -> bool:
    return run.pays and bool(run.value(REWARD_MODEL)) and not run.value(FUNCTION)


def _old_keys(run: Run) -> list[str]:
    nodes = {group: run.value(group) for group in OLD_GROUPS}
    return [fact for group, node in nodes.items() if node is not None for fact in _set_in(node, group)]


def _set_in(node: DictConfig, prefix: str) -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, DictConfig):
            yield from _set_in(value, f"{prefix}.{key}")
        elif value is not None:
            yield f"{prefix}.{key}={value}"


RULES = (
    Rule(
        when=f"`{ESTIMATOR}=grpo` or `grpo_vectorized` beside the manager `{NAME}`",
        why="verl's GRPO would train on StepGRPO's rewards, without the traces, curves, guards and limits of StepGRPO",
        remedy=f"Take {ESTIMATOR} off the command line where +stepgrpo=... is on it, or set it to {NAME}, whose "
        "advantages are GRPO's by default",
        facts=clash(pays_verls_grpo, ESTIMATOR, MANAGER),
    ),
    Rule(
        when=f"another `{ESTIMATOR}` beside the manager `{NAME}`",
        why="THE ADVANTAGES ARE NOT StepGRPO's; there are no traces, no curves of stepgrpo/, no watch on the workers "
        "and no limit on missing sessions",
        remedy=f"Set {ESTIMATOR}={NAME}, unless that is meant",
        facts=clash(_pays_another_estimator, ESTIMATOR, MANAGER),
        refused=False,
    ),
    Rule(
        when=f"`{ESTIMATOR}={NAME}` beside a manager of verl's, and no reward function",
        why="NO STEP-WISE REWARD IS IN USE, and this is plain GRPO on that manager's reward",
        remedy=f"Set {MANAGER}={NAME} for StepRAR and StepRVR, unless that is meant",
        facts=clash(_verl_pays, ESTIMATOR, MANAGER),
        refused=False,
    ),
    Rule(
        when=f"`{ESTIMATOR}={NAME}` beside a reward function or a manager of one's own, whose file does not import "
        "`verl_stepgrpo`",
        why="DOES THIS PAY FOR STEPS? Its file does not import verl_stepgrpo; if nothing that it calls does, this is "
        "plain GRPO on its reward",
        remedy=f"Call verl_stepgrpo.compute_score in it, or set {MANAGER}={NAME} and no function, unless that is meant",
        facts=_unknown_who_pays,
        refused=False,
    ),
    Rule(
        when=f"`{NODE}` without the estimator and without the manager `{NAME}`",
        why=f"NOTHING OF StepGRPO IS IN USE, and nobody reads {NODE}",
        remedy=f"Take both off the command line where +stepgrpo=... is on it, or set both to {NAME}, unless that is "
        "meant",
        facts=clash(_nothing_is_used, ESTIMATOR, MANAGER),
        refused=False,
    ),
    Rule(
        when=f"`{SOURCE}=importlib` with `{MANAGER}={NAME}`, and a class that is no `StepGRPORewardManager`",
        why="there this name means a class of that file, which is neither StepGRPORewardManager nor a subclass of it",
        remedy=f"Take {SOURCE} off the command line for this package's, or give the class another name",
        facts=clash(
            lambda run: run.value(MANAGER) == NAME and not run.may_pay,
            MANAGER,
            SOURCE,
            MODULE,
        ),
    ),
    Rule(
        when=f"`{REWARD_MODEL}=True` beside the manager `{NAME}`, and no `{FUNCTION}`",
        why="verl would pay the reward model's score and never call the manager",
        remedy=f"Set {REWARD_MODEL}=False, or a {FUNCTION} that asks the model (docs/own-parts.md)",
        facts=clash(_reward_model_pays, REWARD_MODEL, MANAGER),
    ),
    Rule(
        when=f"a key of verl's old groups {', '.join(f'`{group}`' for group in OLD_GROUPS)}",
        why="verl 0.9.1 composes this key of older versions and does not read it",
        remedy="Leave it out, or set its place today: reward.reward_manager.name, reward.custom_reward_function.path, "
        "reward.reward_model.enable and so on",
        facts=_old_keys,
    ),
    Rule(
        when=f"`{ESTIMATOR}` is {', '.join(f'`{name}`' for name in FAIL_ON_V1)} on verl's v1 trainer",
        why="verl 0.9.1's v1 trainer does not hand this estimator what it needs, and the run would end in its first "
        "step",
        remedy=f"Set {ESTIMATOR}={NAME}",
        facts=clash(_fails_on_v1, ESTIMATOR, "trainer.use_v1"),
    ),
)
