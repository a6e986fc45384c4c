"""The warm-up's dataset, on verl's own collator and the tiny model's own processor."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_models
from omegaconf import OmegaConf
from raw_dataset import write_raw_dataset
from transformers import AutoProcessor
from verl.utils.dataset.dataset_utils import SFTTensorCollator
from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset
from verl.utils.model import extract_multi_modal_inputs

from verl_stepgrpo import ConfigError
from verl_stepgrpo.bridge.warmup_dataset import WarmupDataset
from verl_stepgrpo.data.prepare import PrepareOptions, prepare
from verl_stepgrpo.data.rows.build import RowOptions


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Four rows of text, and behind them rows with images."""
    folder = tmp_path_factory.mktemp("raw")
    raw = write_raw_dataset(folder / "raw", n_digits=4)
    options = PrepareOptions(RowOptions("digits", raw.parent / "images", max_pixels=12544), val_share=0.0)
    prepare(raw, folder / "out", options)
    return str(folder / "out" / "sft-train.parquet")


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> object:
    folder = tmp_path_factory.mktemp("model")
    tiny_models.build("Qwen2VL", folder)
    return AutoProcessor.from_pretrained(folder)


def dataset(cls: type, file: str, processor: object, batch_size: int = 4) -> MultiTurnSFTDataset:
    config = {
        "train_files": file,
        "train_batch_size": batch_size,
        "pad_mode": "no_padding",
        "max_length": 1024,
    }
    return cls(
        parquet_files=file,
        tokenizer=processor.tokenizer,  # type: ignore[attr-defined]
        config=OmegaConf.create(config),
        processor=processor,
    )


def test_rows_with_and_without_images_stand_in_one_batch(file: str, processor: object) -> None:
    collate = SFTTensorCollator("no_padding")
    order = (0, 5, 1, 6)  # text first
    theirs = dataset(MultiTurnSFTDataset, file, processor)
    batch = [theirs[i] for i in order]
    with pytest.raises(KeyError, match="multi_modal_inputs"):
        collate(batch)
    ours = dataset(WarmupDataset, file, processor)
    batch = collate([ours[i] for i in order])
    assert [len(ids) for ids in batch["input_ids"]] == [len(ours[i]["input_ids"]) for i in order]
    inputs = extract_multi_modal_inputs(batch["multi_modal_inputs"])
    assert len(inputs["image_grid_thw"]) == 2


def test_fewer_rows_than_a_batch_are_refused_with_their_number(file: str, processor: object) -> None:
    with pytest.raises(ConfigError, match=r"data\.train_batch_size=128, and .* has 12 rows: not one batch"):
        dataset(WarmupDataset, file, processor, batch_size=128)


def test_the_report_counts_them(file: str) -> None:
    report = json.loads((Path(file).parent / "report.json").read_text())
    assert (report["without_images"], report["written"]["sft-train"]) == (4, 12)
