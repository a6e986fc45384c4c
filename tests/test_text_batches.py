"""verl's forward of Qwen's models on a micro-batch without any image; in a process of its own, since verl
patches classes that several of them share."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_models
from processes import python

FORWARD = """
import torch
from transformers import AutoModelForImageTextToText
from verl.models.transformers.monkey_patch import apply_monkey_patch

model = AutoModelForImageTextToText.from_pretrained({folder!r})
ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
places = torch.arange(6).expand(4, 1, 6)
expected = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
apply_monkey_patch(model, use_remove_padding=False, use_fused_kernels=False)
given = model(input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=places).logits
torch.testing.assert_close(given, expected)
given.sum().backward()
assert model.model.visual.patch_embed.proj.weight.grad is not None  # the tower took part, with nothing
assert not model.model.visual.patch_embed.proj.weight.grad.any()
print("as without verl")
"""


@pytest.mark.parametrize("architecture", tiny_models.ARCHITECTURES)
def test_text_alone_goes_through_as_in_transformers(architecture: str, tmp_path: Path) -> None:
    tiny_models.build(architecture, tmp_path)
    done = python(FORWARD.format(folder=str(tmp_path)))
    assert done.stdout.endswith("as without verl\n"), done.stderr[-2000:]


def test_verl_alone_ends_in_it_still(tmp_path: Path) -> None:
    """Where this fails, a newer verl needs ``text_batches`` no more."""
    tiny_models.build("Qwen2VL", tmp_path)
    done = python(FORWARD.format(folder=str(tmp_path)), VERL_USE_EXTERNAL_PLUGINS="none")
    assert "has no attribute 'mean'" in done.stderr
