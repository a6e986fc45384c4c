"""Add the LoRA adapters of a checkpoint of verl into its weights: a Hugging Face folder of the model alone.

    python recipes/fold_adapters.py CHECKPOINT TARGET

CHECKPOINT is verl's folder of one model, saved with ``hf_model``: ``global_step_n`` of a warm-up,
``global_step_n/actor`` of RL. verl 0.9.1 writes base and adapters there side by side, under PEFT's names:
transformers finds none of its own in it and starts from new weights (verl #4761), and ``verl.model_merger`` leaves
the adapters out (verl #7285, #4553).

TARGET replaces what was there, and appears when it is whole. Its weights are float32, as they were trained: a step
of RL is smaller than what bfloat16 tells apart, and vLLM rounds to its own type when it loads them, as it does
during RL.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

try:
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedModel
except ModuleNotFoundError as error:
    raise SystemExit(
        f"{error.name} is not installed here. Run this where the model was trained, or install it."
    ) from None

META = "lora_train_meta.json"
"""What verl puts beside a checkpoint with adapters: their rank and alpha."""
PREFIX, ADAPTER = "base_model.model.", ".lora_A.default.weight"
"""What PEFT puts before the names of a model's tensors, and behind the name of a layer for one of its adapter's."""


def folded(checkpoint: Path) -> PreTrainedModel:
    """Return the model of ``checkpoint``, in float32, each adapted weight with alpha / rank B A added.

    Raises:
        SystemExit: The checkpoint lacks the weights or the scale, or does not fit the model.
    """
    source = checkpoint / "huggingface"
    tensors = weights(source)
    model = empty(source, scale(checkpoint / META), adapted(tensors))
    names = model.load_state_dict(tensors, strict=False, assign=True)
    model.get_base_model().tie_weights()
    missing = [name for name, tensor in model.named_parameters() if tensor.is_meta]
    if missing or names.unexpected_keys:
        raise SystemExit(
            f"{source} does not fit {model.get_base_model().__class__.__name__}: it lacks {missing[:3]} "
            f"({len(missing)}) and has {names.unexpected_keys[:3]} ({len(names.unexpected_keys)}) beside it."
        )
    return model.merge_and_unload()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a Hugging Face folder in float32."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise SystemExit(
            f"{folder} has no weights: have the checkpoint saved with hf_model in checkpoint.save_contents "
            "(actor_rollout_ref.actor.checkpoint.save_contents in RL)."
        )
    return {name: tensor.float() for file in files for name, tensor in load_file(file).items()}


def scale(path: Path) -> tuple[int, int]:
    """Return rank and alpha of the adapters, as verl noted them."""
    meta = json.loads(path.read_text())
    if not meta["lora_alpha"]:
        raise SystemExit(
            f"{path}: lora_alpha is 0, so that the adapters add nothing. Set it, or train without."
        )
    return meta["r"], meta["lora_alpha"]


def adapted(tensors: dict[str, torch.Tensor]) -> list[str]:
    """Return the layers with an adapter, by their whole names: the vision tower has layers of the same last name."""
    return [name.removeprefix(PREFIX).removesuffix(ADAPTER) for name in tensors if name.endswith(ADAPTER)]


def empty(source: Path, rank_alpha: tuple[int, int], layers: list[str]) -> PeftModel:
    """Return the model with adapters on ``layers``, and no weights yet."""
    rank, alpha = rank_alpha
    config = AutoConfig.from_pretrained(source)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.float32)
        return get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers))


def write(model: PreTrainedModel, source: Path, target: Path) -> None:
    """Write ``model`` with the tokenizer, processor and settings of ``source``, all or nothing."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    model.save_pretrained(partial)
    for file in source.iterdir():
        if ".safetensors" not in file.suffixes and file.name != "config.json":
            shutil.copy2(file, partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    write(folded(args.checkpoint), args.checkpoint / "huggingface", args.target)
    print(f"The adapters of {args.checkpoint} are in the weights of {args.target}")


if __name__ == "__main__":
    main()
