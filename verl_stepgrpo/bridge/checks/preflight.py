"""Checks in the driver, before Ray starts: settings, dataset, and whether the parts belong together.

Inside a worker verl swallows such errors (a failed session only gets a status, and training goes on), so
they are raised here, where they end the command at once. verl offers no configured place for a check that
may fail: exceptions of a Hydra callback become warnings. So ``verl.utils.config.validate_config``, which
``main_ppo`` of verl 0.9.1 calls before ``ray.init``, is wrapped.

Every process that imports verl imports this module, and the driver alone checks: so the checks are imported then.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_stepgrpo.bridge.asked import FUNCTION, uses_stepgrpo
from verl_stepgrpo.bridge.checks.run import Run
from verl_stepgrpo.bridge.verl_version import VERL_VERSION
from verl_stepgrpo.errors import ConfigError, one_line
from verl_stepgrpo.imports import apply_once, installed_version
from verl_stepgrpo.parts.function import ARGUMENTS, GROUP, ROUTER, check_arguments
from verl_stepgrpo.settings import NODE, RunSettings

logger = logging.getLogger("verl_stepgrpo")


def wrap(config_module: ModuleType) -> None:
    """Let ``validate_config`` check a StepGRPO run first."""

    def make(original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def validate_config(config: DictConfig, *args: Any, **kwargs: Any) -> None:
            if uses_stepgrpo(config):
                from verl_stepgrpo.bridge.checks.refusal import said_in_a_sentence

                with said_in_a_sentence():
                    check(config)
            original(config, *args, **kwargs)

        return validate_config

    apply_once(config_module, "validate_config", make)


def check(config: DictConfig) -> None:
    """Check a StepGRPO run; in ``config``, make ``trace_dir`` absolute, and step back from a torn checkpoint.

    Raises:
        ConfigError: A setting is unknown, out of range, or makes the run another one than it reads, its model's
            weights would not be loaded, or its reward function cannot be.
        DataError: A dataset row cannot be scored.
        VerifierFailedError: math-verify judges nothing here, so that right answers would be paid as wrong.
    """
    from verl_stepgrpo.bridge.checks import checkpoints
    from verl_stepgrpo.bridge.cluster import cluster

    settings = RunSettings.from_mapping(OmegaConf.select(config, NODE))
    _check_verl(settings.other_verl)
    stepped_back = checkpoints.step_back(config)
    if stepped_back is not None:
        logger.warning(stepped_back)
    run = Run.of(config)
    _check_rules(run)
    _say_what_may_be_paid_more(run)
    if run.pays and run.value(FUNCTION):
        _check_function(config)
    _check_model(config)
    if settings.trace_dir is not None:
        _prepare_trace_dir(config, settings.trace_dir)
    if run.pays and OmegaConf.select(config, "data.custom_cls.path") is None:
        _check_data(config, settings.reward.format)
    if run.pays:
        _check_verifier()
    cluster.watch_start(config)


def _check_rules(run: Run) -> None:
    """Warn of what may be meant, and refuse the rest, all of it at once."""
    from verl_stepgrpo.bridge.checks.rules import RULES

    refused = []
    for rule in RULES:
        message = rule.message(run)
        if message is None:
            continue
        if rule.refused:
            refused.append(message)
        else:
            logger.warning(message)
    if refused:
        raise ConfigError("\n".join(refused))


WRONG_MAY_BE_PAID_MORE = (
    "%s.rvr_weight=%s and alpha=%s are 1 or more together, as in the paper: a wrong answer that is valid and has its "
    "key steps can be paid more than a right one that is neither. With %s.combine=answer_first it never is; the curve "
    "stepgrpo/answer_share/mean shows what is left to the answer."
)


def _say_what_may_be_paid_more(run: Run) -> None:
    """Say it where the run pays so: it is what the paper does, and nothing to be refused or avoided."""
    weights = run.setting("rvr_weight"), run.setting("alpha")
    if run.estimates and run.pays and run.setting("combine") == "sum" and sum(weights) >= 1:
        logger.warning(WRONG_MAY_BE_PAID_MORE, NODE, *weights, NODE)


def _prepare_trace_dir(config: DictConfig, trace_dir: str) -> None:
    """Check the folder, and name it so that a trainer with another working directory, or home, writes there too."""
    from verl_stepgrpo.bridge.checks import trace_folder

    folder = trace_folder.absolute(trace_dir)
    trace_folder.check_writable(folder)
    OmegaConf.update(config, f"{NODE}.trace_dir", str(folder))


def _check_function(config: DictConfig) -> None:
    """Load the reward function as its workers will, minutes later, and see whether it can be called as they call it."""
    from verl.trainer.ppo.reward import get_custom_reward_fn

    name, path = (OmegaConf.select(config, f"{GROUP}.{key}") for key in ("name", "path"))
    try:
        function = get_custom_reward_fn(config)
    except Exception as error:  # a user's own file may raise anything
        reason = error.__cause__ or error
        raise ConfigError(
            f"{FUNCTION}={path}: verl cannot load its function {name}: {type(reason).__name__}: {one_line(reason)}. "
            f"Mend the file, or {GROUP}.name."
        ) from error
    # verl binds the function and its settings into one that takes anything.
    own, kwargs = function.args
    router = ROUTER if OmegaConf.select(config, "reward.reward_model.enable") else ()
    check_arguments(own, path, name, kwargs, (*ARGUMENTS, *router))


def _check_model(config: DictConfig) -> None:
    from verl_stepgrpo.bridge.checks import model_check

    model_check.check(str(OmegaConf.select(config, model_check.KEY)))


def _check_data(config: DictConfig, format_: str) -> None:
    from verl_stepgrpo.bridge.checks import dataset_check

    for key in ("data.train_files", "data.val_files"):
        dataset_check.check_files(OmegaConf.select(config, key), key, format_)


@functools.cache
def _check_verifier() -> None:
    """Ask math-verify one question, once a process; that takes a second or two."""
    from verl_stepgrpo.judging.answers import symbolic

    try:
        symbolic.check()
    except symbolic.VerifierFailedError as error:
        raise symbolic.VerifierFailedError(
            f"{error}. Expressions would not be judged, and right answers paid as wrong. Mend that; where a module "
            "is missing: pip install --force-reinstall 'math-verify[antlr4_9_3]==0.9.0'. `verl-stepgrpo doctor` tries "
            f"it in each process. It wrote:\n{error.stderr or '(nothing)'}",
            error.stderr,
        ) from error


def _check_verl(other_verl: str) -> None:
    found = installed_version("verl")
    if found == VERL_VERSION:
        return
    said = f"verl {found} is installed; this version of verl-stepgrpo is written and tested for verl {VERL_VERSION}."
    if other_verl == "refused":
        raise ConfigError(
            f"{said} {NODE}.other_verl=refused takes no other: pip install verl=={VERL_VERSION}, or set it to warned."
        )
    logger.warning("%s Where an extension point has changed, a warning names it.", said)
