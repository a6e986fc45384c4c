"""The README's commands and examples do what it says."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from processes import main_ppo

from verl_stepgrpo import RunSettings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def docs_page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


GPU_COMMANDS = [
    block for block in blocks("bash") + blocks("bash", docs_page("settings.md")) if "main_ppo" in block
]


def test_the_front_page_is_one_to_read_in_ten_minutes() -> None:
    assert len(README) <= 9000


def test_the_commands_are_the_ones_that_are_tested() -> None:
    commands = [block.strip() for block in blocks("bash") if block not in GPU_COMMANDS]
    # The first runs shortened in test_cpu_engine.py; the second is the run that this test is part of; the third needs a
    # GPU (its recipe is composed in test_recipes.py, and its check runs in test_cpu_engine.py); the fourth is the
    # recipes' stage `merge` (test_recipes.py); the three starts run in test_starts.py, the others in test_lint.py,
    # test_evaluation.py, test_doctor.py, test_report.py, test_replay.py and test_score_command.py.
    assert commands == [
        "bash examples/digits/run.sh",
        "bash tests/run.sh",
        "pip install '.[gpu,report,examples]'\n"
        "pip install --no-build-isolation flash-attn==2.8.3\n"
        "bash recipes/gpu_smoke/run.sh  # a tiny model, all stages",
        "python -m verl.model_merger merge --backend fsdp \\\n"
        "    --local_dir checkpoints/global_step_100/actor --target_dir checkpoints/merged",
        "verl-stepgrpo prepare data.json --image-root images --out prepared\n"
        "verl-stepgrpo eval prepared/rl-train.parquet --model Qwen/Qwen2-VL-2B-Instruct --samples 16 --out sampled\n"
        "verl-stepgrpo key-steps prepared/rl-train.parquet --from sampled --out train.parquet",
        "verl-stepgrpo key-steps data.json --out with-key-steps.jsonl --rules\n"
        "verl-stepgrpo prepare with-key-steps.jsonl --image-root images --out prepared",
        "verl-stepgrpo doctor --model Qwen/Qwen2-VL-2B-Instruct --data prepared/rl-train.parquet",
        "verl-stepgrpo lint prepared/rl-train.parquet",
        "verl-stepgrpo report traces --data prepared/rl-train.parquet --val-data prepared/rl-val.parquet "
        "--out report.html",
        "verl-stepgrpo replay traces --set alpha=0,0.1,0.5 --set outcome_gate=1,0",
        "verl-stepgrpo eval prepared/rl-val.parquet --model Qwen/Qwen2-VL-2B-Instruct --out before\n"
        "verl-stepgrpo eval prepared/rl-val.parquet --model checkpoints/merged --out after --against before",
        "verl-stepgrpo score response.txt --ground-truth 2 --key-step '6/3 = 2' --key-step '3 children' "
        "--key-step '6 apples'",
    ]
    assert all((ROOT / command.split()[1]).exists() for command in commands[:2])


def test_the_first_gpu_command_leaves_the_checkpoint_that_is_merged_and_evaluated() -> None:
    """verl saves nothing where save_freq is not above 0, its default."""
    first = set(shlex.split(GPU_COMMANDS[0].replace("\\\n", " ")))
    assert {"trainer.save_freq=100", "trainer.default_local_dir=checkpoints"} <= first
    assert "--local_dir checkpoints/global_step_100/actor --target_dir checkpoints/merged" in README


def test_a_gpu_command_composes_under_the_stock_entry_point() -> None:
    commands = [shlex.split(command.replace("\\\n", " ")) for command in GPU_COMMANDS]
    assert len(commands) > 1
    for words in commands:
        assert words[:3] == ["python", "-m", "verl.trainer.main_ppo"]
    for status, printed in main_ppo(*([*words[3:], "--cfg", "job"] for words in commands)):
        assert status == 0, printed
        assert "adv_estimator: stepgrpo" in printed
        assert re.search(r"reward_manager:\n(    .*\n)*?    name: stepgrpo", printed)


@pytest.mark.parametrize("command", GPU_COMMANDS)
def test_a_gpu_command_passes_verls_own_validation(command: str, tmp_path: Path) -> None:
    from helpers import parquet, rows
    from hydra import compose, initialize_config_module
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    overrides = shlex.split(command.replace("\\\n", " "))[3:]
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=overrides)
    config.data.train_files = config.data.val_files = parquet(tmp_path / "train.parquet", rows())
    config.trainer.n_gpus_per_node = 1
    validate_config(
        config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config)
    )
    assert not need_critic(config)


def test_the_worked_example_prints_what_the_readme_says() -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(next(block for block in blocks("python") if "compute_score" in block), {})
    assert printed.getvalue() in blocks("text")


def test_the_table_of_settings_is_complete_and_its_defaults_are_true() -> None:
    settings = docs_page("settings.md").partition("## `algorithm.stepgrpo`")[2].partition("\n## ")[0]
    table = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]+?)`? \|", settings, re.MULTILINE))
    run = RunSettings()
    defaults: dict[str, object] = {}
    for part in (run.reward, run.advantage, run):
        defaults |= dataclasses.asdict(part)
    defaults = {key: value for key, value in defaults.items() if key not in ("reward", "advantage")}
    assert table == {
        key: str(value) if value not in (None, {}) else "null" for key, value in defaults.items()
    }


def test_the_settings_that_a_replay_cannot_vary_are_named() -> None:
    sentence = (
        docs_page("replay.md").partition("A setting is any of")[2].partition(";")[0].partition(" but ")[2]
    )
    varied = {"reward", "advantage"}  # whose fields are what a replay varies
    assert set(re.findall(r"`(\w+)`", sentence)) == {f.name for f in dataclasses.fields(RunSettings)} - varied


def test_every_setting_that_is_not_the_papers_is_named_where_this_departs_from_it() -> None:
    section = docs_page("rewards.md").partition("## Where this departs from the paper")[2]
    named = set(re.findall(r"`(\w+)(?:=\w+)?`", section))
    run = RunSettings()
    changing = {f.name for part in (run.reward, run.advantage) for f in dataclasses.fields(part)}
    # alpha is the paper's own.
    assert changing | {"overlong_buffer"} <= named | {"alpha"}


def test_the_table_of_results_is_the_one_of_the_committed_runs() -> None:
    """Also that each committed run helped beyond chance; the script exits otherwise."""
    folder = ROOT / "examples" / "digits"
    done = subprocess.run(
        [sys.executable, str(folder / "check_results.py"), str(folder / "results")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    page = (folder / "README.md").read_text()
    assert re.findall(r"<!-- results -->\n(.*?)<!-- /results -->", page, re.DOTALL) == [done.stdout]
    points = re.findall(r"\| (\+[\d.]+) \(", done.stdout)
    least, most = sorted(points, key=float)[:: len(points) - 1]
    assert len(points) == 5
    assert f"{least} to {most} points over five seeds" in " ".join(README.split())


def test_the_example_of_the_advantages_is_what_the_code_gives() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "advantages.py")], capture_output=True, text=True, check=True
    )
    page = (ROOT / "docs" / "advantages.md").read_text()
    assert re.findall(r"<!-- example -->\n(.*?)<!-- /example -->", page, re.DOTALL) == [done.stdout]


def test_every_curve_is_explained() -> None:
    from verl_stepgrpo import SCORE_KEYS
    from verl_stepgrpo.curves import Outcome, curves

    page = (ROOT / "docs" / "advantages.md").read_text()
    drawn = curves([Outcome("u", dict.fromkeys(SCORE_KEYS, 1.0), 1.0)])
    for name in [*drawn, "stepgrpo/missing_sessions/mean", "stepgrpo/decoy_match/mean"]:
        assert f"`{name.split('/')[1]}`" in page


def test_the_table_of_the_ablation_is_that_of_the_committed_runs() -> None:
    folder = ROOT / "recipes" / "ablation_digits"
    page = (folder / "README.md").read_text()
    first, loop = ["--last", "1"], []
    for name, results, options in (
        ("results", "first", first),
        ("pilot", "first-pilot", first),
        ("loop-dense", "loop/dense", loop),
        ("loop-sparse", "loop/sparse", loop),
        ("loop-bars", "loop/bars", loop),
    ):
        done = subprocess.run(
            [sys.executable, str(folder / "analyse.py"), *options, str(folder / "results" / results)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert re.findall(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", page, re.DOTALL) == [done.stdout]


def test_the_first_table_of_the_readme_is_taken_from_those_of_the_study() -> None:
    page = (ROOT / "recipes" / "ablation_digits" / "README.md").read_text()
    arms = {
        "paper": "both (StepGRPO)",
        "recommended": "answer first, nothing where none is right, credit by step",
    }
    lines = []
    for regime in ("dense", "sparse"):
        table = page.partition(f"<!-- loop-{regime} -->\n")[2].partition(f"<!-- /loop-{regime} -->")[0]
        named, _, *rows = [[c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines()]
        cells = {row[0]: dict(zip(named, row, strict=True)) for row in rows}
        for group, arm in arms.items():
            said = [cells["warmed up"]["accuracy"], f"`{group}`", cells[arm]["seeds"]]
            measures = ("accuracy", "right and valid", "right, every key step found")
            said += [cells[arm][f"{measure}: points against GRPO"] for measure in measures]
            lines.append(f"| {' | '.join(said)} |")
    assert "\n".join(lines) in README


def test_the_reward_function_file_is_the_same_score() -> None:
    import runpy

    from verl_stepgrpo import compute_score

    assert runpy.run_path(str(ROOT / "reward_fns" / "stepgrpo.py"))["compute_score"] is compute_score
