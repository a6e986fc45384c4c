"""``mulberry``, the paper's: sections that open with ``###``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from verl_stepgrpo.judging.formats.format import Format
from verl_stepgrpo.judging.sections import Kind, Section, parse_sections

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


class Mulberry(Format):
    """Image description, rationales, numbered steps and the final answer, each under its header.

    Source: arXiv 2503.12937, section 3.2 (reasoning completeness, reasoning logic).
    """

    name = "mulberry"
    # A question may ask for it itself, as R1-VL-10K's do.
    asks = re.compile(r"### the final answer is", re.IGNORECASE)
    has_description = True

    def request(self, *, has_image: bool) -> str:
        opening, headers = (DESCRIPTION_REQUEST, HEADERS) if has_image else (TEXT_REQUEST, HEADERS[1:])
        return REQUEST.format(opening=opening, headers="\n".join(headers))

    def sections(self, response: str) -> tuple[Section, ...]:
        return parse_sections(response)

    def missing(self, sections: Sequence[Section], *, needs_description: bool) -> list[str]:
        """Return what of background, a step and a final answer is not there, or says nothing.

        Background is the image description and the rationales; the paper has no data without images.
        """
        present = {section.kind for section in sections if section.says_something}
        said = []
        if needs_description and Kind.DESCRIPTION not in present:
            said.append("no image description")
        if Kind.RATIONALES not in present:
            said.append("no rationales")
        return said + super().missing(sections, needs_description=needs_description)

    def disorder(self, sections: Sequence[Section]) -> list[str]:
        """Return what is not in order: background before the first step as well."""
        said = [section.kind for section in sections if section.says_something]
        first = said.index(Kind.STEP) if Kind.STEP in said else len(said)
        is_late = any(kind in (Kind.DESCRIPTION, Kind.RATIONALES) for kind in said[first:])
        return super().disorder(sections) + ["background behind a step"] * is_late
