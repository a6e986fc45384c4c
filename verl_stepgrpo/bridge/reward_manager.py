"""The reward manager ``stepgrpo`` for verl's reward loop: one response in, its score and all parts out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.experimental.reward_loop.reward_manager.registry import register as register_manager

from verl_stepgrpo.bridge.token_ends import token_end
from verl_stepgrpo.rewards import ScoredResponse, score_response
from verl_stepgrpo.settings import NAME, NODE, RunSettings
from verl_stepgrpo.traces.rows import TRACE_KEY, judgement_of


@register_manager(NAME)
class StepGRPORewardManager(RewardManagerBase):
    """Scores responses with StepRAR and StepRVR.

    Decoding and scoring run in the event loop's thread pool, so that other responses are served meanwhile.
    Settings come from ``algorithm.stepgrpo``, which the driver validated before anything was started.
    """

    def __init__(
        self,
        config: DictConfig,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        super().__init__(config, tokenizer, compute_score)
        self.settings = RunSettings.from_mapping(OmegaConf.select(config, NODE))

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Return ``reward_score`` and ``reward_extra_info`` (all components, and the trace as one string)."""
        return await self.loop.run_in_executor(None, self._score, data[-1:][0])

    def _score(self, item: Any) -> dict[str, Any]:
        token_ids = _response_tokens(item)
        response = self._decode(token_ids)
        row = item.non_tensor_batch
        extra_info = row.get("extra_info") or {}
        result = score_response(
            response,
            row["reward_model"]["ground_truth"],
            extra_info.get("key_steps"),
            self.settings.reward,
        )
        components = result.components()
        trace = self._trace(result, row, extra_info, response, token_ids)
        return {"reward_score": components["score"], "reward_extra_info": {**components, TRACE_KEY: trace}}

    def _trace(
        self, result: ScoredResponse, row: Any, extra_info: Any, response: str, token_ids: Sequence[int]
    ) -> str:
        ends = [token_end(self._decode, token_ids, response, step.end) for step in result.steps]
        texts = {"prompt": _prompt_text(row.get("raw_prompt")), "response": response}
        judgement = judgement_of(
            result,
            self.settings.reward,
            step_token_ends=ends,
            index=extra_info.get("index"),
            id=extra_info.get("id"),
            data_source=row.get("data_source"),
            ground_truth=str(row["reward_model"]["ground_truth"]),
            **(texts if self.settings.trace_dir is not None else {}),
        )
        return json.dumps(judgement.to_json(), ensure_ascii=False)

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self.tokenizer.decode(token_ids, skip_special_tokens=True)


def _response_tokens(item: Any) -> list[int]:
    responses = item.batch["responses"]
    width = responses.shape[-1]
    length = int(item.batch["attention_mask"][-width:].sum())
    return responses[:length].tolist()


def _prompt_text(messages: Any) -> str:
    """Return the text of a chat prompt; an image stands as ``<image>``."""
    parts = []
    for message in messages if messages is not None else ():
        content = message["content"]
        if isinstance(content, str):
            parts.append(content)
        else:
            parts += [part.get("text", f"<{part.get('type')}>") for part in content]
    return "".join(parts)
