"""Group-relative advantages: how much better a response, or a step of it, is than the others to the same prompt.

``combine`` makes one advantage of a response's rewards, ``credit`` spreads it over its steps, ``tokens`` lays it over
its tokens. Axes in the names of tensors: B responses of the batch, T tokens of a response, G groups, S reasoning
steps, K key steps. Needs torch, no verl. Source: Zhang et al., arXiv 2503.12937, section 3.3, for ``combine=sum`` with
``credit=trajectory``; the rest is not in the paper.
"""

from __future__ import annotations

from verl_stepgrpo.advantage.batch import as_tensors
from verl_stepgrpo.advantage.combine import Combined, Scores, combined, shares
from verl_stepgrpo.advantage.credit import Advantages, Steps, advantages
from verl_stepgrpo.advantage.groups import Scale, all_wrong, group_ids, group_relative
from verl_stepgrpo.advantage.tokens import steps_to_tokens, to_tokens

__all__ = [
    "Advantages",
    "Combined",
    "Scale",
    "Scores",
    "Steps",
    "advantages",
    "all_wrong",
    "as_tensors",
    "combined",
    "group_ids",
    "group_relative",
    "shares",
    "steps_to_tokens",
    "to_tokens",
]
