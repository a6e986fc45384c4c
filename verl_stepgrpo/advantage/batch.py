"""What single responses earned, as the tensors of a batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from verl_stepgrpo.advantage.combine import Scores
from verl_stepgrpo.advantage.credit import Steps
from verl_stepgrpo.earned import Earned


def as_tensors(responses: Sequence[Earned], device: torch.device | str = "cpu") -> tuple[Scores, Steps]:
    """Return what responses earned, in their order, as the tensors that ``advantages`` takes."""

    def column(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64, device=device)

    found = [[-1 if step is None else step for step in one.found] for one in responses]
    counts = torch.tensor([len(one.step_shares) for one in responses], dtype=torch.int64, device=device)
    scores = Scores(
        correct_B=torch.tensor([one.correct for one in responses], dtype=torch.bool, device=device),
        key_steps_B=column([one.key_step_share for one in responses]),
        validity_B=column([one.validity for one in responses]),
        parts_BE=torch.tensor(
            _padded([one.parts for one in responses], 0.0), dtype=torch.float64, device=device
        ),
        real_B=torch.tensor([one.is_real for one in responses], dtype=torch.bool, device=device),
    )
    shares_BS = torch.tensor(_padded([one.step_shares for one in responses], 0.0), dtype=torch.float64)
    found_BK = torch.tensor(_padded(found, -1), dtype=torch.int64)
    return scores, Steps(shares_BS.to(device), found_BK.to(device), counts)


def _padded(rows: Sequence[Sequence[float]], fill: float) -> list[list[float]]:
    """Return rows of one length, at least 1."""
    width = max(map(len, rows), default=0) or 1
    return [[*row, *[fill] * (width - len(row))] for row in rows]
