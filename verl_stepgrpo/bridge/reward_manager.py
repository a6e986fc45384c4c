"""The reward manager ``stepgrpo`` for verl's reward loop: one response in, its score and all parts out."""

from __future__ import annotations

import dataclasses
import json
import logging
import platform
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.experimental.reward_loop.reward_manager.registry import register as register_manager

from verl_stepgrpo.bridge.own_parts import OwnParts
from verl_stepgrpo.bridge.token_ends import WRITTEN_SPANS, Decoding, Written
from verl_stepgrpo.data.rows.index import traced
from verl_stepgrpo.judging.answers.options import choices_of
from verl_stepgrpo.rewards import ScoredResponse, score_response
from verl_stepgrpo.running.identity import identity
from verl_stepgrpo.settings import NAME, NODE, RunSettings
from verl_stepgrpo.traces.packed import PACKED_KEY, packed
from verl_stepgrpo.traces.rows import SCORER_KEY, TRACE_KEY, judgement_of

logger = logging.getLogger("verl_stepgrpo")


@register_manager(NAME)
class StepGRPORewardManager(RewardManagerBase):
    """Scores responses with StepRAR and StepRVR: of several turns what the model wrote, not what tools answered.

    Parts of the user's own are added, by the weights that ``extra_weights`` has for them.

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
        # The legacy trainer writes no traces, and makes an array as wide as the longest of all.
        self._carries_traces = bool(OmegaConf.select(config, "trainer.use_v1", default=True))
        self._knows_turns = True
        self._decoding = Decoding.of(tokenizer)
        router = {
            "reward_router_address": reward_router_address,
            "reward_model_tokenizer": reward_model_tokenizer,
        }
        self._name = f"{identity()} on {platform.node()}"
        self._own_parts = OwnParts(config, self.settings, compute_score, router)

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """Return ``reward_score`` and ``reward_extra_info`` (all components, and the traces as strings)."""
        item = data[-1:][0]
        row = item.non_tensor_batch
        written = await self.loop.run_in_executor(None, self._written, item)
        parts = await self._own_parts.of(row, written.text, len(_response_tokens(item)), self.loop)
        return await self.loop.run_in_executor(None, self._score, row, written, parts)

    def _score(self, row: Any, written: Written, parts: Mapping[str, float]) -> dict[str, Any]:
        extra_info = row.get("extra_info") or {}
        result = score_response(
            written.text,
            row["reward_model"]["ground_truth"],
            extra_info.get("key_steps"),
            self.settings.reward,
            parts,
            choices=choices_of(extra_info, _prompt_text(row.get("raw_prompt"))),
            visual_key_steps=extra_info.get("visual_key_steps"),
        )
        components: dict[str, Any] = result.components()
        info = components | (self._traces(result, row, written) if self._carries_traces else {})
        return {"reward_score": components["score"], "reward_extra_info": info}

    def _traces(self, result: ScoredResponse, row: Any, written: Written) -> dict[str, str]:
        """Return what the trainer reads of the judgement, and where traces are left, the row that it adds to them."""
        extra_info = row.get("extra_info") or {}
        prompt = _prompt_text(row.get("raw_prompt"))
        judgement = judgement_of(
            result,
            self.settings.reward,
            step_token_ends=self._token_ends(result, written),
            index=traced(extra_info.get("index")),
            id=traced(extra_info.get("id")),
            data_source=traced(row.get("data_source")),
            ground_truth=str(row["reward_model"]["ground_truth"]),
            choices=choices_of(extra_info, prompt),
        )
        facts = json.dumps(judgement.to_json(), ensure_ascii=False, separators=(",", ":"))
        traces = {SCORER_KEY: self._name, TRACE_KEY: facts}
        if self.settings.trace_dir is not None:
            traces[PACKED_KEY] = packed(dataclasses.replace(judgement, prompt=prompt, response=written.text))
        return traces

    def _token_ends(self, result: ScoredResponse, written: Written) -> list[int] | None:
        """Return where steps end among the tokens, as far as anybody reads it: credit by step, and traces."""
        if self.settings.trace_dir is None and self.settings.advantage.credit == "trajectory":
            return None
        return written.token_ends([step.end for step in result.steps])

    def _written(self, item: Any) -> Written:
        """Return what the model wrote of the response; all of it where verl does not say."""
        token_ids = _response_tokens(item)
        row = item.non_tensor_batch
        spans = (row.get("tool_extra_fields") or {}).get(WRITTEN_SPANS)
        if spans is None:
            if row.get("__num_turns__", 2) > 2:
                self._warn_of_turns()
            spans = [[0, len(token_ids)]]
        return Written.of(self._decoding, token_ids, spans)

    def _warn_of_turns(self) -> None:
        if self._knows_turns:
            self._knows_turns = False
            logger.warning(
                "The agent loop does not say which tokens of its responses the model wrote: what tools answered is "
                "scored as if it were the model's. Let its worker call AgentLoopWorker._compute_score, as verl's does."
            )


def _response_tokens(item: Any) -> list[int]:
    """Return the tokens of a response without padding.

    verl pads the outputs of a session to one length, prompt and response together, so that the mask's end is not the
    response's; there it says the response's length.
    """
    responses = item.batch["responses"]
    length = item.non_tensor_batch.get("response_len")
    if length is None:
        length = item.batch["attention_mask"][-responses.shape[-1] :].sum()
    return responses[: int(length)].tolist()


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
