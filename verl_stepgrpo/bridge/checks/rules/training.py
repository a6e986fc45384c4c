"""Rules of verl's own settings that a run with StepGRPO depends on: groups, validation, trainer modes, resuming."""

from __future__ import annotations

from collections.abc import Iterator

from verl_stepgrpo.bridge.asked import ESTIMATOR
from verl_stepgrpo.bridge.checks import checkpoints
from verl_stepgrpo.bridge.checks.rules.rule import Rule, clash
from verl_stepgrpo.bridge.checks.run import Run
from verl_stepgrpo.settings import NODE

ROLLOUT = "actor_rollout_ref.rollout"
HYBRID = "actor_rollout_ref.hybrid_engine"

WITHOUT_GROUPS = ("gae", "reinforce_plus_plus")
"""Estimators for which one response to a prompt is enough."""


def _group_is_too_small(run: Run) -> bool:
    n = run.value(f"{ROLLOUT}.n")
    least = 1 if run.value(ESTIMATOR) in WITHOUT_GROUPS else 2
    return not isinstance(n, int) or n < least


def _equal_groups_train_on_kl(run: Run) -> bool:
    return bool(run.value("algorithm.use_kl_in_reward")) and run.scales and run.setting("std_floor") == 0


def _validates_the_same(run: Run) -> bool:
    return (run.value(f"{ROLLOUT}.val_kwargs.n") or 1) > 1 and run.value(
        f"{ROLLOUT}.val_kwargs.temperature"
    ) == 0


def _lacking_for_separate_async(run: Run) -> Iterator[str]:
    if not run.uses_v1 or run.value("trainer.v1.trainer_mode") != "separate_async":
        return
    prompts = run.value("data.train_batch_size")
    syncs = run.value("trainer.v1.separate_async.parameter_sync_step")
    mini = run.value("actor_rollout_ref.actor.ppo_mini_batch_size")
    if prompts != syncs * mini:
        yield f"data.train_batch_size={prompts} (not {syncs} * {mini})"
    yield from (
        run.said(key) for key in (f"{ROLLOUT}.nnodes", f"{ROLLOUT}.n_gpus_per_node") if not run.value(key) > 0
    )
    if run.value(f"{ROLLOUT}.checkpoint_engine.backend") == "naive":
        yield run.said(f"{ROLLOUT}.checkpoint_engine.backend")


def _not_whole_micro_batches(run: Run) -> Iterator[str]:
    """Yield the sizes of micro batches that do not divide what a worker is handed; FSDP alone is looked at."""
    actor, ref = "actor_rollout_ref.actor", "actor_rollout_ref.ref"
    if not run.uses_v1 or run.value(f"{actor}.strategy") not in ("fsdp", "fsdp2"):
        return
    workers = run.value("trainer.nnodes") * run.value("trainer.n_gpus_per_node")
    workers //= run.value(f"{actor}.ulysses_sequence_parallel_size") or 1
    at_once, step = (
        run.value(prompts) * run.value(f"{ROLLOUT}.n") // max(1, workers)
        for prompts in (f"{actor}.ppo_mini_batch_size", "data.train_batch_size")
    )
    before = at_once if run.value("trainer.v1.trainer_mode") == "separate_async" else step
    sizes = {
        f"{actor}.ppo_micro_batch_size_per_gpu": (f"{actor}.use_dynamic_bsz", at_once),
        f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu": (f"{ROLLOUT}.log_prob_use_dynamic_bsz", before),
    }
    if run.value(f"{actor}.use_kl_loss") or run.value("algorithm.use_kl_in_reward"):
        sizes[f"{ref}.log_prob_micro_batch_size_per_gpu"] = (f"{ref}.log_prob_use_dynamic_bsz", before)
    for key, (is_dynamic, rows) in sizes.items():
        size = run.value(key)
        if size and rows and not run.value(is_dynamic) and rows % size:
            yield f"{run.said(key)} (of {rows})"


def _torn(run: Run) -> list[str]:
    """Return what is wrong with the checkpoint; ``checkpoints.step_back`` leaves what has no whole one beside it."""
    fault = checkpoints.fault(run.config)
    if fault is None:
        return []
    newest = checkpoints.newest_whole(run.config)
    beside = (
        "no whole checkpoint is beside it" if newest is None else f"the newest whole checkpoint is {newest}"
    )
    return [f"{fault}, and {beside}"]


def _forgotten(run: Run) -> list[str]:
    found = checkpoints.forgets(run.config)
    return [] if found is None else [found]


RULES = (
    Rule(
        when=f"`{ROLLOUT}.n` below 2 with an estimator that compares responses, or below 1",
        why="an advantage is relative to the other responses of its group, so that a group of fewer than two trains "
        "nothing",
        remedy="Set it to 2 or more (the paper has 4)",
        facts=clash(_group_is_too_small, f"{ROLLOUT}.n"),
    ),
    Rule(
        when="`algorithm.use_kl_in_reward=True` without a `std_floor`",
        why="EQUAL GROUPS TRAIN ON NOISE AT FULL SIZE: their rewards then differ by the KL penalty alone, and are "
        "divided by the standard deviation of that; no curve or trace has this reward",
        remedy="Put the penalty into the loss, as the paper (actor_rollout_ref.actor.use_kl_loss=True), or set "
        f"{NODE}.std_floor, unless that is meant",
        facts=clash(_equal_groups_train_on_kl, "algorithm.use_kl_in_reward"),
        refused=False,
    ),
    Rule(
        when=f"`{ROLLOUT}.val_kwargs.n` above 1 with `temperature=0`",
        why="ALL RESPONSES TO A VALIDATION PROMPT ARE THE SAME: at this temperature verl samples greedily, whatever "
        "do_sample is",
        remedy=f"Set {ROLLOUT}.val_kwargs.temperature above 0, or n to 1",
        facts=clash(_validates_the_same, f"{ROLLOUT}.val_kwargs.n", f"{ROLLOUT}.val_kwargs.temperature"),
        refused=False,
    ),
    Rule(
        when="`trainer.v1.trainer_mode=separate_async` without what that mode needs",
        why="verl's separate_async trainer would end with this after the start of Ray, one demand at a time",
        remedy="Set data.train_batch_size to trainer.v1.separate_async.parameter_sync_step times "
        f"actor_rollout_ref.actor.ppo_mini_batch_size, {ROLLOUT}.nnodes and n_gpus_per_node above 0, and "
        f"{ROLLOUT}.checkpoint_engine.backend to another than naive",
        facts=lambda run: list(_lacking_for_separate_async(run)),
    ),
    Rule(
        when="a `..._micro_batch_size_per_gpu` that does not divide the responses that a worker is handed at once",
        why="verl's FSDP workers would end with an assertion in the first step, after the first rollout",
        remedy="Set it to a divisor, or use_dynamic_bsz (of the actor, log_prob_use_dynamic_bsz of the others) to True",
        facts=lambda run: list(_not_whole_micro_batches(run)),
    ),
    Rule(
        when=f"`{HYBRID}=False`",
        why="only verl's separate_async trainer knows this, and in verl 0.9.1 its start fails with it (a TypeError of "
        "its logger)",
        remedy="Set it to True",
        facts=clash(lambda run: run.value(HYBRID) is False, HYBRID, "trainer.v1.trainer_mode"),
    ),
    Rule(
        when=f"the checkpoint to go on from is torn, or `{checkpoints.TRACKER}` is empty or names none, and no whole "
        "checkpoint is beside it; with `trainer.resume_mode=resume_path`, the one that is named is torn",
        why="verl would end with this after the loading of the models, or begin anew without a word",
        remedy="Begin anew with trainer.resume_mode=disable, or name a whole checkpoint with "
        "trainer.resume_mode=resume_path and trainer.resume_from_path",
        facts=_torn,
    ),
    Rule(
        when=f"`trainer.resume_mode=auto` beside a whole checkpoint without `{checkpoints.TRACKER}`",
        why="THE RUN BEGINS ANEW: verl looks into that file alone for where to go on",
        remedy="Name the checkpoint with trainer.resume_mode=resume_path and trainer.resume_from_path, unless that is "
        "meant",
        facts=_forgotten,
        refused=False,
    ),
    Rule(
        when="`trainer.resume_mode` unknown, or `resume_path` with a path that does not end in `global_step_N`",
        why="verl would end with this after the loading of the models",
        remedy="Set trainer.resume_mode to auto, disable or resume_path; the last needs trainer.resume_from_path, a "
        "folder global_step_N",
        facts=clash(
            lambda run: checkpoints.names_no_step(run.config),
            "trainer.resume_mode",
            "trainer.resume_from_path",
        ),
    ),
)
