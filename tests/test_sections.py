"""Splitting a response into sections."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo.judging.sections import Kind, parse_sections

RESPONSE = (
    "### Image Description:\nTwo digits.\n### Rationales:\nAdd them.\n### Let's think step by step.\n"
    "### Step 1:\nThe first is 3.\n### Step 2:\nThe second is 5.\n### The final answer is: 8"
)


def kinds(response: str) -> list[Kind]:
    return [section.kind for section in parse_sections(response)]


def test_every_section_of_the_format_is_recognised() -> None:
    assert kinds(RESPONSE) == [
        Kind.DESCRIPTION,
        Kind.RATIONALES,
        Kind.STEP_BY_STEP,
        Kind.STEP,
        Kind.STEP,
        Kind.FINAL_ANSWER,
    ]


def test_bodies_and_numbers_are_read() -> None:
    sections = parse_sections(RESPONSE)
    assert [s.number for s in sections] == [None, None, None, 1, 2, None]
    assert [s.body for s in sections] == [
        "Two digits.",
        "Add them.",
        "",
        "The first is 3.",
        "The second is 5.",
        "8",
    ]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_newline_style_does_not_matter(newline: str) -> None:
    assert kinds(RESPONSE.replace("\n", newline)) == kinds(RESPONSE)


def test_headers_are_case_insensitive() -> None:
    assert kinds(RESPONSE.upper()) == kinds(RESPONSE)


@pytest.mark.parametrize(
    "body",
    [
        "I write `### Step 2:` here",
        "as in ### The final answer is: 9",
        "#### Step 2:",
        "## Step 2:",
    ],
)
def test_a_header_inside_a_line_is_not_a_header(body: str) -> None:
    sections = parse_sections(f"### Step 1:\n{body}")
    assert [s.kind for s in sections] == [Kind.STEP]
    assert sections[0].body == body


def test_an_empty_body_is_empty() -> None:
    assert parse_sections("### Step 1:\n\n  \n### Step 2:\nx")[0].body == ""


def test_unknown_headers_are_kept_as_other() -> None:
    assert kinds("### Conclusion:\nx") == [Kind.OTHER]


@given(st.text(alphabet=st.sampled_from(list("#Stepanswrhfil123: \r\n`")), max_size=200))
def test_offsets_agree_with_the_text_whatever_a_model_wrote(text: str) -> None:
    sections = parse_sections(text)
    for section in sections:
        assert text[section.start : section.start + 3] == "###"
        assert text[section.body_start : section.body_start + len(section.body)] == section.body
        assert section.start <= section.body_start <= section.end
    assert [s.start for s in sections] == sorted(s.start for s in sections)
