"""recipes/fold_adapters.py on folders as verl writes them; the recipe's own run is in test_recipes.py."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from verl_stepgrpo import ConfigError
from verl_stepgrpo.bridge.checks import model_check

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "recipes"))
import fold_adapters

RANK, ALPHA = 4, 12


def checkpoint(
    folder: Path, architecture: str, *, dtype: torch.dtype = torch.float32
) -> dict[str, torch.Tensor]:
    """Write a checkpoint of a LoRA run as verl's FSDPCheckpointManager does; return what it is worth, in float64."""
    tiny_models.build(architecture, folder / "huggingface")
    base = AutoModelForImageTextToText.from_pretrained(folder / "huggingface", dtype=torch.float32)
    worth = {name: tensor.double() for name, tensor in base.state_dict().items()}
    settings = {"target_modules": "all-linear", "exclude_modules": ".*visual.*", "task_type": "CAUSAL_LM"}
    model = get_peft_model(base, LoraConfig(r=RANK, lora_alpha=ALPHA, **settings)).to(dtype)
    for name, tensor in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(tensor, std=0.1)
    layers = dict(model.get_base_model().named_modules())
    for name in worth:
        layer = layers.get(name.removesuffix(".weight"))
        if hasattr(layer, "lora_A"):
            a, b = layer.lora_A["default"].weight.double(), layer.lora_B["default"].weight.double()
            worth[name] += ALPHA / RANK * b @ a
    for tied in model.get_base_model().all_tied_weights_keys:
        worth.pop(tied)
    state = {n: t for n, t in model.state_dict().items() if not n.endswith("lm_head.weight")}
    AutoModelForImageTextToText.from_config(base.config).save_pretrained(
        folder / "huggingface", state_dict=state
    )
    (folder / "lora_train_meta.json").write_text(json.dumps({"r": RANK, "lora_alpha": ALPHA}))
    return worth


@pytest.mark.parametrize("architecture", tiny_models.ARCHITECTURES)
def test_a_folded_model_is_its_base_plus_the_scaled_adapters(tmp_path: Path, architecture: str) -> None:
    worth = checkpoint(tmp_path / "global_step_1", architecture)
    source = tmp_path / "global_step_1" / "huggingface"
    fold_adapters.write(fold_adapters.folded(tmp_path / "global_step_1"), source, tmp_path / "model")
    model, told = AutoModelForImageTextToText.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(told.values()), told
    found = model.state_dict()
    for name, tensor in worth.items():
        assert found[name].dtype == torch.float32
        torch.testing.assert_close(found[name].double(), tensor, rtol=0, atol=1e-6)


def test_what_verl_wrote_is_no_model_before_it_is_folded(tmp_path: Path) -> None:
    """The reason for the script: transformers would make new weights, and say so in a warning alone."""
    checkpoint(tmp_path, "Qwen2VL")
    with pytest.raises(ConfigError, match=r"model\.safetensors is a LoRA run's.*fold_adapters\.py"):
        model_check.check(str(tmp_path / "huggingface"))
    _, told = AutoModelForImageTextToText.from_pretrained(tmp_path / "huggingface", output_loading_info=True)
    assert "model.language_model.norm.weight" in told["missing_keys"]


def test_training_takes_what_has_the_models_own_names_and_leaves_names_of_the_hub_to_verl(
    tmp_path: Path,
) -> None:
    tiny_models.build("Qwen2VL", tmp_path / "model")
    model_check.check(str(tmp_path / "model"))
    model_check.check("Qwen/Qwen2-VL-2B-Instruct")


def test_weights_that_are_cut_off_are_named_before_training(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x10")
    with pytest.raises(ConfigError, match=r"model\.path: .*model\.safetensors cannot be read"):
        model_check.check(str(tmp_path))


def test_adapters_in_bfloat16_are_added_in_float32(tmp_path: Path) -> None:
    worth = checkpoint(tmp_path, "Qwen2VL", dtype=torch.bfloat16)
    found = fold_adapters.folded(tmp_path).state_dict()
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    # The base itself was rounded: 8 bits of values below 1/8.
    torch.testing.assert_close(found[name].double(), worth[name], rtol=0, atol=2**-11)
    assert not torch.equal(found[name], found[name].bfloat16().float())


def test_a_second_fold_replaces_the_first_and_what_was_cut_leaves_nothing(tmp_path: Path) -> None:
    checkpoint(tmp_path / "c", "Qwen2VL")
    target = tmp_path / "model"
    for left in (target, tmp_path / "model.partial"):
        left.mkdir()
        (left / "model-00001-of-00002.safetensors").write_text("of a fold before")
    fold_adapters.write(fold_adapters.folded(tmp_path / "c"), tmp_path / "c" / "huggingface", target)
    assert {path.name for path in target.glob("*.safetensors")} == {"model.safetensors"}
    assert (target / "preprocessor_config.json").exists() or (target / "processor_config.json").exists()
    assert not (tmp_path / "model.partial").exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda c: (c / "lora_train_meta.json").write_text('{"r": 4, "lora_alpha": 0}'), "lora_alpha is 0"),
        (lambda c: (c / "huggingface" / "model.safetensors").unlink(), "saved with hf_model"),
        (lambda c: save_without(c, "lora_B"), "does not fit Qwen2VLForConditionalGeneration: it lacks"),
        (lambda c: save_without(c, "language_model.norm"), "does not fit"),
    ],
)
def test_a_checkpoint_that_is_not_whole_is_refused(
    tmp_path: Path, spoil: Callable[[Path], object], said: str
) -> None:
    checkpoint(tmp_path, "Qwen2VL")
    spoil(tmp_path)
    with pytest.raises(SystemExit, match=said):
        fold_adapters.folded(tmp_path)


def save_without(folder: Path, part: str) -> None:
    path = folder / "huggingface" / "model.safetensors"
    tensors = {name: tensor for name, tensor in load_file(path).items() if part not in name}
    save_file(tensors, path, metadata={"format": "pt"})
