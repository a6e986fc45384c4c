"""Other trainers get the rewards that verl gets: TRL, ms-swift and EasyR1, each through its own way of calling them."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_models
import torch
from build_data import question, rl_rows, solution, values_of
from PIL import Image

from verl_stepgrpo import (
    SCORE_KEYS,
    ConfigError,
    DataError,
    RewardSettings,
    RunSettings,
    advantage,
    compute_score,
)
from verl_stepgrpo.adapters.batch import completion_text, score_batch
from verl_stepgrpo.adapters.trl import step_rar, step_rvr
from verl_stepgrpo.earned import Earned

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "adapters.md").read_text()
RIGHT, WRONG = solution((3, 5)), solution((3, 4))
KEY_STEPS = [["3 + 5 = 8"], ["second digit is 5"]]
DRAWN = [(0, 1), (2, 3), (5, 6), (7, 8)]
"""Pairs of scikit-learn's digits, of different sums."""
SETTINGS = """
import os, sys
import pytest
from swift.rewards import orms
from swift.utils import import_external_file
from verl_stepgrpo import ConfigError
import_external_file("reward_fns/ms_swift.py")
os.environ["STEPGRPO_SETTINGS"] = '{"rvr_weight": 0.5}'
paid = orms["step_rvr"](args=None)([sys.argv[1]], ground_truth=["8"], key_steps=[[]], messages=[[]])
assert paid == [0.5], paid
for wrong, said in (("{", "is not JSON"), ("[1]", "is not an object"), ('{"alpah": 1}', "Did you mean alpha")):
    os.environ["STEPGRPO_SETTINGS"] = wrong
    with pytest.raises(ConfigError, match=said):
        orms["step_rvr"](args=None)
"""


def command(first_words: str) -> list[str]:
    """Return the command of the page that begins so."""
    (block,) = [b for b in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL) if b.startswith(first_words)]
    return shlex.split(block.replace("\\\n", " "))


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def prepared(folder: Path, *, images: bool) -> tuple[Path, Path]:
    """Return a model that has begun to learn the task, and a file laid out as ``verl-stepgrpo prepare`` does it."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    rows, examples = rl_rows(digits, DRAWN), []
    for row, numbers in zip(rows, DRAWN, strict=True):
        values = values_of(digits, numbers)
        asked = f"{question(2)} Row {row['extra_info']['index']}."
        picture = Image.open(io.BytesIO(row.pop("images")[0]["bytes"])).resize((112, 56))
        if images:
            row["images"] = [{"bytes": png(picture)}]
        row["prompt"] = [{"role": "user", "content": "<image>" * images + asked}]
        examples.append((asked, picture if images else None, solution(values)))
    pq.write_table(pa.Table.from_pylist(rows), folder / "rl-train.parquet")
    torch.manual_seed(0)
    tiny_models.build("Qwen2VL", folder / "model")
    tiny_models.warm_up(folder / "model", examples)
    return folder / "model", folder / "rl-train.parquet"


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def scores(file: Path, prompt: str, response: str) -> dict[str, float]:
    """Return what ``compute_score`` gives a response to the prompt that names a row of ``file``."""
    row = pq.read_table(file).to_pylist()[int(re.findall(r"Row (\d+)\.", prompt)[-1])]
    return compute_score("digits", response, row["reward_model"]["ground_truth"], row["extra_info"])


def run(words: list[str], cwd: Path = ROOT, **environment: str) -> None:
    env = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)} | environment
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


class TestBatches:
    def test_a_text_and_a_conversation_score_the_same(self) -> None:
        message = {"role": "assistant", "content": RIGHT}
        parts = {"role": "assistant", "content": [{"type": "text", "text": RIGHT}]}
        columns = {"ground_truth": ["8"] * 3, "key_steps": [KEY_STEPS] * 3}
        assert step_rar([RIGHT, [message], [parts]], **columns) == [pytest.approx(1.1)] * 3
        assert step_rvr([RIGHT, [message], [parts]], **columns) == [1.0] * 3

    def test_of_a_conversation_only_what_the_model_wrote_is_read(self) -> None:
        first = {"role": "assistant", "reasoning_content": "a", "content": "b", "tool_calls": [{}]}
        assert completion_text([first, {"role": "tool", "content": RIGHT}, {"role": "assistant"}]) == "a\nb"

    @pytest.mark.parametrize(
        "completion", ["", "\x00" * 9, "#" * 50_000, [], [{"role": "assistant", "content": None}], [{}]]
    )
    def test_whatever_the_model_wrote_is_scored(self, completion: Any) -> None:
        columns = {"ground_truth": ["8"], "key_steps": [KEY_STEPS]}
        assert step_rar([completion], **columns) == step_rvr([completion], **columns) == [0.0]

    @pytest.mark.parametrize("name", ["ground_truth", "answer", "solution"])
    def test_the_reference_answer_is_found_under_the_usual_names(self, name: str) -> None:
        columns = {name: ["8", "8"], "key_steps": [KEY_STEPS, None]}
        assert step_rar([RIGHT, WRONG], **columns) == [pytest.approx(1.1), 0.0]

    def test_the_layout_of_verl_is_read_as_it_is(self) -> None:
        columns = {"reward_model": [{"ground_truth": "8"}], "extra_info": [{"key_steps": KEY_STEPS}]}
        assert step_rar([RIGHT], **columns) == [pytest.approx(1.1)]

    @pytest.mark.parametrize(
        ("columns", "said"),
        [
            ({"gold": ["8"], "key_steps": [[]]}, "it has gold, key_steps; rename the column"),
            ({"answer": ["8"]}, "no column key_steps, it has answer"),
            ({"answer": [""], "key_steps": [[]]}, "row 0 of the batch: answer is empty"),
            ({"answer": [["8"]], "key_steps": [[]]}, r"row 0 of the batch: answer is \['8'\]"),
            ({"answer": ["8"], "key_steps": [7]}, "row 0 of the batch: key_steps is 7"),
            ({"reward_model": ["8"], "key_steps": [[]]}, "row 0 of the batch: reward_model is '8'"),
            ({"reward_model": [None], "key_steps": [[]]}, "reward_model.ground_truth is None"),
            ({"answer": ["8"], "extra_info": [{"index": 0}]}, "no column key_steps"),
            ({"answer": ["8"], "extra_info": ["{}"]}, "row 0 of the batch: extra_info is '{}'"),
        ],
    )
    def test_a_wrong_column_is_named(self, columns: dict[str, Any], said: str) -> None:
        with pytest.raises(DataError, match=said):
            step_rar([RIGHT], **columns)

    def test_without_pay_for_key_steps_none_are_needed(self) -> None:
        plain = RewardSettings(alpha=0)
        assert partial(step_rar, settings=plain)([RIGHT], answer=["8"], prompts=["q"]) == [1.0]

    def test_a_column_named_settings_is_not_taken_for_the_settings(self) -> None:
        with pytest.raises(ConfigError, match=r"expected verl_stepgrpo\.RewardSettings"):
            partial(step_rar, settings=RewardSettings())([RIGHT], answer=["8"], settings=["x"])

    def test_both_parts_come_of_one_judgement(self) -> None:
        first, again = (
            score_batch([RIGHT], {"answer": ["8"], "key_steps": [KEY_STEPS]}, RewardSettings()) for _ in "ab"
        )
        assert first[0] is again[0]


def environment(folder: Path, *packages: str) -> Path:
    """Make an environment with ``packages`` over this one, whose torch is 2 GB, and return the folder of its commands.

    verl's actors do not start where this TRL is installed, and ms-swift pins other versions of trl, peft and datasets.
    """
    run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    (site,) = folder.glob("lib/python*/site-packages")
    base = next(Path(p) for p in sys.path if p.endswith("site-packages") and Path(p, "torch").is_dir())
    (site / "base.pth").write_text(f"{base}\n")
    # torchvision's missing operators, where this environment declares them too.
    for line in base.glob("verl_stepgrpo_torchvision.pth"):
        shutil.copy(line, site)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python")]
    run([*pip, "install", "--quiet", "--disable-pip-version-check", *packages])
    return folder / "bin"


IN_TURN = """
import json, runpy, sys
for words in json.loads(sys.argv[1]):
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def trl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run TRL, and return the folder with the data ``rl-train.parquet`` and what was made of it.

    In one process, most of whose time goes into loading TRL: the command of the page, two real steps on images, in
    ``page``; the same with the components by themselves, one step, in ``components``; the snippet of the page.
    """
    (package,) = re.findall(r'^trl = \["(.*?)"\]$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    folder = tmp_path_factory.mktemp("trl")
    commands = environment(folder / "venv", package)
    model, file = prepared(folder, images=True)
    names = ["--model", str(model), "--data", str(file), "--output_dir"]
    small = "--logging_steps 1 --max_completion_length 96 --use_cpu --bf16 False --report_to none --max_steps".split()
    page = [*command("python examples/trl/train.py")[1:], *names, str(folder / "page"), *small, "2"]
    components = [
        write_components(folder),
        *names,
        str(folder / "components"),
        *small,
        "1",
        "--log_completions",
        "True",
    ]
    combine = "--multi_objective_aggregation normalize_then_sum --reward_weights 1.0 0.1 1.0".split()
    jobs = [page, [*components, *combine], [write_snippet(folder)]]
    run([str(commands / "python"), "-c", IN_TURN, json.dumps(jobs)])
    return folder


def write_components(folder: Path) -> str:
    text = (ROOT / "examples" / "trl" / "train.py").read_text()
    assert "step_rar, step_rvr" in text
    (folder / "components.py").write_text(text.replace("step_rar, step_rvr", "acc, key_step_match, step_rvr"))
    return str(folder / "components.py")


def write_snippet(folder: Path) -> str:
    """Write what the page shows of Python, with data before it; it says behind it what it has made."""
    row = {"prompt": [{"role": "user", "content": "3 + 5?"}], "ground_truth": "8", "key_steps": KEY_STEPS}
    snippet = python_blocks()[0].replace("Qwen/Qwen2.5-0.5B-Instruct", str(folder / "model"))
    snippet = snippet.replace('"out"', repr(str(folder / "snippet"))).replace(
        "beta=0.04", "beta=0.0, use_cpu=True, bf16=False, report_to='none'"
    )
    data = f"from datasets import Dataset\ndataset = Dataset.from_list([{row!r}] * 8)\n"
    says = f"\nopen({str(folder / 'snippet.txt')!r}, 'w').write(' '.join(trainer.reward_func_names))\n"
    (folder / "snippet.py").write_text(data + snippet + says)
    return str(folder / "snippet.py")


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("swift") / "venv", "ms-swift==4.6.0")


def by_component(rows: list[dict[str, Any]], *, epsilon: float) -> list[float]:
    """Return the advantages of ``combine=component``, of responses in groups of 4 with their components.

    Trainers differ in what they add to each standard deviation (``epsilon``).
    """
    earned = [
        Earned(r["acc"] > 0, 0.1 * r["key_step_match"], r["step_rvr"], (0.1 * r["key_step_match"],), (None,))
        for r in rows
    ]
    assert len(set(earned)) > 2, "rewards that are all alike show nothing"
    scores, _ = advantage.as_tensors(earned)
    made = advantage.combined(
        torch.zeros(len(rows), dtype=torch.float64),
        torch.arange(len(rows)) // 4,
        RunSettings.from_mapping({"combine": "component"}),
        advantage.Scale(epsilon=epsilon),
        scores,
    )
    return made.total_B.tolist()


class TestTRL:
    def test_the_trainer_logs_what_compute_score_gives(self, trl: Path) -> None:
        """The table of completions and the curves of the command of the page, held against ``compute_score``."""
        history = json.loads((trl / "page" / "checkpoint-2" / "trainer_state.json").read_text())
        for step in (1, 2):
            table = trl / "page" / "completions" / f"completions_0000{step}.parquet"
            rows = pq.read_table(table).to_pylist()
            expected = [
                scores(trl / "rl-train.parquet", str(r["prompt"]), r["completion"][0]["content"])
                for r in rows
            ]
            assert len({values["score"] for values in expected}) > 2, (
                "rewards that are all alike show nothing"
            )
            for part in ("step_rar", "step_rvr"):
                assert [r[part] for r in rows] == pytest.approx([values[part] for values in expected])
            self.check_curves(history["log_history"][step - 1], expected)
            self.check_advantages(rows, expected)

    def check_curves(self, logged: Mapping[str, float], expected: list[dict[str, float]]) -> None:
        mean = {key: statistics.fmean(values[key] for values in expected) for key in SCORE_KEYS}
        assert logged["reward"] == pytest.approx(mean.pop("score"))
        for key in ("step_rar", "step_rvr"):
            assert logged[f"rewards/{key}/mean"] == pytest.approx(mean.pop(key))
        assert {k: v for k, v in logged.items() if k.startswith("stepgrpo/")} == pytest.approx(
            {f"stepgrpo/{key}/mean": value for key, value in mean.items()}
        )

    def check_advantages(self, rows: list[dict[str, Any]], expected: list[dict[str, float]]) -> None:
        totals = [values["score"] for values in expected]
        for i in range(0, len(rows), 4):
            group = totals[i : i + 4]
            scale = statistics.stdev(group) + 1e-4
            wanted = [(total - statistics.fmean(group)) / scale for total in group]
            assert [row["advantage"] for row in rows[i : i + 4]] == pytest.approx(wanted, abs=1e-5)

    def test_components_by_themselves_are_combined_as_in_verl(self, trl: Path) -> None:
        """TRL's ``normalize_then_sum`` over our components gives what ``combine=component`` gives."""
        rows = pq.read_table(trl / "components" / "completions" / "completions_00001.parquet").to_pylist()
        made = by_component(rows, epsilon=1e-4)
        assert [r["advantage"] for r in rows] == pytest.approx(made, abs=2e-3)

    def test_the_snippet_of_the_page_makes_a_trainer(self, trl: Path) -> None:
        assert (trl / "snippet.txt").read_text() == "step_rar step_rvr"


class TestEasyR1:
    """EasyR1's call, as verl/workers/reward/function.py has it at commit 46c6c21: the file is executed under another
    name, the settings are bound, and each response goes in with its length and the answer column."""

    @pytest.fixture
    def module(self) -> Any:
        spec = importlib.util.spec_from_file_location("custom_reward_fn", ROOT / "reward_fns" / "easyr1.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def inputs(self, ground_truth: Any, *responses: str) -> list[dict[str, Any]]:
        return [
            {"response": text, "response_length": len(text), "ground_truth": ground_truth}
            for text in responses
        ]

    def test_every_response_gets_overall_and_every_component_as_floats(self, module: Any) -> None:
        packed = json.dumps({"answer": "8", "key_steps": KEY_STEPS})
        given = partial(module.compute_score, alpha=0.2)(self.inputs(packed, RIGHT, WRONG, "?"))
        for values, response in zip(given, (RIGHT, WRONG, "?"), strict=True):
            expected = compute_score("demo", response, "8", {"key_steps": KEY_STEPS}, alpha=0.2)
            assert values == {"overall": expected.pop("score"), **expected}
            assert all(type(value) is float for value in values.values())
        assert [type(module.REWARD_NAME), module.REWARD_TYPE] == [str, "batch"]

    def test_a_plain_answer_is_enough_where_key_steps_are_not_paid(self, module: Any) -> None:
        for answer in ("8", 8):
            assert module.compute_score(self.inputs(answer, RIGHT), alpha=0)[0]["overall"] == 2.0
        pairs = RIGHT.replace("is: 8", "is: {1, 2}")
        assert module.compute_score(self.inputs("{1, 2}", pairs), alpha=0)[0]["acc"] == 1.0

    @pytest.mark.parametrize(
        ("ground_truth", "said"),
        [
            ("8", "holds no key steps; expected a JSON object like"),
            ('{"answer": "8"}', "has no key_steps"),
            ('{"gold": "8"}', "has no answer and no key_steps"),
            ('{"answer": "8", "key_steps": [}', "expected a JSON object like"),
            ('{"answer": "", "key_steps": []}', "row 0 of the batch: ground_truth is empty"),
            ('{"answer": "8", "key_steps": 7}', "row 0 of the batch: key_steps is 7"),
        ],
    )
    def test_an_answer_column_that_lacks_something_is_refused(
        self, module: Any, ground_truth: str, said: str
    ) -> None:
        with pytest.raises(DataError, match=said):
            module.compute_score(self.inputs(ground_truth, RIGHT))

    def test_one_response_at_a_time_is_refused_with_the_remedy(self, module: Any) -> None:
        with pytest.raises(ConfigError, match=r"worker\.reward\.reward_type=batch"):
            module.compute_score(self.inputs("8", RIGHT)[0])

    def test_a_prepared_file_is_written_anew_as_the_page_says(
        self, module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        rows = [
            {
                "prompt": [{"role": "user", "content": "<image>3 + 5?"}],
                "images": [{"bytes": b"png"}],
                "reward_model": {"style": "rule", "ground_truth": "8"},
                "extra_info": {"index": 0, "key_steps": KEY_STEPS},
            }
        ]
        (tmp_path / "prepared").mkdir()
        pq.write_table(pa.Table.from_pylist(rows), "prepared/rl-train.parquet")
        exec(python_blocks()[1], {})
        words = dict(word.split("=", 1) for word in command("python3 -m verl.trainer.main")[4:])
        (row,) = pq.read_table(words["data.train_files"]).to_pylist()
        assert row[words["data.prompt_key"]] == "<image>3 + 5?"
        file, _, function = words["worker.reward.reward_function"].partition(":")
        assert (ROOT / file, function) == (Path(module.__file__), "compute_score")
        given = module.compute_score(self.inputs(row[words["data.answer_key"]], RIGHT))
        assert given[0]["overall"] == pytest.approx(2.1)


@pytest.mark.slow
class TestSwift:
    @staticmethod
    def trained(swift: Path, folder: Path, *changes: str) -> tuple[Path, list[dict], list[dict[str, list]]]:
        """Return the file that the command of the page was run on, as text, its curves and its tables of responses."""
        model, file = prepared(folder, images=False)
        words = [str(swift / "swift"), *command("swift rlhf")[1:]]
        words += ["--model", str(model), "--dataset", str(file), "--output_dir", str(folder / "out")]
        # A folder's name says nothing of the model; the tiny one has seen no system message.
        words += ["--model_type", "qwen2_vl", "--template", "qwen2_vl", "--system", "", "--use_hf", "true"]
        words += ["--use_cpu", "true", "--torch_dtype", "float32", "--gradient_checkpointing", "false"]
        words += ["--per_device_train_batch_size", "8", "--max_steps", "2", "--max_completion_length", "96"]
        words += ["--tuner_type", "full", "--logging_steps", "1", "--log_completions", "true"]
        run([*words, "--report_to", "none", *changes])
        (checkpoint,) = (folder / "out").rglob("checkpoint-2")
        history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
        tables = [json.loads(line) for line in (checkpoint.parent / "completions.jsonl").open()]
        return file, history, tables

    def test_two_steps_log_what_compute_score_gives(self, swift: Path, tmp_path: Path) -> None:
        """The command of the page on text."""
        file, history, tables = self.trained(swift, tmp_path)
        for logged, rows in zip(history, tables, strict=False):
            expected = [scores(file, *pair) for pair in zip(rows["prompt"], rows["completion"], strict=True)]
            for name in ("step_rar", "step_rvr", "acc", "key_step_match"):
                assert rows[name] == pytest.approx([values[name] for values in expected])
                assert logged[f"rewards/{name}/mean"] == pytest.approx(statistics.fmean(rows[name]))
            assert logged["reward"] == pytest.approx(statistics.fmean(v["score"] for v in expected))
            assert logged["reward_std"] > 0, "rewards that are all alike show nothing"

    def test_components_by_themselves_are_combined_as_in_verl(self, swift: Path, tmp_path: Path) -> None:
        """``--scale_rewards gdpo`` over our components gives what ``combine=component`` gives."""
        said = re.search(r"`(--scale_rewards gdpo [^`]+)`", PAGE)
        assert said is not None
        _, _, (table, *_) = self.trained(swift, tmp_path, *said[1].split())
        names = ("acc", "key_step_match", "step_rvr")
        columns = zip(*(table[name] for name in names), strict=True)
        rows = [dict(zip(names, values, strict=True)) for values in columns]
        assert table["advantages"] == pytest.approx(by_component(rows, epsilon=1e-8), abs=2e-3)

    def test_settings_come_from_the_environment_and_are_checked(self, swift: Path) -> None:
        run([str(swift / "python"), "-c", SETTINGS, RIGHT])
