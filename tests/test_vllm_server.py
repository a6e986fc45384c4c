"""vLLM's own OpenAI-compatible server with a tiny model: what ``eval`` and ``key-steps`` get from a real one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from test_children import is_running, wait_for

from verl_stepgrpo.data.key_steps import files as key_step_files
from verl_stepgrpo.data.prompts.images import parts, scaled
from verl_stepgrpo.data.rows.read import row_of
from verl_stepgrpo.evaluation.evaluate import RESPONSES, EvalOptions, evaluate
from verl_stepgrpo.evaluation.questions import chat_messages, patch_size_of
from verl_stepgrpo.serving.client import ServerOptions
from verl_stepgrpo.serving.vllm import vllm_server
from verl_stepgrpo.traces.files import read_trace

DIGITS = Path(__file__).resolve().parents[1] / "examples" / "digits"
pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2-VL with random weights, and images that it can be asked about."""
    folder = tmp_path_factory.mktemp("served")
    for script, options in (("build_data.py", ["--sft", "1", "--heldout", "8"]), ("build_model.py", [])):
        target = str(folder / script.split("_")[1][:-3])
        subprocess.run([sys.executable, str(DIGITS / script), "--out", target, *options], check=True)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerOptions]:
    model = str(folder / "model")
    arguments = ["--dtype", "float32", "--enforce-eager", "--max-model-len", "2048"]
    arguments += ["--max-num-seqs", "32", "--gpu-memory-utilization", "0.1"]
    with vllm_server(model, arguments, folder / "vllm.log") as url:
        yield ServerOptions(url, model, timeout=300)


def test_the_model_sees_the_same_pixels_as_in_training(folder: Path, server: ServerOptions) -> None:
    """The images are smaller than qwen_vl_utils allows by itself: the row's own bound leaves them as they are."""
    import openai
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = server.model
    processor = AutoProcessor.from_pretrained(model)
    reference = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval()
    client = openai.OpenAI(base_url=server.base_url, api_key="none")
    likelihoods = set()
    for row in pq.read_table(folder / "data" / "heldout.parquet").to_pylist():
        question = row_of(0, row)
        messages = chat_messages(question, patch_size_of(model))
        asked = {"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 1}
        choice = client.chat.completions.create(model=model, messages=messages, **asked).choices[0]
        (found,) = choice.logprobs.content

        turns = [{"role": m["role"], "content": parts(m["content"])} for m in row["prompt"]]
        text = processor.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        images = [scaled(image, patch_size=14) for image in row["images"]]
        with torch.no_grad():
            logits = reference(**processor(text=[text], images=images, return_tensors="pt")).logits[0, -1]
        assert found.logprob == pytest.approx(float(logits.log_softmax(-1).max()), abs=1e-3)
        likelihoods.add(round(found.logprob, 4))
    assert len(likelihoods) > 4, "the images make no difference"


def test_an_evaluation_of_a_served_model_has_every_row(
    folder: Path, server: ServerOptions, tmp_path: Path
) -> None:
    file = folder / "data" / "heldout.parquet"
    options = EvalOptions(server.model, server.model, samples=2, temperature=1.0, max_tokens=12)
    results = evaluate(file, tmp_path / "out", options, nullcontext(server))
    assert (results.rows, results.responses, results.failed) == (8, 16, 0)
    rows = read_trace(tmp_path / "out" / RESPONSES)
    assert len({row.response for row in rows}) > 8  # sampled, and not all alike


def test_what_a_tiny_model_writes_for_key_steps_is_set_aside_and_never_believed(
    server: ServerOptions, tmp_path: Path
) -> None:
    source = tmp_path / "raw.jsonl"
    solution = "### Step 1:\nThere are 3 children.\n### The final answer is: 3"
    source.write_text(
        "".join(json.dumps({"problem": f"Q{i}?", "solution": solution}) + "\n" for i in range(3))
    )
    out = tmp_path / "with.jsonl"
    summary = key_step_files.by_model(source, out, server, api_key=None, progress=lambda n: None)
    assert summary.written + summary.failed == 3
    assert summary.usage["requests"] >= 3
    assert summary.usage["tokens written"] > 0
    errors = [json.loads(line)["error"] for line in key_step_files.failed_file(out).open()]
    assert len(errors) == summary.failed
    for row in map(json.loads, out.open()):
        assert all(wordings[0] in solution for wordings in row["key_steps"])
    assert not [e for e in errors if "fit the schema" not in e and "stands in the solution" not in e], errors


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda n: n.name)
def test_the_server_and_its_engine_end_with_the_command(
    folder: Path, tmp_path: Path, number: signal.Signals
) -> None:
    served = "--dtype float32 --enforce-eager --max-model-len 2048 --gpu-memory-utilization 0.1"
    arguments = [str(folder / "data" / "heldout.parquet"), "--model", str(folder / "model")]
    command = [sys.executable, "-m", "verl_stepgrpo", "eval", *arguments, "--vllm-args", served]
    with subprocess.Popen([*command, "--out", str(tmp_path / "out")]) as process:
        try:
            wait_for(lambda: any("EngineCore" in name for name in descendants(process.pid).values()), 300)
            started = descendants(process.pid)
        finally:
            process.send_signal(number)
        assert process.wait(90) == {signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    wait_for(lambda: not any(map(is_running, started)), 90)


def descendants(pid: int) -> dict[int, str]:
    """Return the processes below a process, with their names."""
    found: dict[int, str] = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                found[int(path.name)] = (path / "cmdline").read_text()
                found |= descendants(int(path.name))
    return found


def test_a_model_that_the_server_does_not_have_is_named(
    server: ServerOptions, tmp_path: Path, folder: Path
) -> None:
    from verl_stepgrpo import DataError

    other = ServerOptions(server.base_url, "another", timeout=30)
    file = folder / "data" / "heldout.parquet"
    with pytest.raises(DataError, match="does not have 'another'"):
        evaluate(file, tmp_path / "out", EvalOptions("another", str(folder / "model")), nullcontext(other))
