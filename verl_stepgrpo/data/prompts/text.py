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
    if asked.is_asked_in(question):
        return question
    return f"{question}\n{asked.request(has_image=has_image)}"


def other_format(text: str, format_: str) -> str | None:
    """Return the name of the format that a prompt asks for, where that is not ``format_``; None where it asks for none.

    One that asks for ``format_`` and for another asks for two. Of several it is the one that asks for most: a request
    for ``<think>`` and a box is none for prose with a box.
    """
    paid = formats.find(format_)
    allowed = {format_}
    if paid.is_asked_in(text):
        # What its own request says may look like that of another, as that for <think> has a box.
        request = paid.request(has_image=True)
        allowed |= {name for name, other in formats.FORMATS.items() if other.is_asked_in(request)}
    asked = (name for name, other in formats.FORMATS.items() if other.is_asked_in(text))
    return next((name for name in asked if name not in allowed), None)
