"""Parts of the reward beside StepRAR and StepRVR in a run: those of a user's function, and ``overlong``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_stepgrpo.parts import OVERLONG, READY, overlong
from verl_stepgrpo.parts.function import FUNCTION, Function
from verl_stepgrpo.settings import RunSettings

LONGEST = "data.max_response_length"


class OwnParts:
    """The parts of one run's rewards.

    Args:
        config: verl's whole configuration.
        settings: Those of the run.
        function: The reward function, as verl loaded it; called where a part has a weight that is not a ready one.
        router: verl's address of a reward model's server, and its tokenizer, by the names that functions take them by.
    """

    def __init__(
        self, config: DictConfig, settings: RunSettings, function: Any, router: Mapping[str, Any]
    ) -> None:
        self._weights = settings.reward.extra_weights
        self._buffer = settings.overlong_buffer
        self._longest = OmegaConf.select(config, LONGEST)
        path = str(OmegaConf.select(config, FUNCTION))
        handed = dict(router) if router.get("reward_router_address") is not None else {}
        is_asked = function is not None and bool(set(self._weights) - set(READY))
        self._function = Function(function, path, self._weights, handed) if is_asked else None

    async def of(self, row: Mapping[str, Any], text: str, tokens: int, loop: Any) -> dict[str, float]:
        """Return the parts of a response, by name; but for ``repetition``, which every score knows.

        Args:
            row: The row of the data, as verl hands it to a reward manager.
            text: What the model wrote.
            tokens: Length of the whole response.
            loop: Runs functions that are not asynchronous in its threads.

        Raises:
            ConfigError: The function returned something else than parts; says which row of the data.
            RuntimeError: The function failed.
        """
        found = {} if self._function is None else await self._function.parts(row, text, loop)
        if OVERLONG in self._weights:
            found[OVERLONG] = overlong(tokens, self._longest, self._buffer)
        return found
