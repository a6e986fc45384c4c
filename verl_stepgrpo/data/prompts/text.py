"""The user's message: a question with its images, and the request for the format behind it. Pure."""

from __future__ import annotations

from verl_stepgrpo.judging import formats

IMAGE_MARK = "<image>"
"""Stands in a prompt's text where an image goes; verl's."""


def prompt(question: str, *, n_images: int, format_: str = "mulberry") -> str:
    """Return the user's message: a mark for each image, the question, and the request for the format.

    A question that has its marks keeps them where they are.
    """
    marks = "" if IMAGE_MARK in question else IMAGE_MARK * n_images
    return marks + with_request(question, has_image=n_images > 0, format_=format_)


def with_request(question: str, *, has_image: bool, format_: str = "mulberry") -> str:
    """Return a question with the request for a format behind it; one that asks for it itself is left as it is."""
    asked = formats.find(format_)
    if asked.asks.search(question):
        return question
    return f"{question}\n{asked.request(has_image=has_image)}"


def other_format(text: str, format_: str) -> str | None:
    """Return the name of the format that a prompt asks for, where that is not ``format_``; None where it asks for none.

    Of several it is the one that asks for most: a request for ``<think>`` and a box is none for prose with a box.
    """
    paid = formats.find(format_)
    if format_ not in formats.FORMATS and paid.asks.search(text):
        return None
    asked = next((name for name, other in formats.FORMATS.items() if other.asks.search(text)), None)
    return None if asked == format_ else asked
