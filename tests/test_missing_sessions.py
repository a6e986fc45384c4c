"""Sessions that came back without a response count alike in every mode: verl's own samplers and TransferQueue."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
import torch
from omegaconf import OmegaConf
from test_trainer_hooks import RESPONSE, ByteTokenizer, score

from verl_stepgrpo.bridge.hooks import trainer_hooks
from verl_stepgrpo.bridge.hooks.missing_sessions import (
    MissingSessionsError,
    SessionCount,
    missing_share,
    watch_sampling,
)
from verl_stepgrpo.traces.files import read_trace

N = 2
"""Sessions of a prompt."""


@pytest.fixture(scope="module", autouse=True)
def tq() -> Iterator[Any]:
    import transfer_queue as tq

    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    storage = {"num_data_storage_units": 1, "total_storage_size": 10_000}
    tq.init(OmegaConf.create({"backend": {"SimpleStorage": storage}}))
    yield tq
    tq.close()
    ray.shutdown()


Outcome = Callable[[int], int | None]
"""How many sessions of the n-th prompt come back; None for a prompt that runs until the next poll, and is then well."""


class Rollout:
    """verl's sampler, and in place of the agent loops what they leave in TransferQueue."""

    def __init__(
        self, tq: Any, outcome: Outcome, *, sampler: str = "ReplayBufferAsync", **options: Any
    ) -> None:
        from verl.trainer.ppo.v1 import replay_buffer

        self.tq, self.outcome = tq, outcome
        self.asked = 0
        self.running: list[str] = []
        settings = {
            "trainer_mode": "sync" if sampler == "ReplayBuffer" else "colocate_async",
            "trainer_config": OmegaConf.create({}),
            "max_off_policy_threshold": None,
            "max_off_policy_strategy": "drop",
            "sampler_kwargs": OmegaConf.create({}),
            "poll_interval": 0.0,
            "refill_fn": self.ask,
        }
        self.buffer = getattr(replay_buffer, sampler)(**settings | options)
        wait = self.buffer._wait_for_next_poll

        def wait_for_next_poll(*args: Any) -> float:
            while self.running:
                self.settle(self.running.pop(), N)
            return wait(*args)

        self.buffer._wait_for_next_poll = wait_for_next_poll

    def ask(self, prompts: int) -> None:
        for _ in range(prompts):
            uid, returned = f"u{self.asked}", self.outcome(self.asked)
            self.asked += 1
            tag = {"is_prompt": True, "status": "running", "global_steps": 1}
            self.tq.kv_put(key=uid, partition_id="train", tag=tag)
            if returned is None:
                self.running.append(uid)
            else:
                self.settle(uid, returned)

    def settle(self, uid: str, returned: int) -> None:
        if returned:
            put(self.tq, [f"{uid}_{session}_0" for session in range(returned)])
        status = "finished" if returned == N else "failure"
        self.tq.kv_put(key=uid, partition_id="train", tag={"status": status})


def put(tq: Any, keys: Sequence[str]) -> None:
    """Put rows as verl's agent-loop worker does; a response is paid the number of its session."""
    from verl.utils.tensordict_utils import list_of_dict_to_tensordict

    info = score(RESPONSE, {"trace_dir": "x"}, {"index": 7, "key_steps": [["3 + 5 = 8"]]})[
        "reward_extra_info"
    ]
    ids = torch.tensor(ByteTokenizer().encode(RESPONSE))
    rows = []
    for key in keys:
        uid, session, _ = key.split("_")
        rewards = torch.zeros(ids.shape)
        rewards[-1] = int(session)
        rows.append(
            {
                "uid": uid,
                "responses": ids,
                "response_mask": torch.ones_like(ids),
                "loss_mask": torch.ones_like(ids),
                "rm_scores": rewards,
                "extra_fields": {"reward_extra_info": info},
            }
        )
    tags = [{"status": "success"} for _ in keys]
    tq.kv_batch_put(keys=list(keys), fields=list_of_dict_to_tensordict(rows), tags=tags, partition_id="train")


@pytest.fixture
def rollout(tq: Any) -> Iterator[Callable[..., Rollout]]:
    yield lambda outcome, **options: Rollout(tq, outcome, **options)
    keys = tq.kv_list("train")["train"] if tq.kv_list("train") else {}
    tq.kv_clear(keys=list(keys), partition_id="train")


def trainer(own: Rollout, limit: float, folder: Path | None = None) -> SimpleNamespace:
    """Return what the hooks read of verl's trainer, with its sampling watched as ``fit`` does it."""
    node = {"max_missing_sessions": limit, "trace_dir": None if folder is None else str(folder)}
    config = {
        "data": {"train_batch_size": 4},
        "actor_rollout_ref": {"rollout": {"n": N}},
        "algorithm": {
            "adv_estimator": "stepgrpo",
            "stepgrpo": node,
            "use_kl_in_reward": False,
            "gamma": 1.0,
            "lam": 1.0,
        },
    }
    trainer = SimpleNamespace(
        config=OmegaConf.create(config),
        parameter_sync_step=1,
        global_steps=1,
        replay_buffer=own.buffer,
        get_reward_handles=lambda: [],
        tokenizer=ByteTokenizer(),
    )
    manager = SimpleNamespace(agent_loop_workers=[])
    trainer_hooks._fit(lambda self, agent_loop_manager: None)(trainer, manager)
    return trainer


def advantage_of(trainer: SimpleNamespace, batch: Any) -> dict[str, float]:
    """Return the metrics of verl's own computing of the advantages of ``batch``."""
    from verl.trainer.ppo.v1.trainer_base import PPOTrainer

    metrics: dict[str, float] = {}
    PPOTrainer._compute_advantage(trainer, batch, metrics)
    return metrics


def sampled(trainer: SimpleNamespace, prompts: int = 4) -> Any:
    batch, _ = trainer.replay_buffer.sample(
        global_steps=trainer.global_steps, partition_id="train", batch_size=prompts
    )
    return batch


SAMPLERS = {
    "async": {},
    "sync": {"sampler": "ReplayBuffer", "train_batch_size": 4, "gen_batch_size": 4},
    "sync with refill": {
        "sampler": "ReplayBuffer",
        "train_batch_size": 4,
        "gen_batch_size": 1,
        "sync_refill_failed_groups": True,
    },
}


class TestEveryMode:
    @pytest.mark.parametrize("mode", SAMPLERS)
    def test_a_reward_that_always_fails_ends_the_run_with_share_limit_step_and_place(
        self, rollout: Callable[..., Rollout], mode: str
    ) -> None:
        own = rollout(lambda n: 0, **SAMPLERS[mode])
        watched = trainer(own, limit=0.5)
        own.ask(4)
        with pytest.raises(MissingSessionsError) as error:
            sampled(watched)
        assert str(error.value) == (
            "step 1: 100.0% of the sessions are missing; their agent loop or their reward failed, and the error stands "
            "above (Error in _run_prompt). The run ends because algorithm.stepgrpo.max_missing_sessions=0.5."
        )
        assert own.asked <= 8

    @pytest.mark.parametrize("mode", [mode for mode in SAMPLERS if mode != "sync"])
    def test_nothing_but_failures_ends_a_run_that_allows_any_share(
        self, rollout: Callable[..., Rollout], mode: str
    ) -> None:
        own = rollout(lambda n: 0, **SAMPLERS[mode])
        watched = trainer(own, limit=1)
        own.ask(4)
        with pytest.raises(MissingSessionsError) as error:
            sampled(watched)
        assert str(error.value).startswith("step 1: 100.0% of the sessions are missing")
        assert str(error.value).endswith(
            f"{3 * 4 * N} have failed since the step began and none has come back, so that the run ends, though "
            "algorithm.stepgrpo.max_missing_sessions=1 lets as many be missing."
        )
        assert own.asked <= 4 * 4

    def test_a_run_that_allows_any_share_goes_on_while_some_come_back(
        self, rollout: Callable[..., Rollout]
    ) -> None:
        own = rollout(lambda n: N if n % 8 == 7 else 0)
        watched = trainer(own, limit=1)
        own.ask(4)
        metrics = advantage_of(watched, sampled(watched))
        assert metrics[trainer_hooks.MISSING_SESSIONS] == pytest.approx(7 / 8)

    @pytest.mark.parametrize("mode", SAMPLERS)
    def test_the_curve_is_the_share_of_what_came_back(
        self, rollout: Callable[..., Rollout], mode: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        # Of four prompts one fails wholly; where it is replaced the one that comes for it is well.
        own = rollout(lambda n: 0 if n == 1 else N, **SAMPLERS[mode])
        watched = trainer(own, limit=0.3)
        own.ask(4)
        metrics = advantage_of(watched, sampled(watched))
        share = 1 / own.asked  # of all prompts
        assert own.asked == (4 if mode == "sync" else 5)
        assert metrics[trainer_hooks.MISSING_SESSIONS] == pytest.approx(share)
        assert f"step 1: {share:.1%} of the sessions are missing" in caplog.text

    @pytest.mark.parametrize("mode", SAMPLERS)
    def test_a_step_without_failures_says_nothing(
        self, rollout: Callable[..., Rollout], mode: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        own = rollout(lambda n: N, **SAMPLERS[mode])
        watched = trainer(own, limit=0.0)
        caplog.clear()
        own.ask(4)
        metrics = advantage_of(watched, sampled(watched))
        assert metrics[trainer_hooks.MISSING_SESSIONS] == 0.0
        assert not [record for record in caplog.records if record.name == "verl_stepgrpo"]


class TestAsync:
    def test_the_error_says_the_share_of_what_came_back_whatever_still_runs(
        self, rollout: Callable[..., Rollout]
    ) -> None:
        own = rollout(lambda n: None if n == 3 else 0)
        watched = trainer(own, limit=0.5)
        own.ask(4)
        with pytest.raises(MissingSessionsError, match=r"step 1: 100\.0% of the sessions are missing"):
            sampled(watched)

    def test_of_a_prompt_that_is_thrown_away_only_the_lost_sessions_are_missing(
        self, rollout: Callable[..., Rollout]
    ) -> None:
        own = rollout(lambda n: 1 if n == 0 else N)
        watched = trainer(own, limit=0.5)
        own.ask(4)
        metrics = advantage_of(watched, sampled(watched))
        assert metrics[trainer_hooks.MISSING_SESSIONS] == pytest.approx(1 / 10)

    def test_each_step_counts_what_came_back_in_it(self, rollout: Callable[..., Rollout]) -> None:
        own = rollout(lambda n: 0 if n == 0 else N)
        watched = trainer(own, limit=0.5)
        own.ask(6)
        first = advantage_of(watched, sampled(watched))
        watched.global_steps = 2
        own.ask(2)
        second = advantage_of(watched, sampled(watched))
        shares = [metrics[trainer_hooks.MISSING_SESSIONS] for metrics in (first, second)]
        assert shares == [pytest.approx(1 / 7), 0.0]

    def test_failures_that_come_back_before_the_rest_do_not_end_the_run(
        self, rollout: Callable[..., Rollout]
    ) -> None:
        own = rollout(lambda n: 0 if n < 3 else None)
        watched = trainer(own, limit=0.5)
        own.ask(6)  # three fail at once, and three others run for longer
        batch = sampled(watched, prompts=6)
        assert advantage_of(watched, batch)[trainer_hooks.MISSING_SESSIONS] == pytest.approx(3 / 9)

    def test_what_came_back_is_traced_before_sampling_ends_the_run(
        self, rollout: Callable[..., Rollout], tmp_path: Path
    ) -> None:
        own = rollout(lambda n: 0 if n else 1)
        watched = trainer(own, limit=0.8, folder=tmp_path)
        own.ask(4)
        with pytest.raises(MissingSessionsError):
            sampled(watched)
        (row,) = read_trace(tmp_path / "untrained" / "step-000001.jsonl.gz")
        assert (row.split, row.uid, row.session, row.index, row.credit) == ("train", "u0", 0, 7, None)


def test_the_rows_of_a_step_that_ends_the_run_are_traced_before(
    rollout: Callable[..., Rollout], tmp_path: Path
) -> None:
    own = rollout(lambda n: 0 if n else N, **SAMPLERS["sync"])
    watched = trainer(own, limit=0.5, folder=tmp_path)
    own.ask(4)
    batch = sampled(watched)
    with pytest.raises(MissingSessionsError, match=r"step 1: 75\.0%.*max_missing_sessions=0\.5"):
        advantage_of(watched, batch)
    rows = read_trace(tmp_path / "train" / "step-000001.jsonl.gz")
    credits = [(row.uid, row.session, round(row.credit.first, 2)) for row in rows if row.credit is not None]
    assert credits == [("u0", 0, -0.71), ("u0", 1, 0.71)]


class TestSamplersOfTheUsers:
    """The contract of verl's is a method ``sample``."""

    def test_without_the_method_that_is_watched_the_batch_alone_is_counted(
        self, tq: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        from transfer_queue import KVBatchMeta

        keys = ["u_0_0", "u_1_0", "v_0_0", "v_0_1", "pad1_0_0"]
        batch = KVBatchMeta(partition_id="train", keys=keys, tags=[{}] * len(keys))
        sampler = SimpleNamespace(sample=lambda: batch)
        watch_sampling(sampler, SessionCount(N, 0.5, prompts=1), lambda *_: None)
        assert "SimpleNamespace has no _evict_terminal_groups" in caplog.text
        put(tq, batch.keys)
        own = SimpleNamespace(buffer=SimpleNamespace(sample=lambda: batch))
        with caplog.at_level(logging.WARNING, "verl_stepgrpo"):
            watched = trainer(own, limit=0.7)
        watched.config.data.train_batch_size = 3
        assert advantage_of(watched, batch)[trainer_hooks.MISSING_SESSIONS] == pytest.approx(0.5)

    def test_sessions_are_counted_once_and_padding_not_at_all(self) -> None:
        keys = ["u_0_0", "u_1_0", "v_0_0", "v_0_1"]
        assert missing_share(keys, expected=4) == 0.25
        assert missing_share([*keys, "pad12ab_0_0"], expected=4) == 0.25
        assert missing_share(keys, expected=3) == 0.0
