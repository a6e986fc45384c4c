"""The page for users of GRPO says what the configurations are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from test_rules import composed, said

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "from-grpo.md").read_text()
GROUP = "+stepgrpo=recommended"
EXTRA = {"index": 7, "key_steps": [["3 + 5 = 8"]]}

SCRIPT = """
    algorithm.adv_estimator=grpo algorithm.use_kl_in_reward=False data.image_key=images data.train_batch_size=512
    data.max_prompt_length=1024 data.max_response_length=2048 data.filter_overlong_prompts=True data.truncation=error
    actor_rollout_ref.model.path=Qwen/Qwen2.5-VL-7B-Instruct actor_rollout_ref.model.use_remove_padding=True
    actor_rollout_ref.model.use_fused_kernels=True actor_rollout_ref.model.enable_gradient_checkpointing=True
    actor_rollout_ref.actor.optim.lr=1e-6 actor_rollout_ref.actor.ppo_mini_batch_size=128
    actor_rollout_ref.actor.use_dynamic_bsz=True actor_rollout_ref.actor.ppo_max_token_len_per_gpu=24576
    actor_rollout_ref.actor.use_kl_loss=True actor_rollout_ref.actor.kl_loss_coef=0.01
    actor_rollout_ref.actor.kl_loss_type=low_var_kl actor_rollout_ref.actor.entropy_coeff=0
    actor_rollout_ref.actor.fsdp_config.param_offload=False actor_rollout_ref.actor.fsdp_config.optimizer_offload=False
    actor_rollout_ref.actor.strategy=fsdp2 actor_rollout_ref.rollout.name=vllm actor_rollout_ref.rollout.n=5
    actor_rollout_ref.rollout.tensor_model_parallel_size=2 actor_rollout_ref.rollout.gpu_memory_utilization=0.6
    actor_rollout_ref.rollout.log_prob_use_dynamic_bsz=True
    actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu=24576 actor_rollout_ref.rollout.multi_stage_wake_up=True
    actor_rollout_ref.rollout.enable_chunked_prefill=False actor_rollout_ref.rollout.enforce_eager=False
    actor_rollout_ref.rollout.free_cache_engine=True actor_rollout_ref.ref.log_prob_use_dynamic_bsz=True
    actor_rollout_ref.ref.log_prob_max_token_len_per_gpu=24576 actor_rollout_ref.ref.fsdp_config.param_offload=True
    trainer.balance_batch=True trainer.n_gpus_per_node=8 trainer.nnodes=1 trainer.save_freq=20 trainer.test_freq=5
    trainer.total_epochs=15
""".split()
"""What verl's example sets with its defaults, but for names and places."""

OLDER = ["actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=10"]
"""What scripts of older versions have in place of a dynamic batch size."""


def table(name: str) -> list[list[str]]:
    """Return the rows of a table, each cell without the marks of code."""
    lines = PAGE.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- /{name} -->")[0].splitlines()[2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def leaves(config: Any, prefix: str = "") -> dict[str, str]:
    """Return every key with its value as written; what is derived from another key is that key's name."""
    if isinstance(config, DictConfig):
        return leaves(OmegaConf.to_container(config, resolve=False))
    if not isinstance(config, dict):
        return {prefix: "null" if config is None else str(config)}
    return {
        found: value
        for key, child in config.items()
        for found, value in leaves(child, f"{prefix}.{key}" if prefix else str(key)).items()
    }


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class TestTheTables:
    def test_what_the_script_names_otherwise_than_the_group_is_all_there(self) -> None:
        verls, group, both = leaves(composed()), leaves(composed(GROUP)), leaves(composed(*SCRIPT, GROUP))
        named = [line.partition("=")[0] for line in SCRIPT]
        otherwise = {
            key: (both[key], group[key]) for key in named if group[key] not in (both[key], verls[key])
        }
        listed = {
            key: (old, new)
            for (key, _, old), new in ((line.partition("="), new) for line, new, _ in table("named"))
        }
        assert listed == otherwise

    def test_what_the_group_changes_without_being_named_is_all_there(self) -> None:
        before, after = composed(*SCRIPT), composed(*SCRIPT, GROUP)
        written = leaves(after)
        changed = [key for key, value in leaves(before).items() if written[key] != value]
        values = {
            key: tuple(leaves(OmegaConf.select(config, key))[""] for config in (before, after))
            for key in changed
        }
        assert {key: (old, new) for key, old, new, _ in table("unnamed")} == values

    def test_the_group_stands_where_it_may(self) -> None:
        assert leaves(composed(GROUP, *SCRIPT)) == leaves(composed(*SCRIPT, GROUP))

    def test_a_script_of_older_versions_gets_a_dynamic_batch_size(self) -> None:
        older = [line for line in SCRIPT if "use_dynamic_bsz" not in line] + OLDER
        config = composed(*older, GROUP)
        assert config.actor_rollout_ref.actor.use_dynamic_bsz
        assert not composed(*older).actor_rollout_ref.actor.use_dynamic_bsz

    def test_the_script_starts_without_the_line_that_has_to_go_and_not_with_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        (line,) = [line for line, _, what in table("named") if "ends at once" in what]
        (refused,), _ = said(composed(*SCRIPT, GROUP), caplog)
        assert refused.startswith(line)
        caplog.clear()
        assert said(composed(*(other for other in SCRIPT if other != line), GROUP), caplog) == ([], [])
