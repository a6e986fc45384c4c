"""What is scored is what the model wrote: verl's own agent loops and reward worker, with a model that has learnt its
lines by heart in place of vLLM."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig

from verl_stepgrpo.adapters.batch import score_batch
from verl_stepgrpo.bridge.token_ends import written_spans
from verl_stepgrpo.settings import RewardSettings
from verl_stepgrpo.traces.packed import PACKED_KEY
from verl_stepgrpo.traces.rows import TRACE_KEY

TOOL = '''
from verl.tools.function_tool import function_tool


@function_tool
def add(a: int, b: int) -> str:
    """Add two numbers.

    Args:
        a: One.
        b: The other.
    """
    return f"{a} + {b} = {a + b}\\n### The final answer is: {a + b}"
'''
BEGINNING = (
    "### Image Description:\nTwo digits.\n### Rationales:\nAdd them 🙂.\n### Let's think step by step.\n"
    "### Step 1:\nThe first digit is 3.\n"
)
CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 3, "b": 5}}\n</tool_call>'
END = "### Step 2:\nIt adds them up.\n### The final answer is: 8"
KEY_STEPS = [["first digit is 3"], ["3 + 5 = 8"]]


@pytest.fixture(scope="module")
def composed() -> DictConfig:
    import verl  # noqa: F401  the import that loads the plugin

    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer", overrides=["+stepgrpo=paper", "algorithm.stepgrpo.trace_dir=x"])


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    tokenizer = tiny_models.build_tokenizer(tiny_models.texts_of_digits(2))
    tokenizer.chat_template = tiny_models.CHAT_TEMPLATE
    return tokenizer


class Reciter:
    """A client of a model server that says its lines, one a turn."""

    def __init__(self, tokenizer: Any, lines: list[str]) -> None:
        self.lines = [tokenizer(line + "<|im_end|>")["input_ids"] for line in lines]

    async def generate(self, **_: Any) -> Any:
        from verl.workers.rollout.replica import TokenOutput

        return TokenOutput(token_ids=self.lines.pop(0), extra_fields={"max_global_steps": 1})


def worker(config: DictConfig, tokenizer: Any, lines: list[str] = (), tools: str | None = None) -> Any:  # type: ignore[assignment]
    """Return verl's agent-loop worker with a reward worker beside it, in this process."""
    from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
    from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls
    from verl.tools.tool_registry import load_all_tools
    from verl.utils.config import omega_conf_to_dataclass
    from verl.utils.dataset.rl_dataset import RLHFDataset

    async def compute_score(data: Any) -> dict:
        manager = get_reward_manager_cls("stepgrpo")(config=config, tokenizer=tokenizer, compute_score=None)
        manager.loop = asyncio.get_running_loop()
        return await manager.run_single(pickle.loads(pickle.dumps(data)))  # as through Ray

    own = AgentLoopWorker.__new__(AgentLoopWorker)
    own.config, own.tokenizer, own.processor, own.hf_model_type = config, tokenizer, None, None
    own.rollout_config = omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    own.dataset_cls, own.mm_processor_kwargs, own.distillation_enabled = RLHFDataset, {}, False
    own.llm_client = Reciter(tokenizer, lines)
    own.tools = load_all_tools(None, tools)
    own.reward_loop_worker_handles = [SimpleNamespace(compute_score=SimpleNamespace(remote=compute_score))]
    return own


ROW = {
    "raw_prompt": [{"role": "user", "content": "What is 3 + 5?"}],
    "data_source": "digits",
    "reward_model": {"ground_truth": "8"},
    "extra_info": {"index": 4, "key_steps": KEY_STEPS},
}


def rolled_out(own: Any, agent_name: str) -> Any:
    trajectory = {"step": 1, "sample_index": 0, "rollout_n": 0, "validate": False}
    return asyncio.run(own._run_agent_loop({}, trajectory, agent_name=agent_name, trace=False, **ROW))


@pytest.fixture(scope="module")
def output(composed: DictConfig, tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return what verl makes of a session in which the model asks a tool and goes on."""
    file = tmp_path_factory.mktemp("tools") / "tools.py"
    file.write_text(TOOL)
    return rolled_out(worker(composed, tokenizer, [BEGINNING + CALL, END], str(file)), "tool_agent")


class TestTools:
    def test_what_a_tool_answered_is_not_paid_and_trls_adapter_pays_the_same(
        self, output: Any, tokenizer: Any
    ) -> None:
        said = tokenizer.decode(output.response_ids[0], skip_special_tokens=True)
        assert "3 + 5 = 8" in said  # by the tool
        answer = "3 + 5 = 8\n### The final answer is: 8"
        conversation = [
            {"role": "assistant", "content": BEGINNING, "tool_calls": [{}]},
            {"role": "tool", "content": answer},
            {"role": "assistant", "content": END},
        ]
        columns = {"ground_truth": ["8"], "key_steps": [KEY_STEPS]}
        (by_trl,) = score_batch([conversation], columns, RewardSettings())
        info = output.extra_fields["reward_extra_info"]
        components = by_trl.components()
        assert {key: info[key] for key in components} == components
        assert components["key_step_match"] == 0.5
        assert output.reward_score == pytest.approx(2.05)

    def test_ends_of_steps_are_places_in_the_whole_response(self, output: Any, tokenizer: Any) -> None:
        info = output.extra_fields["reward_extra_info"]
        trace = json.loads(info[TRACE_KEY])
        row = json.loads("{" + gzip.decompress(base64.b64decode(info[PACKED_KEY])).decode())
        assert row["response"] == f"{BEGINNING}{CALL}\n{END}"
        first, second = [step["token_end"] for step in trace["steps"]]
        ids = output.response_ids[0].tolist()
        turns = written_spans(output.response_mask[0])
        assert len(turns) == 2
        assert first == turns[0][1] - 1  # but for the end-of-turn token, which has no text
        assert tokenizer.decode(ids[turns[1][0] : second]) == END[: END.index("### The final")]

    def test_nothing_of_it_is_left_in_the_output(self, output: Any) -> None:
        assert not [key for key in output.extra_fields if key.startswith("stepgrpo")]

    def test_a_run_without_stepgrpo_is_given_what_verl_gives(
        self, composed: DictConfig, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from verl.experimental.reward_loop import reward_manager

        seen = []

        class Manager:
            def __init__(self, **_: Any) -> None: ...

            async def run_single(self, data: Any) -> dict:
                seen.append(data.non_tensor_batch["tool_extra_fields"][-1])
                return {"reward_score": 0.0, "reward_extra_info": {}}

        monkeypatch.setattr(reward_manager, "get_reward_manager_cls", lambda name: Manager)
        config = composed.copy()
        config.algorithm.adv_estimator, config.reward.reward_manager.name = "grpo", "naive"
        del config.algorithm.stepgrpo
        rolled_out(worker(config, tokenizer, [END]), "single_turn_agent")
        assert not [key for key in seen[0] if key.startswith("stepgrpo")]


def test_the_last_of_several_outputs_is_scored_on_its_whole_text(
    composed: DictConfig, tokenizer: Any
) -> None:
    from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput

    def output(prompt: int, response_ids: list[int]) -> AgentLoopOutput:
        return AgentLoopOutput(
            prompt_ids=[5] * prompt,
            response_ids=response_ids,
            response_mask=[1] * len(response_ids),
            num_turns=2,
            metrics=AgentLoopMetrics(),
        )

    last = tokenizer(BEGINNING + "### Step 2:\n3 + 5 = 8\n### The final answer is: 8")["input_ids"]
    outputs = [output(100, [5] * 400), output(40, last)]
    asyncio.run(worker(composed, tokenizer)._compute_score(outputs, kwargs=ROW))
    assert outputs[-1].reward_score == pytest.approx(2.1)


def test_a_loop_that_does_not_say_who_wrote_what_is_named_once(
    composed: DictConfig, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls

    manager = get_reward_manager_cls("stepgrpo")(config=composed, tokenizer=tokenizer, compute_score=None)
    ids = torch.tensor(tokenizer(END)["input_ids"])
    batch = {"responses": ids, "attention_mask": torch.ones_like(ids)}

    def item(turns: int) -> Any:
        fields = {key: np.array([value], dtype=object)[0] for key, value in ROW.items()}
        return SimpleNamespace(batch=batch, non_tensor_batch=fields | {"__num_turns__": turns})

    with caplog.at_level(logging.WARNING, "verl_stepgrpo"):
        manager._written(item(2))
        assert caplog.text == ""
        assert manager._written(item(4)).text == END
        manager._written(item(4))
    assert [record.getMessage()[:30] for record in caplog.records] == ["The agent loop does not say wh"]


@pytest.mark.parametrize(
    ("mask", "spans"),
    [
        ([], []),
        ([0, 0], []),
        ([1, 1, 1], [[0, 3]]),
        ([1, 0, 0, 1, 1, 0], [[0, 1], [3, 5]]),
        (torch.tensor([0, 1]), [[1, 2]]),
    ],
)
def test_spans_are_the_runs_of_the_models_tokens(mask: Any, spans: list) -> None:
    assert written_spans(mask) == spans
