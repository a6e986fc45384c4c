"""verl's forward of Qwen's models on a micro-batch without any image; in a process of its own, which verl patches."""

from __future__ import annotations

import pytest
import tiny_models
from processes import python

FORWARD = """
import traceback
import torch
from transformers import AutoModelForImageTextToText
from verl.models.transformers.monkey_patch import apply_monkey_patch

def forward(folder):
    model = AutoModelForImageTextToText.from_pretrained(folder)
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    places = torch.arange(6).expand(4, 1, 6)
    expected = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    apply_monkey_patch(model, use_remove_padding=False, use_fused_kernels=False)
    given = model(input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=places).logits
    torch.testing.assert_close(given, expected)
    given.sum().backward()
    assert model.model.visual.patch_embed.proj.weight.grad is not None  # the tower took part, with nothing
    assert not model.model.visual.patch_embed.proj.weight.grad.any()

for name, folder in {folders!r}.items():
    try:
        forward(folder)
        print(name, "as without verl")
    except Exception:
        traceback.print_exc()
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the folder of a tiny model of each architecture."""
    folder = tmp_path_factory.mktemp("models")
    for architecture in tiny_models.ARCHITECTURES:
        tiny_models.build(architecture, folder / architecture)
    return {architecture: str(folder / architecture) for architecture in tiny_models.ARCHITECTURES}


def test_text_alone_goes_through_as_in_transformers(models: dict[str, str]) -> None:
    done = python(FORWARD.replace("{folders!r}", repr(models)))
    said = [line for line in done.stdout.splitlines() if line.endswith("as without verl")]
    assert said == [f"{name} as without verl" for name in models], done.stderr[-2000:]


def test_verl_alone_ends_in_it_still(models: dict[str, str]) -> None:
    """Where this fails, a newer verl needs ``text_batches`` no more."""
    one = {"Qwen2VL": models["Qwen2VL"]}
    done = python(FORWARD.replace("{folders!r}", repr(one)), VERL_USE_EXTERNAL_PLUGINS="none")
    assert "has no attribute 'mean'" in done.stderr
