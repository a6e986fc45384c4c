"""Rules of the node's own settings: what each needs around it to have an effect."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from verl_stepgrpo.bridge.asked import ESTIMATOR, FUNCTION, MANAGER
from verl_stepgrpo.bridge.checks.rules.rewards import pays_verls_grpo
from verl_stepgrpo.bridge.checks.rules.rule import Rule, clash
from verl_stepgrpo.bridge.checks.run import DEFAULTS, Manager, Run
from verl_stepgrpo.parts import OVERLONG, READY
from verl_stepgrpo.settings import EXTRA_WEIGHTS, MIN_GROUP, NAME, NEEDED, NODE

RESPONSES = "actor_rollout_ref.rollout.n"
BY_STD = "algorithm.norm_adv_by_std_in_grpo"
FUNCTION_SETTINGS = "reward.custom_reward_function.reward_kwargs"


@dataclass(frozen=True)
class Need:
    """What a setting needs to have an effect.

    Attributes:
        setting: As it stands on the command line, ``key=value``.
        met: Whether a run has it; the estimator and the manager count by what they are.
    """

    setting: str
    met: Callable[[Run], bool]

    @property
    def key(self) -> str:
        return self.setting.partition("=")[0]


# Where verl's GRPO is refused for itself, what needs the estimator is not refused once more: its remedy mends it, too.
_ESTIMATOR = Need(f"{ESTIMATOR}={NAME}", lambda run: run.estimates or pays_verls_grpo(run))
_MANAGER = Need(f"{MANAGER}={NAME}", lambda run: run.may_pay)
_V1 = Need("trainer.use_v1=True", lambda run: run.uses_v1)
_OVERLONG = Need(
    f"{NODE}.{EXTRA_WEIGHTS}.{OVERLONG}=1", lambda run: OVERLONG in (run.setting(EXTRA_WEIGHTS) or {})
)
_TRACES = Need(f"{NODE}.trace_dir=FOLDER", lambda run: run.setting("trace_dir") is not None)
_STD = Need(f"{BY_STD}=True", lambda run: run.value(BY_STD) is not False)


def _other(key: str) -> Need:
    other, value = NEEDED[key]
    return Need(f"{NODE}.{other}={value}", lambda run: run.setting(other) == value)


NEEDS: Mapping[str, Sequence[Need]] = {
    "alpha": (_MANAGER,),
    "rvr_weight": (_MANAGER,),
    "match_threshold": (_MANAGER,),
    "answer_tolerance": (_MANAGER,),
    "image_description": (_MANAGER,),
    "format": (_MANAGER,),
    "draft": (_MANAGER,),
    "true_steps": (_MANAGER,),
    "extra_weights": (_MANAGER,),
    "combine": (_ESTIMATOR, _MANAGER, _V1),
    "process_weight": (_other("process_weight"),),
    "credit": (_ESTIMATOR, _MANAGER, _V1),
    "value_lambda": (_other("value_lambda"),),
    "outcome_gate": (_ESTIMATOR, _MANAGER, _V1),
    "std_floor": (_ESTIMATOR, _STD),
    "trace_dir": (_ESTIMATOR, _MANAGER, _V1),
    "trace_share": (_TRACES,),
    "max_missing_sessions": (_ESTIMATOR, _V1),
    "overlong_buffer": (_OVERLONG,),
}
"""By key of the node. ``mode`` is not here: it has two halves, and rules of its own. ``other_verl`` needs nothing."""


def _without_effect(key: str, needs: Sequence[Need]) -> Rule:
    default = "null" if DEFAULTS[key] in (None, {}) else DEFAULTS[key]
    elsewhere = (
        f". A reward function gets its settings by {FUNCTION_SETTINGS}" if needs == (_MANAGER,) else ""
    )
    return Rule(
        when=f"`{NODE}.{key}` other than {default}, unless {' and '.join(f'`{need.setting}`' for need in needs)}",
        why="it would have no effect",
        remedy=f"Set {' and '.join(need.setting for need in needs)}, or leave it at {default}{elsewhere}",
        facts=lambda run: _unmet(run, key, needs),
    )


def _unmet(run: Run, key: str, needs: Sequence[Need]) -> list[str]:
    unmet = [run.said(need.key) for need in needs if not need.met(run)]
    return [run.said(f"{NODE}.{key}"), *unmet] if unmet and run.setting(key) != DEFAULTS[key] else []


def _missing_halves(run: Run, n: int) -> list[str]:
    """Return the settings that keep ``n`` halves of ``mode=reference`` from having an effect, if it is as many."""
    scores = run.may_pay or run.value(f"{FUNCTION_SETTINGS}.mode") == "reference"
    if run.setting("mode") != "reference" or scores + run.scales != 2 - n:
        return []
    keys = [f"{NODE}.mode", *([] if scores else [MANAGER]), *([] if run.scales else [ESTIMATOR, BY_STD])]
    return [run.said(key) for key in keys]


def _own_weights(run: Run) -> list[str]:
    return [name for name in run.setting(EXTRA_WEIGHTS) or {} if name not in READY]


def _weights_without_function(run: Run) -> list[str]:
    names = _own_weights(run) if run.pays and not run.value(FUNCTION) else []
    return [
        *(run.said(f"{NODE}.{EXTRA_WEIGHTS}.{name}") for name in names),
        *([run.said(FUNCTION)] if names else []),
    ]


def _function_without_weights(run: Run) -> bool:
    return run.manager is Manager.OURS and bool(run.value(FUNCTION)) and not _own_weights(run)


def _leaves_kl_out(run: Run) -> bool:
    return run.estimates and run.setting("combine") != "sum" and bool(run.value("algorithm.use_kl_in_reward"))


def _leaves_own_part_out(run: Run) -> bool:
    own = run.manager in (Manager.SUBCLASS, Manager.WRAPPER)
    return run.estimates and own and run.setting("combine") == "component"


def _too_few_to_compare_states(run: Run) -> bool:
    n = run.value(RESPONSES)
    return run.estimates and run.setting("credit") == "value" and isinstance(n, int) and n < MIN_GROUP


_PARTS = (
    Rule(
        when=f"a part in `{NODE}.{EXTRA_WEIGHTS}` that is neither {' nor '.join(READY)}, without `{FUNCTION}`",
        why="nothing would give this part",
        remedy=f"Name the file of the function that returns it ({FUNCTION}, docs/own-parts.md), or take the weight out",
        facts=_weights_without_function,
    ),
    Rule(
        when=f"`{FUNCTION}` beside the manager `{NAME}`, and no weight for a part of it in `{NODE}.{EXTRA_WEIGHTS}`",
        why="nothing of what this function returns would be paid or shown",
        remedy=f"Give each part a weight, as {NODE}.{EXTRA_WEIGHTS}={{brief: 0.1}} (docs/own-parts.md; the part of a "
        "function that returns a number is called score), or leave the function out",
        facts=clash(_function_without_weights, FUNCTION, f"{NODE}.{EXTRA_WEIGHTS}"),
    ),
)

_COMPONENTS = (
    Rule(
        when=f"`{NODE}.combine` other than sum with `algorithm.use_kl_in_reward=True`",
        why="advantages would be made of the components of the reward, without the KL penalty in it",
        remedy="Put the penalty into the loss, as the paper (actor_rollout_ref.actor.use_kl_loss=True), or set "
        f"{NODE}.combine=sum",
        facts=clash(_leaves_kl_out, f"{NODE}.combine", "algorithm.use_kl_in_reward"),
    ),
    Rule(
        when=f"`{NODE}.combine=component` with a subclass of the manager `{NAME}`, or one that calls it",
        why="advantages would be made of StepGRPO's components, without what that manager pays beside",
        remedy=f"Set {NODE}.combine to sum or answer_first, or {MANAGER}={NAME} of this package",
        facts=clash(_leaves_own_part_out, f"{NODE}.combine", MANAGER),
    ),
    Rule(
        when=f"`{NODE}.credit=value` with `{RESPONSES}` below {MIN_GROUP}",
        why="what to expect before a step is told by the other responses of the group, and one other says the same "
        "before all steps",
        remedy=f"Set {RESPONSES} to {MIN_GROUP} or more, or {NODE}.credit to trajectory or step",
        facts=clash(_too_few_to_compare_states, f"{NODE}.credit", RESPONSES),
    ),
)

_MODE = (
    Rule(
        when=f"`{NODE}.mode=reference` without the estimator and without the manager `{NAME}`",
        why="it would have no effect",
        remedy=f"Set {ESTIMATOR}={NAME} and {MANAGER}={NAME}, or leave it at paper",
        facts=lambda run: _missing_halves(run, 2),
    ),
    Rule(
        when=f"`{NODE}.mode=reference` without the estimator, without the manager, or with `{BY_STD}=False`",
        why="ONE HALF OF THIS MODE HAS NO EFFECT: the manager scores by its rules, and the estimator adds 1e-4 to the "
        "standard deviation that it divides by",
        remedy=f"Set {ESTIMATOR}={NAME}, {MANAGER}={NAME} and {BY_STD}=True, unless that is meant. A reward function "
        f"gets its mode by {FUNCTION_SETTINGS}",
        facts=lambda run: _missing_halves(run, 1),
        refused=False,
    ),
)

RULES = (*(_without_effect(key, needs) for key, needs in NEEDS.items()), *_MODE, *_PARTS, *_COMPONENTS)
