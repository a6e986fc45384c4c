"""What the stages of a recipe hand to each other, as weights: what verl held, and what a folder is to a reader."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
import torch.distributed.tensor  # checkpoints are pickles that name it
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel

from verl_stepgrpo.data.prompts.images import parts, scaled

Weights = dict[str, torch.Tensor]
LORA_B = ".lora_B.default.weight"


@dataclass(frozen=True)
class Held:
    """What verl held of a model when it saved a checkpoint, from its own shards, by plain arithmetic.

    Attributes:
        base: The weights without adapters.
        now: With alpha / rank B A added; the base where there are no adapters.
        adapters: By layer, the largest entry of its B, which is 0 until it is trained.
    """

    base: Weights
    now: Weights
    adapters: dict[str, float]


def held(checkpoint: Path) -> Held:
    """Read a checkpoint of one process."""
    state = {
        name.removeprefix("base_model.model."): getattr(tensor, "_local_tensor", tensor).float()
        for name, tensor in torch.load(
            checkpoint / "model_world_size_1_rank_0.pt", weights_only=False
        ).items()
    }
    base = {n.replace(".base_layer.", "."): tensor for n, tensor in state.items() if ".lora_" not in n}
    now, adapters = dict(base), {}
    for name, b in state.items():
        if name.endswith(LORA_B):
            layer = name.removesuffix(LORA_B)
            meta = json.loads((checkpoint / "lora_train_meta.json").read_text())
            added = meta["lora_alpha"] / meta["r"] * b @ state[f"{layer}.lora_A.default.weight"]
            now[f"{layer}.weight"] = base[f"{layer}.weight"] + added
            adapters[layer] = b.abs().max().item()
    return Held(base, now, adapters)


def loaded(folder: Path) -> PreTrainedModel:
    """Return the model of a folder in float32; every tensor has to be there, and nothing beside."""
    model, told = AutoModelForImageTextToText.from_pretrained(
        folder, dtype=torch.float32, output_loading_info=True
    )
    assert not any(told.values()), told
    return model.eval()


def furthest(some: Weights, others: Weights) -> float:
    """Return the largest difference between two models' weights."""
    assert set(some) ^ set(others) <= {"lm_head.weight"}, "the models differ in more than a tied head"
    return max((some[name] - others[name]).abs().max().item() for name in set(some) & set(others))


def answers(model: PreTrainedModel, folder: Path, parquet: Path, n_tokens: int) -> dict[Any, str]:
    """Return what ``model`` answers to the rows of ``parquet`` by greedy decoding, by their index."""
    processor = AutoProcessor.from_pretrained(folder)
    patch_size = processor.image_processor.patch_size
    found = {}
    for row in pq.read_table(parquet).to_pylist():
        messages = [{"role": m["role"], "content": parts(m["content"])} for m in row["prompt"]]
        images = [scaled(image, patch_size=patch_size) for image in row["images"] or []]
        prompt = processor.apply_chat_template(messages, add_generation_prompt=True)
        inputs = processor(text=[prompt], images=images or None, return_tensors="pt")
        with torch.no_grad():
            output = model.generate(**inputs, max_new_tokens=n_tokens, do_sample=False)
        text = processor.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        found[row["extra_info"]["index"]] = text
    return found
