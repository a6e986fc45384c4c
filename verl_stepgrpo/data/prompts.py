"""The request for the StepGRPO format that stands behind a question. Its sections are Mulberry's. Pure."""

from __future__ import annotations

IMAGE_MARK = "<image>"
"""Stands in a prompt's text where an image goes; verl's."""

DESCRIPTION_REQUEST = "First describe the image as far as the question needs it, then give"
TEXT_REQUEST = "First give"
REQUEST = """{opening} the rationale that the solution rests on, then reason in numbered steps, \
and last state the final answer, with nothing behind it. For a question with choices give the choice and its content.
Open each part with its header, on a line of its own:
{headers}"""
HEADERS = (
    "### Image Description:",
    "### Rationales:",
    "### Let's think step by step.",
    "### Step 1:",
    "### Step 2:",
    "### The final answer is: ",
)


def prompt(question: str, *, n_images: int) -> str:
    """Return the user's message: a mark for each image, the question, and the request for the format.

    A question that has its marks keeps them where they are.
    """
    marks = "" if IMAGE_MARK in question else IMAGE_MARK * n_images
    return marks + with_request(question, has_image=n_images > 0)


def with_request(question: str, *, has_image: bool) -> str:
    """Return a question with the request for the format behind it.

    A question that asks for the format itself, as R1-VL-10K's may, is left as it is.
    """
    if "### the final answer is" in question.casefold():
        return question
    opening, headers = (DESCRIPTION_REQUEST, HEADERS) if has_image else (TEXT_REQUEST, HEADERS[1:])
    return f"{question}\n{REQUEST.format(opening=opening, headers=chr(10).join(headers))}"
