"""Everything this package adds to verl, and the modules of verl and vLLM that each part waits for.

It is light, since it runs in every process that imports verl: whatever is heavy in verl is extended when
verl first imports it. Nothing here changes a run that does not use StepGRPO, but for faults of verl and vLLM that would
end or spoil it (``text_batches``, ``dummy_weights``).
"""

from __future__ import annotations

from types import ModuleType

from verl_stepgrpo import cpu
from verl_stepgrpo.bridge.verl_version import REMEDY
from verl_stepgrpo.imports import installed_version, when_imported


def register() -> None:
    """Arrange every extension of verl. Idempotent: each is applied once."""
    remedy = f"{REMEDY} Installed: verl {installed_version('verl')}."
    for module, action in _EXTENSIONS.items():
        when_imported(module, action, remedy=remedy)
    if cpu.wanted():
        cpu.activate()


def _estimator(core_algos: ModuleType) -> None:
    from verl_stepgrpo.bridge import estimator

    estimator.register(core_algos)


def _reward_manager(module: ModuleType) -> None:
    # Registers itself with verl's decorator.
    from verl_stepgrpo.bridge import reward_manager  # noqa: F401


def _preflight(config_module: ModuleType) -> None:
    from verl_stepgrpo.bridge.checks import preflight

    preflight.wrap(config_module)


def _written_tokens(agent_loop: ModuleType) -> None:
    from verl_stepgrpo.bridge.hooks import written_tokens

    written_tokens.wrap(agent_loop)


def _trainer_hooks(trainer_base: ModuleType) -> None:
    from verl_stepgrpo.bridge.hooks import trainer_hooks

    trainer_hooks.wrap(trainer_base)


def _text_batches(qwen2_vl: ModuleType) -> None:
    from verl_stepgrpo.bridge.hooks import text_batches

    text_batches.wrap(qwen2_vl)


def _dummy_weights(dummy_loader: ModuleType) -> None:
    from verl_stepgrpo.bridge.hooks import dummy_weights

    dummy_weights.wrap(dummy_loader)


def _config_groups(hydra: ModuleType) -> None:
    from verl_stepgrpo.bridge.hooks import search_path

    search_path.register()


def _resolver(omegaconf: ModuleType) -> None:
    from verl_stepgrpo.bridge.hooks import resolver

    resolver.register()


_EXTENSIONS = {
    "omegaconf": _resolver,
    "hydra": _config_groups,
    "verl.utils.config": _preflight,
    "verl.trainer.ppo.core_algos": _estimator,
    "verl.experimental.reward_loop.reward_manager": _reward_manager,
    "verl.experimental.agent_loop.agent_loop": _written_tokens,
    "verl.trainer.ppo.v1.trainer_base": _trainer_hooks,
    "verl.models.transformers.qwen2_vl": _text_batches,
    "vllm.model_executor.model_loader.dummy_loader": _dummy_weights,
}
