"""Traces, missing sessions and the reward manager, on verl's own data types."""

from __future__ import annotations

import asyncio
import base64
import datetime
import gzip
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import trace_row
from omegaconf import OmegaConf
from tensordict import TensorDict
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from verl_stepgrpo import SCORE_KEYS, RunSettings
from verl_stepgrpo.bridge import run_header
from verl_stepgrpo.bridge.estimator import compute_stepgrpo_advantage
from verl_stepgrpo.bridge.hooks import trainer_hooks
from verl_stepgrpo.bridge.judged import Judged, current, judged_rows, provided
from verl_stepgrpo.traces.files import TraceWriter, read_trace, trace_files
from verl_stepgrpo.traces.header import DataFile, read_header
from verl_stepgrpo.traces.packed import PACKED_KEY, packed
from verl_stepgrpo.traces.rows import SCHEMA, SCORER_KEY, TRACE_KEY, parse_row

RESPONSE = (
    "### Image Description:\nTwo digits.\n### Rationales:\nAdd them 🙂.\n### Let's think step by step.\n"
    "### Step 1:\nThe first digit is 3.\n### Step 2:\n3 + 5 = 8\n### The final answer is: 8"
)


class ByteTokenizer:
    """A real byte-level tokenizer with the one method that verl's reward managers call."""

    eos_token = ""

    def __init__(self) -> None:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        self.inner = Tokenizer(models.BPE({token: i for i, token in enumerate(alphabet)}, []))
        self.inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.inner.decoder = decoders.ByteLevel()

    def encode(self, text: str) -> list[int]:
        return self.inner.encode(text).ids

    def decode(self, ids: list[int], skip_special_tokens: bool = False) -> str:
        return self.inner.decode(list(ids), skip_special_tokens=skip_special_tokens)


def score(
    response: str,
    node: dict,
    extra_info: object,
    ground_truth: object = "8",
    use_v1: bool = True,
    manager: type | None = None,
    function: object = None,
    longest: int | None = None,
    **router: object,
) -> dict:
    from verl import DataProto
    from verl.experimental.reward_loop.reward_manager import get_reward_manager_cls

    tokenizer = ByteTokenizer()
    ids = torch.tensor([[*tokenizer.encode(response), 0, 0]])
    mask = torch.ones(1, ids.shape[1] + 3, dtype=torch.int64)
    mask[:, -2:] = 0
    fields = {
        "data_source": "digits",
        "reward_model": {"ground_truth": ground_truth},
        "extra_info": extra_info,
        "raw_prompt": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Sum?"}]}],
    }
    arrays = {}
    for key, value in fields.items():
        arrays[key] = np.empty(1, dtype=object)
        arrays[key][0] = value
    data = DataProto(
        batch=TensorDict({"responses": ids, "attention_mask": mask}, batch_size=1), non_tensor_batch=arrays
    )

    async def run() -> dict:
        config = OmegaConf.create(
            {
                "algorithm": {"stepgrpo": node},
                "trainer": {"use_v1": use_v1},
                "data": {"max_response_length": longest},
                "reward": {"custom_reward_function": {"path": "own.py"}},
            }
        )
        made = (manager or get_reward_manager_cls("stepgrpo"))(
            config=config, tokenizer=tokenizer, compute_score=function, **router
        )
        made.loop = asyncio.get_running_loop()
        return await made.run_single(data)

    return asyncio.run(run())


class TestRewardManager:
    EXTRA: dict = {"index": 7, "key_steps": [["first digit is 3"], ["3 + 5 = 8"]]}  # noqa: RUF012

    def test_the_score_and_all_parts_come_out(self) -> None:
        result = score(RESPONSE, {}, self.EXTRA)
        info = result["reward_extra_info"]
        assert result["reward_score"] == info["score"] == pytest.approx(2.1)
        assert set(info) == {*SCORE_KEYS, TRACE_KEY, SCORER_KEY}
        assert all(isinstance(info[key], float) for key in SCORE_KEYS)

    def test_settings_of_the_node_are_used(self) -> None:
        assert score(RESPONSE, {"alpha": 0.5}, self.EXTRA)["reward_score"] == pytest.approx(2.5)

    def test_key_steps_may_come_as_the_arrays_that_parquet_gives_back(self) -> None:
        arrays = np.array([np.array(["first digit is 3"], dtype=object)] * 1, dtype=object)
        assert (
            score(RESPONSE, {}, {"index": 1, "key_steps": arrays})["reward_extra_info"]["key_step_match"] == 1
        )

    def test_the_trace_holds_what_the_result_holds(self) -> None:
        info = score(RESPONSE, {"trace_dir": "x"}, self.EXTRA)["reward_extra_info"]
        trace = json.loads(b"{" + gzip.decompress(base64.b64decode(info[PACKED_KEY])))
        assert {**trace, "prompt": None, "response": None} == json.loads(info[TRACE_KEY])
        assert (trace["schema"], trace["index"], trace["data_source"]) == (SCHEMA, 7, "digits")
        assert (trace["prompt"], trace["response"]) == ("<image>Sum?", RESPONSE)
        assert trace["answer"]["layer"] == "text"
        assert [k["matched"] for k in trace["key_steps"]] == [True, True]
        first = trace["key_steps"][0]
        assert RESPONSE[first["start"] : first["end"]] == "first digit is 3"

    @pytest.mark.parametrize("settings", [{"credit": "step"}, {"trace_dir": "x"}])
    def test_step_ends_are_token_positions(self, settings: dict) -> None:
        trace = json.loads(score(RESPONSE, settings, self.EXTRA)["reward_extra_info"][TRACE_KEY])
        assert len(trace["steps"]) > 1
        for step in trace["steps"]:
            # One token a byte: the emoji before the steps has four.
            assert step["token_end"] == len(RESPONSE[: step["end"]].encode())

    def test_where_nobody_reads_step_ends_none_are_looked_for(self) -> None:
        trace = json.loads(score(RESPONSE, {}, self.EXTRA)["reward_extra_info"][TRACE_KEY])
        assert {step["token_end"] for step in trace["steps"]} == {None}

    @pytest.mark.parametrize(
        ("index", "traced"),
        [
            ("a-1", "a-1"),
            (None, None),
            (np.int64(7), 7),
            (np.str_("a"), "a"),
            (datetime.datetime(2026, 1, 2), "2026-01-02 00:00:00"),
            (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
            (b"a", "b'a'"),
            (["a", b"b"], "['a', b'b']"),
            ({1: "a"}, {"1": "a"}),
            (float("nan"), "nan"),
        ],
    )
    def test_a_row_that_nothing_checked_is_scored_and_named_whatever_its_index_is(
        self, index: object, traced: object
    ) -> None:
        info = score(RESPONSE, {}, {"index": index, "key_steps": []})["reward_extra_info"]
        assert json.loads(info[TRACE_KEY])["index"] == traced

    def test_verls_legacy_trainer_is_not_given_a_trace_that_it_would_not_write(self) -> None:
        info = score(RESPONSE, {}, self.EXTRA, use_v1=False)["reward_extra_info"]
        assert set(info) == set(SCORE_KEYS)

    def test_without_a_trace_folder_the_texts_are_not_carried(self) -> None:
        info = score(RESPONSE, {}, self.EXTRA)["reward_extra_info"]
        assert PACKED_KEY not in info
        trace = json.loads(info[TRACE_KEY])
        assert (trace["prompt"], trace["response"]) == (None, None)

    @pytest.mark.parametrize("text", ["", "\ufffd", "###" * 1000, "### Step 1:\n" * 50])
    def test_whatever_a_model_wrote_has_the_same_keys(self, text: str) -> None:
        assert set(score(text, {}, self.EXTRA)["reward_extra_info"]) == {*SCORE_KEYS, TRACE_KEY, SCORER_KEY}


class TestValidationRows:
    def test_sessions_of_a_uid_are_numbered_in_their_order(self) -> None:
        first, second, third = (packed(trace_row(text)) for text in "123")
        lines = trainer_hooks.validation_lines(["a", "b", "a", "b"], [first, second, None, third], 5)
        rows = [parse_row(gzip.decompress(line)) for line in lines]
        assert [(r.split, r.step, r.uid, r.session, r.response) for r in rows] == [
            ("val", 5, "a", 0, "1"),
            ("val", 5, "b", 0, "2"),
            ("val", 5, "b", 1, "3"),
        ]


class TestValidationInfos:
    """verl averages a validation itself; what means nothing for a prompt is kept out of its means."""

    def infos(self, *key_steps: list, node: dict | None = None) -> dict[str, list]:
        scored = [
            score(RESPONSE, node or {}, {"index": i, "key_steps": own})["reward_extra_info"]
            for i, own in enumerate(key_steps)
        ]
        return {key: [one[key] for one in scored] for key in scored[0]}

    @staticmethod
    def defined(infos: Mapping[str, list]) -> Mapping[str, Sequence]:
        return trainer_hooks.validation_infos(infos, trainer_hooks.validated(infos[TRACE_KEY]))

    def test_verls_mean_of_the_match_is_over_prompts_with_key_steps(self) -> None:
        from verl.trainer.ppo.metric_utils import process_validation_metrics

        infos = self.defined(self.infos(["3 + 5 = 8"], [], ["3 + 5 = 9"], []))
        metrics = process_validation_metrics(["d"] * 4, list("abcd"), infos)["d"]
        assert metrics["key_step_match"]["mean@1"] == 0.5
        assert metrics["with_key_steps"]["mean@1"] == 0.5
        assert metrics["acc"]["mean@1"] == metrics["acc_flexible"]["mean@1"] == 1.0

    def test_without_any_key_step_verl_has_no_mean_of_the_match(self) -> None:
        from verl.trainer.ppo.metric_utils import process_validation_metrics

        infos = self.defined(self.infos([], []))
        assert "key_step_match" not in process_validation_metrics(["d"] * 2, ["a", "b"], infos)["d"]

    def test_what_another_manager_gave_stays_as_it_is(self) -> None:
        infos = {"acc": [1.0, 1.0], TRACE_KEY: [None, None]}
        assert self.defined(infos) is infos
        infos["key_step_match"] = [0.0, 1.0]
        assert self.defined(infos)["key_step_match"] == [0.0, 1.0]

    def test_each_trace_of_a_validation_is_parsed_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        infos = self.infos(["3 + 5 = 8"], [], node={"trace_dir": "x"})
        config = {"algorithm": {"adv_estimator": "stepgrpo", "stepgrpo": {"trace_dir": str(tmp_path)}}}
        trainer = SimpleNamespace(config=OmegaConf.create(config), global_steps=3)
        parsed: list[str] = []
        monkeypatch.setattr(
            trainer_hooks, "json", SimpleNamespace(loads=lambda text: parsed.append(text) or json.loads(text))
        )
        averaged = trainer_hooks._val_metrics_update(lambda *given: given[3])(
            trainer, ["d"] * 2, ["a", "b"], infos
        )
        assert averaged["with_key_steps"] == [1.0, 0.0]
        assert parsed == infos[TRACE_KEY]
        (path,) = tmp_path.glob("val/*.jsonl.gz")
        assert [row.uid for row in read_trace(path)] == ["a", "b"]

    def test_training_leaves_them_out_too(self) -> None:
        scored = [score(RESPONSE, {}, {"key_steps": own}) for own in (["3 + 5 = 8"], [])]
        rows = judged_rows(["a_0_0", "b_0_0"], scored)
        assert ["key_step_match" in row.components for row in rows] == [True, False]


def test_the_state_of_a_run_is_made_once() -> None:
    trainer = SimpleNamespace(config=OmegaConf.create({"algorithm": {}}))
    assert trainer_hooks.RunState.of(trainer) is trainer_hooks.RunState.of(trainer)
    assert trainer_hooks.RunState.of(trainer).settings == RunSettings()


class TestBeginningTraces:
    def begin(self, folder: Path, step: int, **settings: object) -> None:
        config = OmegaConf.create(
            {
                "actor_rollout_ref": {"model": {"path": "model"}},
                "data": {"train_files": ["a"], "val_files": "b"},
            }
        )
        run_header.begin_traces(folder, RunSettings.from_mapping(settings), config, step).join()

    def test_each_start_is_written_down(self, tmp_path: Path) -> None:
        self.begin(tmp_path, 0)
        self.begin(tmp_path, 3, alpha=0.5)
        first, second = read_header(tmp_path)
        assert (first.from_step, first.settings["alpha"]) == (0, 0.1)
        assert (second.from_step, second.settings["alpha"]) == (3, 0.5)
        assert first.data == {"train": [DataFile("a", None)], "val": [DataFile("b", None)]}

    def test_what_another_attempt_left_is_kept_aside_and_said(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for step in (1, 2):
            TraceWriter(tmp_path).write("train", step, [trace_row(step=step)])
        self.begin(tmp_path, 1)
        assert [path.name for path in trace_files(tmp_path)] == ["step-000001.jsonl.gz"]
        (message,) = [record.getMessage() for record in caplog.records]
        assert "had steps after 1, of another attempt; they are in" in message

    def test_a_folder_that_cannot_be_written_costs_the_header_and_not_the_run(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "header.jsonl").symlink_to("/dev/full")
        self.begin(tmp_path, 1)
        (message,) = [record.getMessage() for record in caplog.records]
        assert "gets no header" in message


class TestTokenAdvantages:
    def test_the_first_is_that_of_the_first_unmasked_token(self) -> None:
        values = np.array([9.0, 2.0, -4.0])
        own = trainer_hooks.TokenAdvantages(values, np.array([0, 1, 1]))
        assert (own.first, own.mean_absolute) == (2.0, 3.0)
        none = trainer_hooks.TokenAdvantages(values, np.array([0, 0, 0]))
        assert (none.first, none.mean_absolute) == (0.0, 0.0)

    def test_spans_are_the_steps_and_what_follows(self) -> None:
        values = np.array([1.0, 1.0, 2.0, 0.0, 3.0])
        own = trainer_hooks.TokenAdvantages(values, np.array([1, 1, 1, 0, 1]))
        assert own.of_spans([2, 3]) == [1.0, 2.0, 3.0]
        assert own.of_spans([]) == [1.0]
        assert own.of_spans([2, 2, 5]) == [1.0, None, 2.0, None]

    def test_tools_tokens_belong_to_no_step(self) -> None:
        values = np.array([1.0, 9.0, 9.0, 2.0])
        own = trainer_hooks.TokenAdvantages(values, np.array([1, 0, 0, 1]))
        assert own.of_spans([1, 3]) == [1.0, None, 2.0]
        assert own.of_spans([2, 4]) == [1.0, 2.0, None]


class TestJudgedRows:
    """From verl's rows to what the estimator reads."""

    def rows(self) -> list[Judged]:
        node = {"credit": "step", "trace_dir": "x"}
        info = score(RESPONSE, node, TestRewardManager.EXTRA)["reward_extra_info"]
        keys = ["u_0_0", "u_0_1", "v_3_0", "pad1_0_0"]
        return judged_rows(keys, [{"reward_extra_info": info}] * 2 + [{}, None])

    def test_names_components_and_steps(self) -> None:
        earlier, final, without, padding = self.rows()
        assert (final.uid, final.session, final.is_padding) == ("u", 0, False)
        assert final.components["score"] == pytest.approx(2.1)
        assert final.earned().step_shares == pytest.approx([0.05, 0.05])
        assert final.step_ends == [
            len(RESPONSE[: RESPONSE.index(h)].encode()) for h in ("### Step 2", "### The")
        ]
        assert final.key_steps == [("first digit is 3",), ("3 + 5 = 8",)]
        assert (earlier.earned().step_shares, earlier.step_ends) == ([pytest.approx(0.1)], [])
        assert (without.judgement, without.earned().step_shares, without.session) == (None, (), 3)
        assert padding.is_padding

    def test_they_are_known_only_while_they_are_provided(self) -> None:
        rows = self.rows()
        with provided(rows):
            assert current() is rows
        assert current() is None

    def test_what_the_estimator_makes_of_them_is_kept_for_the_hook(self) -> None:
        mask = torch.tensor([[1, 1, 0], [1, 0, 0]] * 2)
        rewards = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]] * 2)
        with provided(self.rows()) as held:
            given, _ = compute_stepgrpo_advantage(rewards, mask, np.array(["u", "u", "v", "v"]))
        earlier, final, other = trainer_hooks._token_advantages(held)  # and none of padding
        assert (earlier.mean_absolute, final.first) == pytest.approx((0.7071, 0.7071), abs=1e-4)
        assert other.of_spans([1]) == given[2, :2].tolist()

    def test_a_trace_row_has_the_advantage_of_each_step(self) -> None:
        _, final, without, _ = self.rows()
        values = np.zeros(len(RESPONSE.encode()))
        values[: final.step_ends[0]] = 2.0
        own = trainer_hooks.TokenAdvantages(values, np.ones_like(values))
        line = trainer_hooks.training_line(final, own, 7)
        assert line is not None
        row = parse_row(gzip.decompress(line))
        assert (row.split, row.step, row.uid, row.session) == ("train", 7, "u", 0)
        assert row.credit is not None
        assert (row.credit.first, row.credit.spans) == (2.0, (2.0, 0.0, 0.0))
        assert row.credit.mean_absolute == pytest.approx(2.0 * final.step_ends[0] / len(values))
        assert trainer_hooks.training_line(without, own, 7) is None
