"""The advantages of responses and of their steps, laid over their tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def to_tokens(advantage_B: torch.Tensor, mask_BT: torch.Tensor) -> torch.Tensor:
    """Return the advantage of each token, (B, T): its response's, and 0 where the mask is 0."""
    # Converted first and multiplied in place: an integer mask times floats takes the slow mixed path.
    return mask_BT.to(advantage_B.dtype, copy=True).mul_(advantage_B.unsqueeze(-1))


def steps_to_tokens(
    advantage_BS: torch.Tensor, ends: Sequence[Sequence[int]], mask_BT: torch.Tensor
) -> torch.Tensor:
    """Return the advantage of each token, (B, T): its step's, and 0 where the mask is 0.

    What stands before a step belongs to it. A response without steps has the first step's advantage throughout,
    which is that of the whole response.

    Args:
        advantage_BS: As ``by_step`` gives it, (B, S + 1).
        ends: For each response the number of leading tokens up to the end of each of its steps, rising.
        mask_BT: (B, T), 1 for tokens that the model generated.
    """
    n_responses, n_columns = advantage_BS.shape
    width = mask_BT.shape[1]
    bounds_BS = np.zeros((n_responses, n_columns + 1), dtype=np.int64)
    for bounds, own in zip(bounds_BS, ends, strict=True):
        bounds[1 : len(own) + 1] = own
        bounds[len(own) + 1 :] = own[-1] if own else width
    bounds_BS = np.maximum.accumulate(bounds_BS.clip(max=width), axis=1)
    bounds_BS[:, -1] = width
    lengths_BS = torch.from_numpy(np.diff(bounds_BS, axis=1)).to(advantage_BS.device)
    per_token = advantage_BS.flatten().repeat_interleave(lengths_BS.flatten(), output_size=mask_BT.numel())
    return per_token.view(mask_BT.shape).mul_(mask_BT)
