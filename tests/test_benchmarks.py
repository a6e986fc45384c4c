"""The plug-in for lmms-eval and the table in the paper's layout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models

from verl_stepgrpo.serving.vllm import vllm_server

FOLDER = Path(__file__).resolve().parents[1] / "recipes" / "benchmarks"
LOCAL = """include: _stepgrpo_yaml
task: stepgrpo_local
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
doc_to_visual: !function utils.chartqa_doc_to_visual
doc_to_text: !function utils.chartqa_doc_to_text
doc_to_target: answer
process_results: !function utils.chartqa_process_results
metric_list:
  - metric: relaxed_overall
    aggregation: mean
    higher_is_better: true
generation_kwargs:
  max_new_tokens: 32
"""
JUDGED = """
import json, utils
answer = "### Step 1:\\nSo it is B.\\n### The final answer is: {}"
docs = {
    "chartqa": ({"type": "human_test", "answer": "14"}, "14.2", "15"),
    "mmstar": ({"answer": "B", "category": "math", "l2_category": "x", "index": 1}, "B. cat", "A. dog"),
    "mathvision": ({"answer": "B", "options": ["dog", "cat"]}, "B. cat", "A. dog"),
    "mme": ({"answer": "Yes", "category": "count", "question_id": 1}, "Yes", "No"),
    "dynamath": ({"question": "q", "ground_truth": "2.5", "question_id": 1, "id": 2}, "2.5", "3.5"),
    "mathvista": (
        {"question_type": "multi_choice", "answer_type": "text", "query": "q", "choices": ["dog", "cat"],
         "answer": "cat", "precision": 0, "pid": 1, "metadata": {}}, "B. cat", "A. dog"),
}
judge = lambda name, doc, text: getattr(utils, name + "_process_results")(dict(doc), [text])
print("JUDGED", json.dumps({
    name: [judge(name, doc, answer.format(one)) for one in answers] for name, (doc, *answers) in docs.items()
}))
"""


def table(*folders: object) -> str:
    command = [sys.executable, str(FOLDER / "table.py"), *map(str, folders)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_every_column_of_the_table_is_a_task(tmp_path: Path) -> None:
    results = {
        "stepgrpo_mathvista": {"llm_as_judge_eval,none": "52.10"},
        "stepgrpo_mmstar": {"average,none": 0.4981},
        "stepgrpo_mathvision": {"mathvision_standard_eval,none": 17.11},
        "stepgrpo_chartqa": {"relaxed_overall,none": 0.752},
        "stepgrpo_dynamath": {"dynamath_average,none": 0.294, "dynamath_worst,none": 0.1},
        "stepgrpo_hallusionbench": {"aAcc,none": 60.0, "qAcc,none": 40.0, "fAcc,none": 32.0},
        "stepgrpo_mathverse": {"gpt_eval_score,none": 0.262},
        "stepgrpo_mme": {"mme_perception_score,none": 1500.5, "mme_cognition_score,none": 547.5},
    }
    assert {path.stem for path in (FOLDER / "tasks").glob("*.yaml")} == set(results)
    (tmp_path / "1_results.json").write_text(json.dumps({"results": results}))
    printed = table(f"ours={tmp_path}").splitlines()
    assert printed[-1] == "| ours | 52.1 | 49.8 | 17.1 | 75.2 | 29.4 | 44.0 | 26.2 | 2048 |"
    page = (FOLDER / "README.md").read_text()
    assert re.findall(r"<!-- table -->\n(.*?)<!-- /table -->", page, re.DOTALL) == [
        "\n".join(printed[:-1]) + "\n"
    ]


def test_a_benchmark_that_was_not_run_is_a_dash(tmp_path: Path) -> None:
    assert table(tmp_path).splitlines()[-1] == f"| {tmp_path} |" + " - |" * 8


@pytest.mark.slow
def test_the_harness_asks_a_served_model_and_judges_its_final_answer(tmp_path: Path) -> None:
    """lmms-eval in an environment of its own, made by setup.sh; a local task; a tiny model that vLLM serves."""
    import skimage.data
    from datasets import Dataset, Features, Image, Value
    from PIL import Image as Pillow

    base = Path(sys.executable).parents[1] / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
    venv = tmp_path / "venv"
    env = os.environ | {"VENV": str(venv), "BASE": str(base / "site-packages"), "PYTHON": sys.executable}
    subprocess.run(["bash", str(FOLDER / "setup.sh")], env=env, check=True, timeout=900)
    # torchvision's missing operators, where this environment declares them too.
    for line in (base / "site-packages").glob("verl_stepgrpo_torchvision.pth"):
        shutil.copy(line, next(venv.glob("lib/python*/site-packages")))

    tasks = tmp_path / "tasks"
    shutil.copytree(FOLDER / "tasks", tasks, ignore=shutil.ignore_patterns("*.yaml"))
    pictures = [Pillow.fromarray(getattr(skimage.data, n)()).resize((112, 56)) for n in ("chelsea", "coffee")]
    columns = {
        "question": Value("string"),
        "answer": Value("string"),
        "type": Value("string"),
        "image": Image(),
    }
    rows = {
        "question": ["Which animal?", "How many cups?"],
        "answer": ["cat", "1"],
        "type": ["human_test"] * 2,
        "image": pictures,
    }
    Dataset.from_dict(rows, features=Features(columns)).to_parquet(tmp_path / "local.parquet")
    (tasks / "stepgrpo_local.yaml").write_text(LOCAL.format(file=tmp_path / "local.parquet"))

    model = tmp_path / "model"
    tiny_models.build("Qwen2VL", model)
    arguments = ["--dtype", "float32", "--enforce-eager", "--max-model-len", "2048"]
    arguments += ["--gpu-memory-utilization", "0.1"]
    with vllm_server(str(model), arguments, tmp_path / "vllm.log") as url:
        env |= {"BASE_URL": url, "TASKS": "stepgrpo_local", "OUT": str(tmp_path / "out")}
        command = ["bash", str(FOLDER / "run.sh"), str(model), "--include_path", str(tasks)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (samples,) = (tmp_path / "out").rglob("*samples_stepgrpo_local.jsonl")
    asked = [json.loads(line) for line in samples.open()]
    assert len(asked) == 2
    assert "### The final answer is:" in str(asked[0]["input"])
    assert "| R1-VL-2B (paper) |" in done.stdout

    judged = subprocess.run(
        [str(venv / "bin" / "python"), "-c", JUDGED],
        env=env
        | {"PYTHONPATH": str(tasks), "OPENAI_API_KEY": "none", "OPENAI_API_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    (line,) = [line for line in judged.stdout.splitlines() if line.startswith("JUDGED")]
    for name, (right, wrong) in json.loads(line.removeprefix("JUDGED")).items():
        assert right != wrong, name
        assert "1.0" in str(right) or "True" in str(right), name
        assert "1.0" not in str(wrong), name
