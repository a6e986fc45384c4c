"""The one reader of verl's RL rows takes and refuses what verl's own dataset does, and sees what that shows a model."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_models
from omegaconf import OmegaConf
from PIL import Image
from sklearn.datasets import load_sample_images
from transformers import AutoProcessor
from verl.utils.dataset.rl_dataset import RLHFDataset

from verl_stepgrpo import DataError
from verl_stepgrpo.data.lint import lint
from verl_stepgrpo.data.prompts.images import scaled
from verl_stepgrpo.data.prompts.length import prompt_length_of
from verl_stepgrpo.data.rows.read import RLRow, raw_rows, read_rows
from verl_stepgrpo.doctor.inputs import data_lines

FOLDER = "FOLDER"
"""Stands in the rows below for the folder of the images."""


def jpeg(width: int = 120, height: int = 80, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(load_sample_images().images[0]).resize((width, height)).save(content, "JPEG", **options)
    return content.getvalue()


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return jpeg(exif=exif)


PHOTO = jpeg()
DATA_URL = f"data:image/jpeg;base64,{base64.b64encode(PHOTO).decode()}"
ASKED = [{"role": "user", "content": "<image>How many?"}]
PARTS = [{"role": "user", "content": [{"type": "text", "text": "How "}, {"type": "text", "text": "many?"}]}]
SCORED = {
    "data_source": "d",
    "reward_model": {"style": "rule", "ground_truth": "7"},
    "extra_info": {"index": 3, "key_steps": [["3 + 4 = 7"]], "id": "a"},
}
IMAGES = datasets.Features({
    "data_source": datasets.Value("string"),
    "prompt": [{"role": datasets.Value("string"), "content": datasets.Value("string")}],
    "images": [datasets.Image()],
    "reward_model": {"style": datasets.Value("string"), "ground_truth": datasets.Value("string")},
    "extra_info": {"index": datasets.Value("int64"), "key_steps": [[datasets.Value("string")]]},
})  # fmt: skip

TAKEN: dict[str, dict[str, Any]] = {
    "bytes": {"images": [{"bytes": PHOTO}]},
    "bytes and a path beside them": {"images": [{"bytes": PHOTO, "path": "of another machine.png"}]},
    "bounds": {"images": [{"bytes": PHOTO, "min_pixels": 784, "max_pixels": 4 * 784}]},
    "bounds that are null": {"images": [{"bytes": PHOTO, "min_pixels": None, "max_pixels": 4 * 784}]},
    "path": {"images": [{"image": f"{FOLDER}/a.jpg"}]},
    "image_url": {"images": [{"image_url": f"{FOLDER}/a.jpg"}]},
    "file url": {"images": [{"image": f"file://{FOLDER}/a.jpg"}]},
    "data url": {"images": [{"image": DATA_URL}]},
    "list of paths": {"images": [f"{FOLDER}/a.jpg"]},
    "list of file urls": {"images": [f"file://{FOLDER}/a.jpg"]},
    "turned by EXIF": {"images": [{"bytes": turned()}]},
    "two images": {
        "prompt": [{"role": "user", "content": "Is <image> like <image>?"}],
        "images": [{"bytes": PHOTO}, {"bytes": turned()}],
    },
    "system message": {
        "prompt": [{"role": "system", "content": "Be terse."}, *ASKED],
        "images": [{"bytes": PHOTO}],
    },
    "text": {"prompt": [{"role": "user", "content": "How many?"}]},
    "text in parts": {"prompt": PARTS},
    "a mark for videos in text alone": {"prompt": [{"role": "user", "content": "What is <video>?"}]},
    "images that datasets decodes": {"images": [{"bytes": turned(), "path": None}], "features": IMAGES},
    "paths that datasets decodes": {
        "images": [{"bytes": None, "path": f"{FOLDER}/a.jpg"}],
        "features": IMAGES,
    },
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "more marks": (
        {"prompt": [{"role": "user", "content": "<image><image>?"}], "images": [{"bytes": PHOTO}]},
        "2 <image> marks for 1 image",
    ),
    "no mark": (
        {"prompt": [{"role": "user", "content": "How many?"}], "images": [{"bytes": PHOTO}]},
        "0 <image> marks for 1 image",
    ),
    "a mark for videos": (
        {"prompt": [{"role": "user", "content": "<image>Is <video>?"}], "images": [{"bytes": PHOTO}]},
        "the prompt has <video>",
    ),
    "a mark for audio": (
        {"prompt": [{"role": "user", "content": "<image>Is <audio>?"}], "images": [{"bytes": PHOTO}]},
        "the prompt has <audio>",
    ),
    "text of a placeholder": (
        {"prompt": [{"role": "user", "content": "<image>Is <|image_pad|>?"}], "images": [{"bytes": PHOTO}]},
        "the text <|image_pad|>",
    ),
    "path alone": ({"images": [{"path": f"{FOLDER}/a.jpg"}]}, "verl reads bytes, or a path or URL as image"),
    "null bytes": ({"images": [{"bytes": None, "path": f"{FOLDER}/a.jpg"}]}, "bytes=None"),
    "null bytes beside a path": ({"images": [{"bytes": None, "image": f"{FOLDER}/a.jpg"}]}, "bytes=None"),
    "zero bytes": ({"images": [{"bytes": b""}]}, "bytes=b''"),
    "one text": ({"images": f"{FOLDER}/a.jpg"}, "expected a list"),
    "truncated": ({"images": [{"bytes": PHOTO[:500]}]}, "cannot be opened"),
    "a page of the web": ({"images": [{"bytes": b"<html>"}]}, "begins with b'<html>'"),
    "no such file": (
        {"images": [{"image": f"{FOLDER}/none.jpg"}]},
        "none.jpg cannot be opened: No such file",
    ),
    "too long": ({"images": [{"bytes": jpeg(3000, 10)}]}, "times the other"),
    "content in parts": ({"prompt": PARTS, "images": [{"bytes": PHOTO}]}, "content in parts"),
    "prompt of text": ({"prompt": "<image>How many?", "images": [{"bytes": PHOTO}]}, "prompt is '<image>How"),
    "extra_info of JSON": ({"extra_info": json.dumps({"index": 0})}, "extra_info is '{\"index\": 0}' (str)"),
}


def placed(value: Any, folder: Path) -> Any:
    """Return a row's value with the folder in its place."""
    if isinstance(value, str):
        return value.replace(FOLDER, str(folder))
    if isinstance(value, list):
        return [placed(item, folder) for item in value]
    return {key: placed(item, folder) for key, item in value.items()} if isinstance(value, dict) else value


def written(folder: Path, changes: dict[str, Any]) -> Path:
    (folder / "a.jpg").write_bytes(PHOTO)
    row = SCORED | {"prompt": ASKED if "images" in changes else PARTS} | changes
    features = row.pop("features", None)
    row = {key: value for key, value in placed(row, folder).items() if value is not ...}
    if features is not None:
        row["extra_info"].pop("id")
    schema = None if features is None else features.arrow_schema
    pq.write_table(pa.Table.from_pylist([row], schema=schema), folder / "rl.parquet")
    return folder / "rl.parquet"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    tiny_models.build("Qwen2VL", folder)
    return str(folder)


def as_verl(file: Path, model: str) -> tuple[list[bytes], int]:
    """Return the pixels that verl shows a model of the first row, and how many tokens its prompt has."""
    processor = AutoProcessor.from_pretrained(model)
    config = OmegaConf.create({"filter_overlong_prompts": False, "cache_dir": str(file.parent)})
    dataset = RLHFDataset(str(file), processor.tokenizer, config, processor)
    messages = dataset[0]["raw_prompt"]
    images, _, _ = RLHFDataset._process_multi_modal_info(messages, 14, config)
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = processor(text=[text], images=images)["input_ids"][0]
    return [image.tobytes() for image in images or []], len(ids)


def verl_refuses(file: Path, model: str) -> bool:
    try:
        as_verl(file, model)
    except Exception:  # it has none of its own
        return True
    return False


def as_ours(file: Path, model: str) -> tuple[list[bytes], int]:
    (row,) = read_rows(file)
    return (
        [scaled(image, patch_size=14).tobytes() for image in row.images],
        prompt_length_of(model)(row.messages, row.images),
    )


@pytest.mark.parametrize("layout", TAKEN)
def test_what_verl_takes_is_read_as_verl_reads_it(layout: str, model: str, tmp_path: Path) -> None:
    file = written(tmp_path, TAKEN[layout])
    assert as_ours(file, model) == as_verl(file, model)
    expected = {"image"} if layout == "turned by EXIF" or layout == "two images" else set()
    assert {finding.check for finding in lint(file)} == expected
    assert not [line for line in data_lines(file) if line.verdict == "fail"]


@pytest.mark.parametrize("layout", REFUSED)
def test_what_verl_refuses_is_refused_with_file_row_and_reason(
    layout: str, model: str, tmp_path: Path
) -> None:
    changes, said = REFUSED[layout]
    file = written(tmp_path, changes)
    assert verl_refuses(file, model)
    with pytest.raises(DataError) as error:
        as_ours(file, model)
    assert said in str(error.value)
    assert "0x" not in str(error.value)
    findings = list(lint(file))
    assert {finding.check for finding in findings} <= {"unreadable", "marks", "image"}
    assert any(said in finding.detail for finding in findings)
    lines = [line for line in data_lines(file) if line.verdict == "fail"]
    assert [said in str(line.found) and "row 0" in str(line.found) for line in lines] == [True]


def test_a_row_has_all_that_its_readers_ask_for(tmp_path: Path) -> None:
    file = written(tmp_path, TAKEN["bytes"])
    assert list(read_rows(file)) == [
        RLRow(
            row=0,
            messages=ASKED,
            images=[{"bytes": PHOTO}],
            ground_truth="7",
            key_steps=(("3 + 4 = 7",),),
            index=3,
            id="a",
            data_source="d",
        )
    ]
    ((number, row),) = raw_rows(file, ["prompt", "no such column"])
    assert (number, list(row)) == (0, ["prompt"])


def test_a_file_without_a_column_that_every_row_needs_is_refused_as_a_whole(
    tmp_path: Path, model: str
) -> None:
    file = written(tmp_path, {"prompt": ..., "images": [{"bytes": PHOTO}]})
    assert verl_refuses(file, model)
    with pytest.raises(
        DataError, match=r"rl\.parquet has no column prompt; it has data_source, reward_model"
    ):
        list(read_rows(file))


def test_videos_are_refused_since_nothing_here_reads_them(tmp_path: Path) -> None:
    file = written(tmp_path, {"prompt": [{"role": "user", "content": "<video>?"}], "videos": ["a.mp4"]})
    with pytest.raises(DataError, match=r"rl\.parquet, row 0: the row has videos"):
        list(read_rows(file))


def test_one_bad_row_ends_no_command_with_a_traceback(tmp_path: Path) -> None:
    tables = [{"images": [{"bytes": b"x"}]}, {"images": [{"bytes": PHOTO}]}]
    pq.write_table(pa.Table.from_pylist([SCORED | {"prompt": ASKED} | row for row in tables]), tmp_path / "a")
    for command in (["lint", str(tmp_path / "a")], ["doctor", "--no-worker", "--data", str(tmp_path / "a")]):
        done = subprocess.run(
            [sys.executable, "-m", "verl_stepgrpo", *command], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 1
        assert re.search(r"row 0(, id a, index 3)?: an image cannot be opened", done.stdout)
        assert "Traceback" not in done.stderr
