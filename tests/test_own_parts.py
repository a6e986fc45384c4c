"""Parts of the reward beside StepRAR and StepRVR: the page's examples, what they come to, and mistakes."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from chat_server import ChatServer
from helpers import parquet
from hypothesis import given
from hypothesis import strategies as st
from test_from_grpo import composed
from test_rules import said
from test_trainer_hooks import RESPONSE, score
from typer.testing import CliRunner, Result

from verl_stepgrpo import ConfigError, RewardSettings, RunSettings, compute_score, score_response
from verl_stepgrpo.advantage import advantages, as_tensors, group_ids
from verl_stepgrpo.bridge.checks import preflight
from verl_stepgrpo.bridge.checks.run import Manager, Run
from verl_stepgrpo.bridge.judged import judged_rows
from verl_stepgrpo.cli import app
from verl_stepgrpo.commands.options import reward_settings
from verl_stepgrpo.curves import Outcome, curves
from verl_stepgrpo.earned import Earned
from verl_stepgrpo.evaluation.summary import changes, estimates
from verl_stepgrpo.parts import checked, overlong, repetition
from verl_stepgrpo.replay.replay import replay
from verl_stepgrpo.replay.variants import variants
from verl_stepgrpo.traces.files import TraceWriter, read_trace, trace_files
from verl_stepgrpo.traces.header import Start
from verl_stepgrpo.traces.rows import TRAIN, Credit, TraceRow, judgement_of

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "own-parts.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
README_RESPONSE = re.findall(
    r'response = """(.*?)"""', (Path(__file__).resolve().parents[1] / "README.md").read_text(), re.DOTALL
)[0]
EXTRA: dict = {"index": 7, "key_steps": [["3 + 5 = 8"]]}
PLAIN = 2.1


def example(name: str) -> Callable[..., object]:
    """Return the function of an example, with those of its imports that are other examples."""
    (code,) = [block for block in BLOCKS if block.startswith(f"# {name}.py")]
    Path(f"{name}.py").write_text(code)
    scope: dict = {}
    exec(code, scope)
    return scope["compute_score"]


def paid(
    function: Callable[..., object] | None, weights: dict, response: str = RESPONSE, **more: object
) -> dict:
    """Return what the manager makes of a response with a function's parts; verl binds ``reward_kwargs`` beforehand."""
    return score(response, {"extra_weights": weights}, EXTRA, function=function, **more)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


class TestExamples:
    def test_the_length_of_the_recipe_is_that_of_the_page(self, caplog: pytest.LogCaptureFixture) -> None:
        recipe = Path(__file__).resolve().parents[1] / "recipes" / "own_answers"
        (code,) = [block for block in BLOCKS if block.startswith("# brief.py")]
        assert (recipe / "brief.py").read_text() == code
        asked = re.findall(
            r"(\S*custom_reward_function\S*|algorithm\.stepgrpo\.extra\S*)", (recipe / "run.sh").read_text()
        )
        asked = [word.strip("'\"").replace("$HERE", str(recipe)).replace('"', "") for word in asked]
        config = composed("+stepgrpo=paper", *asked)
        assert said(config, caplog) == ([], [])
        from verl.trainer.ppo.reward import get_custom_reward_fn

        found = paid(get_custom_reward_fn(config), dict(config.algorithm.stepgrpo.extra_weights))
        assert found["reward_extra_info"]["extra_brief"] == pytest.approx(-len(RESPONSE) / 100)

    def test_length_is_paid_and_shown(self, caplog: pytest.LogCaptureFixture) -> None:
        example("brief")
        config = composed(*shlex.split(COMMANDS[0].replace("\\\n", " "))[3:])
        assert said(config, caplog) == ([], [])
        from verl.trainer.ppo.reward import get_custom_reward_fn

        found = paid(get_custom_reward_fn(config), dict(config.algorithm.stepgrpo.extra_weights))
        info = found["reward_extra_info"]
        assert info["extra_brief"] == pytest.approx(-len(RESPONSE) / 1000)
        assert found["reward_score"] == info["score"] == pytest.approx(PLAIN - 0.1 * len(RESPONSE) / 1000)
        assert json.loads(info["stepgrpo_trace"])["components"]["extra_brief"] == info["extra_brief"]

    @pytest.mark.parametrize(
        ("said", "overlap"),
        [
            ("<box>0, 0, 10, 10</box>", 1),
            ("<box>5, 0, 15, 10</box>", 1 / 3),
            ("<box>20, 20, 30, 30</box>", 0),
            ("at the left", 0),
        ],
    )
    def test_grounding(self, said: str, overlap: float) -> None:
        node = {"extra_weights": {"grounding": 0.5}}
        found = score(said, node, EXTRA | {"box": [0, 0, 10, 10]}, function=example("grounding"))
        assert found["reward_extra_info"]["extra_grounding"] == pytest.approx(overlap)
        assert found["reward_score"] == pytest.approx(overlap / 2)

    def test_a_judge_model_is_asked_over_http(self) -> None:
        with judge("I say 7 of 10.") as server:
            function = functools.partial(example("judge"), url=server.url, model="m")
            found = paid(function, {"judge": 0.5})
        assert found["reward_extra_info"]["extra_judge"] == 0.7
        assert found["reward_score"] == pytest.approx(PLAIN + 0.35)
        (asked,) = server.bodies
        assert asked["model"] == "m"
        assert asked["messages"][0]["content"].endswith(RESPONSE)

    def test_verls_router_is_handed_over(self) -> None:
        example("judge")
        with judge("10") as server:
            function = functools.partial(example("router"), model="m")
            address = server.url.removeprefix("http://").removesuffix("/v1")
            found = paid(function, {"judge": 1}, reward_router_address=address)
        assert found["reward_score"] == pytest.approx(PLAIN + 1)

    def test_the_ready_parts_print_what_the_page_says(self) -> None:
        (code,) = [block for block in BLOCKS if "verl_stepgrpo.parts" in block]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, {})
        assert printed.getvalue() in re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)

    def test_a_subclass_is_loaded_by_verl_and_pays_what_it_says(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        from verl.trainer.ppo.reward import resolve_reward_manager_cls

        (code,) = [block for block in BLOCKS if "class Terse" in block]
        Path("terse.py").write_text(code)
        command = COMMANDS[-1].replace("\\\n", " ")
        config = composed(*shlex.split(command)[3:], "algorithm.stepgrpo.credit=step")
        assert said(config, caplog) == ([], [])
        assert Run.of(config).manager is Manager.SUBCLASS
        own = score(RESPONSE, {}, EXTRA, manager=resolve_reward_manager_cls(config))
        length = len(RESPONSE) + 2  # the two tokens behind it are characters of the tokenizer of the test
        assert own["reward_score"] == pytest.approx(PLAIN - 0.1 * length / 1000)
        assert own["reward_extra_info"]["score"] == own["reward_score"]

    def test_a_subclass_calls_the_function_too(self, caplog: pytest.LogCaptureFixture) -> None:
        from verl.trainer.ppo.reward import get_custom_reward_fn, resolve_reward_manager_cls

        (code,) = [block for block in BLOCKS if "class Terse" in block]
        Path("terse.py").write_text(code)
        example("brief")
        words = [shlex.split(COMMANDS[i].replace("\\\n", " "))[4:] for i in (0, -1)]
        config = composed("+stepgrpo=paper", *words[0], *words[1])
        assert said(config, caplog) == ([], [])
        found = paid(get_custom_reward_fn(config), {"brief": 1.0}, manager=resolve_reward_manager_cls(config))
        terse = found["reward_extra_info"]["terse"]
        assert found["reward_score"] == pytest.approx(PLAIN - len(RESPONSE) / 1000 + terse)


@contextlib.contextmanager
def judge(says: str):
    class Judge(ChatServer):
        def contents(self, body: dict, fault: str) -> list[str]:
            return [says]

    server = Judge()
    try:
        yield server
    finally:
        server.close()


class TestFunctions:
    def test_a_number_is_the_part_score(self) -> None:
        found = paid(lambda **_: 0.5, {"score": 2})
        assert found["reward_extra_info"]["extra_score"] == 0.5
        assert found["reward_score"] == pytest.approx(PLAIN + 1)

    def test_it_gets_what_verls_own_manager_hands_over(self) -> None:
        got: dict = {}
        paid(lambda **row: got.update(row) or 0, {"score": 0})
        assert got == {
            "data_source": "digits",
            "solution_str": RESPONSE,
            "ground_truth": "8",
            "extra_info": {**EXTRA, "num_turns": None, "rollout_reward_scores": {}},
        }

    def test_a_part_of_weight_0_is_shown_and_not_paid(self) -> None:
        found = paid(lambda **_: {"a": 3, "b": True}, {"a": 0, "b": 1})
        assert found["reward_score"] == pytest.approx(PLAIN + 1)
        assert found["reward_extra_info"]["extra_a"] == 3.0

    def test_it_is_not_called_for_ready_parts_alone(self) -> None:
        found = paid(lambda **_: 1 / 0, {"repetition": 1})
        assert found["reward_score"] == pytest.approx(PLAIN + repetition(RESPONSE))

    @pytest.mark.parametrize(
        ("returned", "message"),
        [
            ({"a": math.nan}, "its part a is nan; expected a finite number"),
            ({"a": math.inf}, "its part a is inf"),
            ({"a": "1"}, "its part a is '1'"),
            ({"a": None}, "its part a is None"),
            (
                {"a": 1, "b": 2},
                r"its part b has no weight: set algorithm.stepgrpo.extra_weights.b, to 0 where",
            ),
            ({"a": 1, "overlong": 2}, "overlong has the name of one that is ready"),
            ({"a": 1, 3: 1}, "a part 3: it is no name"),
            ({"a": 1, "a b": 1}, "a part 'a b': it is no name"),
            ({}, "it returned no part a, which algorithm.stepgrpo.extra_weights has a weight for"),
            ([1], r"it returned \[1\] \(list\)"),
            (None, r"it returned None \(NoneType\)"),
        ],
    )
    def test_what_it_returns_wrongly_is_said_with_file_and_row(self, returned: object, message: str) -> None:
        where = r"reward\.custom_reward_function\.path=own\.py, of the row with index 7 of digits: "
        with pytest.raises(ConfigError, match=where + ".*" + message):
            paid(lambda **_: returned, {"a": 1})

    @pytest.mark.parametrize("is_async", [False, True])
    def test_its_own_error_is_said_with_the_row(self, is_async: bool) -> None:
        def fails(**_: object) -> None:
            raise KeyError("box")

        async def fails_later(**_: object) -> None:
            fails()

        with pytest.raises(
            RuntimeError,
            match=r"own\.py, of the row with index 7 .*it failed in line \d+ of .*: KeyError: 'box'",
        ):
            paid(fails_later if is_async else fails, {"a": 1})

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            (None, "FileNotFoundError"),
            ("def other(): pass", "verl cannot load its function compute_score: AttributeError"),
            ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ],
    )
    def test_one_that_cannot_be_loaded_ends_the_command(self, code: str | None, message: str) -> None:
        if code is not None:
            Path("own.py").write_text(code)
        config = composed(
            "+stepgrpo=paper",
            "reward.custom_reward_function.path=own.py",
            "algorithm.stepgrpo.extra_weights={a:1}",
        )
        with pytest.raises(ConfigError, match=f"custom_reward_function.path=own.py: .*{message}"):
            preflight.check(config)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("solution_str, ground_truth", "unexpected keyword argument 'data_source'"),
            ("data_source, solution_str, ground_truth, reward_router_address, **_", "enable=True"),
            (
                "data_source, solution_str, ground_truth, extra_info, per",
                "missing a required argument: 'per'",
            ),
            ("data_source, solution_str, ground_truth, extra_info=None, per=1", None),
            ("**row", None),
        ],
    )
    def test_one_that_cannot_be_called_ends_the_command(self, arguments: str, message: str | None) -> None:
        """Else it fails in the sessions, minutes later, behind the engine's start."""
        Path("own.py").write_text(f"def compute_score({arguments}): return 0")
        config = composed(
            "+stepgrpo=paper",
            "reward.custom_reward_function.path=own.py",
            "algorithm.stepgrpo.extra_weights={score:1}",
        )
        if message is None:
            return preflight._check_function(config)
        with pytest.raises(
            ConfigError, match=f"own.py: its function compute_score cannot be called .*{message}"
        ):
            preflight.check(config)

    def test_turns_and_tools_reach_it_without_changing_the_row(self) -> None:
        got: dict = {}
        extra = dict(EXTRA)
        score(
            RESPONSE, {"extra_weights": {"a": 1}}, extra, function=lambda **row: got.update(row) or {"a": 1}
        )
        assert got["extra_info"]["num_turns"] is None
        assert extra == EXTRA


class TestTried:
    """``score`` calls a function as the manager does, before a run."""

    def scored(
        self, *settings: str, code: str | None = None, data: tuple = ("--ground-truth", "8")
    ) -> Result:
        Path("response.txt").write_text(RESPONSE)
        if code is not None:
            Path("own.py").write_text(code)
        sets = [word for one in settings for word in ("--set", one)]
        return CliRunner().invoke(app, ["score", "response.txt", *data, *sets])

    def test_the_command_of_the_page_prints_what_the_page_says(self) -> None:
        example("brief")
        (command,) = [one for one in COMMANDS if "score response.txt" in one]
        (said,) = re.findall(r"```text\n(Parts.*)\n```", PAGE)
        words = shlex.split(command.replace("\\\n", " "))
        Path("response.txt").write_text(README_RESPONSE)
        assert said in CliRunner().invoke(app, words[1:]).output.splitlines()

    @pytest.mark.parametrize(
        "weights", ["algorithm.stepgrpo.extra_weights={brief:0.1}", "extra_weights.brief=0.1"]
    )
    def test_it_pays_what_the_manager_pays(self, weights: str) -> None:
        function = functools.partial(example("brief"), per=100)
        path = "reward.custom_reward_function.path=brief.py"
        done = self.scored(path, "+reward.custom_reward_function.reward_kwargs.per=100", weights)
        paid_by_manager = paid(function, {"brief": 0.1})["reward_extra_info"]["extra_brief"]
        assert f"brief 0.1 x {paid_by_manager:g}" in done.output

    def test_a_row_of_data_hands_over_what_it_has(self) -> None:
        row = {
            "data_source": "d",
            "prompt": [{"role": "user", "content": "How many?"}],
            "reward_model": {"style": "rule", "ground_truth": "8"},
            "extra_info": {"index": 0, "box": 3},
        }
        data = ("--data", parquet(Path("rows.parquet"), [row]))
        code = "async def own(data_source, extra_info, **_): return extra_info['box'] * (data_source == 'd')"
        settings = ("path=own.py", "name=own")
        done = self.scored(
            *(f"reward.custom_reward_function.{one}" for one in settings),
            "extra_weights.score=1",
            code=code,
            data=data,
        )
        assert "score 1 x 3" in done.output, done.exception

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("def compute_score(**_): return {'b': 1}", "its part b has no weight"),
            (
                "def compute_score(**_): return {'a': float('nan')}",
                "its part a is nan; expected a finite number",
            ),
            ("def compute_score(solution_str): return {'a': 1}", "cannot be called as verl calls it"),
            (
                "def compute_score(**_):\n    return {'a': {}['x']}",
                "it failed in line 2 of .*own.py: KeyError: 'x'",
            ),
            ("def other(**_): pass", "its function compute_score cannot be loaded: AttributeError"),
            ("", "its function compute_score cannot be loaded: AttributeError"),
            (None, "cannot be loaded: FileNotFoundError"),
        ],
    )
    def test_what_is_wrong_is_said(self, code: str | None, message: str) -> None:
        done = self.scored("reward.custom_reward_function.path=own.py", "extra_weights.a=1", code=code)
        assert isinstance(done.exception, ConfigError)
        assert re.search(message, str(done.exception))

    def test_a_key_that_verl_does_not_read_is_refused(self) -> None:
        for key, wanted in (("nme=x", "nme: verl reads path, name"), ("name=x", "path=FILE")):
            error = self.scored(f"reward.custom_reward_function.{key}", "extra_weights.a=1").exception
            assert wanted in str(error)


class TestSet:
    @pytest.mark.parametrize(
        "text",
        [
            "{brief:0.1,other:-2}",
            "{brief: 0.1, other: -2}",
            '{"brief": 0.1, "other": -2}',
            "{ 'brief': .1 , 'other': -2.0 }",
        ],
    )
    @pytest.mark.parametrize("node", ["", "algorithm.stepgrpo.", "+algorithm.stepgrpo."])
    def test_weights_may_stand_in_one_object(self, node: str, text: str) -> None:
        settings = reward_settings([f"{node}extra_weights={text}", f"{node}alpha=0.2"])
        assert settings == RewardSettings(alpha=0.2, extra_weights={"brief": 0.1, "other": -2})

    def test_none_are_none(self) -> None:
        assert reward_settings(["extra_weights={}"]) == RewardSettings()

    @pytest.mark.parametrize("text", ["{brief}", "{brief:0.1", "{:1}", "{a:1,}", "{a:}"])
    def test_what_is_no_object_is_refused_with_the_form(self, text: str) -> None:
        with pytest.raises(
            ConfigError, match=r"--set 'extra_weights={brief:0.1}', or .*--set extra_weights.brief=0.1"
        ):
            reward_settings([f"extra_weights={text}"])

    def test_one_that_stands_twice_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"--set extra_weights\.a is given twice"):
            reward_settings(["extra_weights={a:1}", "extra_weights.a=2"])


class TestSettings:
    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ({"a": math.nan}, r"extra_weights\.a=nan is out of range: it must be a finite number"),
            ({"a": "b"}, r"extra_weights\.a='b'"),
            ({"a b": 1}, "extra_weights has a part 'a b': it is no name"),
            ({3: 1}, "extra_weights has a part 3: it is no name"),
            ({"_a": 1}, "a part '_a': it is no name"),
            ({"summary": 1}, "a part 'summary': its name has 'sum' in it, which makes verl take the sum"),
            ({"a": 1, "b": math.inf, "c d": 2}, r"(?s)extra_weights\.b=inf.*extra_weights has a part 'c d'"),
            ([1], r"extra_weights=\[1\] is out of range: it must be an object of names and weights"),
        ],
    )
    def test_a_mistake_is_said(self, weights: object, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            RunSettings.from_mapping({"extra_weights": weights})

    def test_all_that_is_out_of_range_is_said_at_once(self) -> None:
        node = {"alpha": -1, "format": "no such", "credit": "token", "std_floor": -1, "overlong_buffer": 0}
        with pytest.raises(ConfigError) as error:
            RunSettings.from_mapping(node)
        said = str(error.value).splitlines()
        assert [re.search("|".join(node), line)[0] for line in said] == list(node)
        with pytest.raises(ConfigError, match=r"(?s)alhpa.*credti"):
            RunSettings.from_mapping({"alhpa": 1, "credti": "step"})

    def test_settings_with_weights_are_a_key_and_come_back_from_a_header(self) -> None:
        settings = RunSettings.from_mapping({"extra_weights": {"b": 1, "a": 2}})
        again = RunSettings.from_mapping(json.loads(json.dumps(settings.to_mapping())))
        assert settings == again
        assert hash(settings) == hash(again)
        assert {settings: 1}[RunSettings(reward=RewardSettings(extra_weights={"a": 2.0, "b": 1.0}))] == 1

    def test_where_nothing_gives_a_part_its_weight_is_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"extra_weights\.brief=0\.1: no such part is given here"):
            compute_score("d", RESPONSE, "8", {}, extra_weights={"brief": 0.1})
        assert compute_score("d", RESPONSE, "8", {}, extra_weights={"repetition": 1})["extra_repetition"] <= 0


class TestReadyParts:
    @given(st.text(alphabet="ab ."))
    def test_repetition_is_a_share(self, text: str) -> None:
        assert -1 <= repetition(text) <= 0

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", 0),
            ("one two three", 0),
            ("one two three four five", 0),
            ("no " * 100, -96 / 97),
            ("One two three four. one two three four.", -2 / 7),
            ("三加五等于八三加五等于八", -3 / 9),
        ],
    )
    def test_repetition(self, text: str, expected: float) -> None:
        assert repetition(text) == pytest.approx(expected)

    def test_overlong_is_dapos(self) -> None:
        """Equation 13 with the paper's own lengths: 16,384 and 4,096 behind."""
        longest, cache = 20480, 4096

        def slow(length: int) -> float:
            if length <= longest - cache:
                return 0.0
            return ((longest - cache) - length) / cache if length <= longest else -1.0

        lengths = [0, 16384, 16385, 18432, 20479, 20480, 30000]
        found = [overlong(n, longest, cache / longest) for n in lengths]
        assert found == pytest.approx([slow(n) for n in lengths])

    def test_overlong_counts_all_tokens_of_a_run(self) -> None:
        n_tokens = len(RESPONSE.encode())
        node = {"extra_weights": {"overlong": 1}, "overlong_buffer": 0.5}
        for longest, expected in ((2 * n_tokens, 0.0), (n_tokens, -1.0)):
            found = score(RESPONSE, node, EXTRA, longest=longest)
            assert found["reward_extra_info"]["extra_overlong"] == pytest.approx(expected, abs=0.02)


SETTINGS = RunSettings.from_mapping({"extra_weights": {"brief": 0.5, "other": -1}})


def row(brief: float, session: int = 0, response: str = RESPONSE) -> TraceRow:
    parts = {"brief": brief, "other": 0.0}
    scored = score_response(response, "8", [["3 + 5 = 8"]], SETTINGS.reward, parts)
    judgement = judgement_of(scored, SETTINGS.reward, ground_truth="8", response=response, index=0)
    credit = Credit(brief, (brief, brief, brief), abs(brief))
    return TraceRow.of(judgement, step=1, uid="a", session=session, credit=credit)


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    folder = tmp_path / "traces"
    TraceWriter(folder).write(TRAIN, 1, [row(b, i) for i, b in enumerate((-1.0, 0.0, 1.0, 2.0))])
    Start(0, SETTINGS.to_mapping(), None, "m", [], {}).write(folder)
    return folder


class TestEverywhere:
    def test_a_trace_keeps_numbers_and_not_payments(self, traces: Path) -> None:
        (first, *_) = read_trace(*trace_files(traces))
        assert first.parts == {"brief": -1.0, "other": 0.0}
        assert first.total == pytest.approx(PLAIN - 0.5)

    def test_curves(self) -> None:
        drawn = curves([Outcome("a", row(b).components, 1.0) for b in (1.0, 2.0)])
        assert drawn["stepgrpo/extra_brief/mean"] == 1.5

    def test_an_evaluation(self) -> None:
        before, after = ([row(b).components] for b in (0.0, 1.0))
        assert estimates([before, after])["extra_brief"].mean == 0.5
        assert changes({0: before, 1: before}, {0: after, 1: after})["extra_brief"].difference.mean == 1

    def test_replay_weighs_them_anew(self, traces: Path) -> None:
        values = {"extra_weights.brief": [0, 0.5, 1], "extra_weights.repetition": [0.5]}
        logged, *found = replay(traces, variants(values)).summaries
        assert logged.components["extra_brief"] == 0.5
        assert [one.components["score"] for one in found] == pytest.approx(
            [PLAIN + w * 0.5 + 0.5 * repetition(RESPONSE) for w in (0, 0.5, 1)]
        )
        assert found[0].groups["groups_without_variance"] == 1
        assert logged.groups["groups_without_variance"] == found[1].groups["groups_without_variance"] == 0
        # All that differs counts with validity.
        assert found[1].shares["validity_share"] == pytest.approx(1)

    def test_a_replay_says_what_no_trace_has(self, traces: Path) -> None:
        """The setting is wrong, and no line of the traces."""
        with pytest.raises(
            ConfigError, match=r"judge=1: the traces of .* have no such part, and have brief, other; rep"
        ):
            replay(traces, variants({"extra_weights.judge": [1]}))

    def test_the_command_prints_them(self, traces: Path) -> None:
        done = CliRunner().invoke(app, ["replay", str(traces), "--set", "extra_weights.brief=0,1"])
        assert done.exit_code == 0, done.output
        assert "extra_weights.brief=0 |" in done.output
        assert "extra brief 0.500" in done.output
        done = CliRunner().invoke(app, ["score", "--trace", str(traces), "--uid", "a"])
        assert "Parts    -0.500  brief 0.5 x -1 + other -1 x 0" in done.output
        assert "extra_weights.brief=0.5" in done.output
        assert "The trace has" not in done.output

    def test_an_evaluation_refuses_what_it_cannot_pay(self, tmp_path: Path) -> None:
        command = ["eval", "x.parquet", "--model", "m", "--out", "o", "--set", "extra_weights.overlong=1"]
        error = CliRunner().invoke(app, command).exception
        assert isinstance(error, ConfigError)
        assert "extra_weights.overlong=1" in str(error)

    def test_the_report_has_their_course_and_their_place(self, traces: Path) -> None:
        pytest.importorskip("plotly")
        from verl_stepgrpo.report.build import Sources, write_report

        write_report(Sources(traces), Path("report.html"), max_rollouts=10)
        page = Path("report.html").read_text()
        (data,) = re.findall(r'id="chart-data"[^>]*>(.*?)</script>', page, re.DOTALL)
        charts = {chart["id"]: chart for chart in json.loads(data)}
        assert charts["extra_brief"]["series"][0]["values"] == [0.5]
        paid = {series["name"]: series["values"][0] for series in charts["paid"]["series"]}
        assert paid["other parts"] == pytest.approx(0.25)
        assert sum(paid.values()) == pytest.approx(PLAIN + 0.25)
        assert "Part brief" in page


class TestAdvantages:
    def test_judged_rows_keep_them(self) -> None:
        info = paid(lambda **_: {"brief": 2}, {"brief": 0.5})["reward_extra_info"]
        (found,) = judged_rows(["a_0_0"], [{"reward_extra_info": info}])
        assert found.components["extra_brief"] == 2.0
        assert found.earned({"brief": 0.5}).parts == (1.0,)

    def earned(self, parts: list[tuple[float, ...]], correct: list[bool]) -> list[Earned]:
        both = enumerate(zip(parts, correct, strict=True))
        return [Earned(right, 0.05 * i, float(i % 2), (), (), parts=own) for i, (own, right) in both]

    @pytest.mark.parametrize("combine", ["sum", "answer_first", "component"])
    def test_they_count_with_validity(self, combine: str) -> None:
        node = {"combine": combine, "extra_weights": {"brief": 0.5, "other": -2}}
        settings = RunSettings.from_mapping(node)
        earned = self.earned([(0.5, -2.0), (0.0, 0.0), (0.25, -4.0), (0.1, 0.0)], [True, True, False, True])
        scores, steps = as_tensors(earned)
        totals = [e.correct + e.key_step_share + e.validity + sum(e.parts) for e in earned]
        rewards = torch.tensor(totals, dtype=torch.float64)
        found = advantages(rewards, group_ids("aaaa"), settings, scores=scores, steps=steps)
        assert sum(found.shares.values()) == pytest.approx(1)
        without, _ = as_tensors([replace(one, parts=(0.0, 0.0)) for one in earned])
        same = torch.tensor(
            [t - sum(e.parts) for t, e in zip(totals, earned, strict=True)], dtype=torch.float64
        )
        other = advantages(same, group_ids("aaaa"), settings, scores=without, steps=steps)
        assert not torch.allclose(found.values, other.values)

    def test_a_component_is_each_part_by_itself_times_its_weight(self) -> None:
        """GDPO: z(answer) + |w| z(part), here of parts in every unit."""
        settings = RunSettings.from_mapping(
            {"combine": "component", "alpha": 0, "rvr_weight": 0, "extra_weights": {"a": 3, "b": -0.5}}
        )
        raw = torch.tensor([[1.0, 100.0], [2.0, 300.0], [4.0, 0.0]], dtype=torch.float64)
        paid_BE = raw * torch.tensor([3.0, -0.5])
        earned = [
            Earned(bool(i % 2), 0.0, 0.0, (), (), parts=tuple(p)) for i, p in enumerate(paid_BE.tolist())
        ]
        scores, steps = as_tensors(earned)
        found = advantages(paid_BE.sum(1), group_ids("aaa"), settings, scores=scores, steps=steps).values[
            :, 0
        ]

        def z(x: torch.Tensor) -> torch.Tensor:
            return (x - x.mean()) / x.std()

        answer = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
        by_hand = z(answer) + 3 * z(raw[:, 0]) - 0.5 * z(raw[:, 1])
        assert found.tolist() == pytest.approx(z(by_hand).tolist(), abs=1e-6)

    @pytest.mark.parametrize("weight", [0.1, 3.0])
    @pytest.mark.parametrize("by_std", [True, False])
    @pytest.mark.parametrize("node", [{}, {"std_floor": 0.4}, {"mode": "reference"}])
    def test_with_component_it_weighs_as_key_steps_and_validity_do_at_its_weight(
        self, weight: float, by_std: bool, node: dict
    ) -> None:
        """One unit, found by some of the responses, is paid as key steps, as validity and as a part of either sign."""
        right, unit = [True, True, False, False], [1.0, 0.0, 0.25, 0.0]
        paid = [weight * x for x in unit]

        def made(weights: dict, earned: list[Earned]) -> list[float]:
            settings = RunSettings.from_mapping({"combine": "component", **weights, **node})
            scores, _ = as_tensors(earned)
            totals = [e.correct + e.key_step_share + e.validity + sum(e.parts) for e in earned]
            rewards = torch.tensor(totals, dtype=torch.float64)
            return (
                advantages(rewards, group_ids("aaaa"), settings, by_std=by_std, scores=scores)
                .values[:, 0]
                .tolist()
            )

        def of_part(sign: int) -> list[float]:
            weights = {"alpha": 0, "rvr_weight": 0, "extra_weights": {"brief": sign * weight}}
            return made(
                weights, [Earned(a, 0, 0, (), (), parts=(p,)) for a, p in zip(right, paid, strict=True)]
            )

        key_steps = [Earned(a, p, 0.0, (p,), (None,)) for a, p in zip(right, paid, strict=True)]
        expected = made({"alpha": weight, "rvr_weight": 0}, key_steps)
        validity = [Earned(a, 0.0, p, (), ()) for a, p in zip(right, paid, strict=True)]
        assert made({"alpha": 0, "rvr_weight": weight}, validity) == pytest.approx(expected, abs=1e-9)
        assert of_part(1) == pytest.approx(expected, abs=1e-9)
        # A weight below 0 pays a number below 0 the same.
        assert of_part(-1) == pytest.approx(expected, abs=1e-9)

    def test_with_component_and_without_the_std_a_tenth_of_a_unit_is_a_tenth_of_the_answer(self) -> None:
        earned = [
            Earned(a, 0.0, 0.0, (), (), parts=(p,)) for a, p in ((True, 0.1), (True, 0.0), (False, 0.0))
        ]
        scores, _ = as_tensors(earned)
        settings = RunSettings.from_mapping({"combine": "component", "extra_weights": {"brief": 0.1}})
        rewards = torch.tensor([1.1, 1.0, 0.0], dtype=torch.float64)
        found = advantages(rewards, group_ids("aaa"), settings, by_std=False, scores=scores).values[:, 0]
        assert float((found[0] - found[1]) / (found[1] - found[2])) == pytest.approx(0.1)


def test_checked_takes_numbers_of_numpy() -> None:
    import numpy as np

    assert checked({"a": np.float32(0.5), "b": np.int64(2)}, {"a": 1, "b": 1}) == {"a": 0.5, "b": 2.0}
