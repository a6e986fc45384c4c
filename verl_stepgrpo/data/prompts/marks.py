"""What in a text stands for an image, and what a model's processor would take for one. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from verl_stepgrpo.counts import counted
from verl_stepgrpo.data.prompts.text import IMAGE_MARK

VIDEO_MARK, AUDIO_MARK = "<video>", "<audio>"
"""verl's marks for what no row has here. It looks for it beside images, and for videos always in the warm-up."""

PLACEHOLDERS = frozenset({"<|image_pad|>", "<|video_pad|>", "<|audio_pad|>"})
"""Texts that the processors of Qwen's models look for an image of, and fail where there is none."""

TOKENS = PLACEHOLDERS | {
    f"<|{name}|>" for name in ("vision_start", "vision_end", "vision_pad", "im_start", "im_end", "endoftext")
}
"""These, and others that they make a token of, as the end of a turn."""


def wrong_in_prompt(text: str, n_images: int, tokens: Collection[str] = TOKENS) -> Iterator[str]:
    """Yield what keeps ``n_images`` images from their places in a prompt, one sentence each.

    Without images verl leaves its marks in the text; an ``<image>`` has then lost what it stands for.
    """
    marks = text.count(IMAGE_MARK)
    if marks != n_images:
        yield f"the prompt has {counted(marks, f'{IMAGE_MARK} mark')} for {counted(n_images, 'image')}"
    for mark in (VIDEO_MARK, AUDIO_MARK):
        if n_images and mark in text:
            yield f"the prompt has {mark}, and the row has nothing for it"
    yield from _tokens_in("prompt", text, tokens)


def wrong_in_warm_up(prompt: str, solution: str, tokens: Collection[str] = TOKENS) -> Iterator[str]:
    """Yield what in a row that RL can use would end the warm-up, or teach the wrong, one sentence each."""
    if IMAGE_MARK in solution:
        yield f"the solution has {IMAGE_MARK}, and verl looks for one more image"
    if VIDEO_MARK in prompt or VIDEO_MARK in solution:
        yield f"it has {VIDEO_MARK}, and the row has nothing for it"
    yield from _tokens_in("solution", solution, tokens)


def _tokens_in(where: str, text: str, tokens: Collection[str]) -> Iterator[str]:
    for token in sorted(tokens):
        if token in text:
            yield f"the {where} has the text {token}, which a processor takes for an image or the end of a turn"
