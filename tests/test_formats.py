"""Formats: how real ways of writing are read, what each pays, and formats of one's own."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from helpers import parquet
from hypothesis import given
from hypothesis import strategies as st

from verl_stepgrpo import ConfigError, RewardSettings, score_response
from verl_stepgrpo.bridge.checks.dataset_check import check_files
from verl_stepgrpo.data.lint import lint
from verl_stepgrpo.data.prepare import PrepareOptions, prepare
from verl_stepgrpo.data.prompts.text import other_format, with_request
from verl_stepgrpo.data.rows.build import RowOptions
from verl_stepgrpo.doctor.inputs import data_lines
from verl_stepgrpo.judging import formats
from verl_stepgrpo.judging.formats import FORMATS, Format
from verl_stepgrpo.judging.sections import Kind, Section
from verl_stepgrpo.rewards import faults_of_form

KEY_STEPS = [["6 apples"], ["3 children"], ["6/3 = 2"]]

WHOLE = {
    "mulberry": "### Image Description:\nApples.\n### Rationales:\nDivide.\n### Let's think step by step.\n"
    "### Step 1:\nThere are 6 apples and 3 children.\n### Step 2:\n6/3 = 2\n### The final answer is: 2",
    "think": "<think>\nThere are 6 apples and 3 children.\n\nSo 6/3 = 2.\n</think>\n\\boxed{2}",
    "markdown": "**Step 1:** There are 6 apples and 3 children.\n\n**Step 2:** 6/3 = 2\n\n**Final answer:** 2",
    "plain": "There are 6 apples and 3 children.\n\nSo 6/3 = 2, and the answer is \\boxed{2}.",
}


PAGE = Path(__file__).resolve().parents[1] / "docs" / "formats.md"


def paid_table() -> str:
    """What each of the whole responses is paid under each format, as the page has it."""
    names = list(FORMATS)
    rows = [
        [f"written as `{written}`", *(f"{scored(WHOLE[written], paid).total:.1f}" for paid in names)]
        for written in names
    ]
    head = ["", *(f"paid as `{name}`" for name in names)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows))


def requests_text() -> str:
    """What each format asks for behind a question, as the page has it."""
    asked = ((name, formats.find(name).request(has_image=True)) for name in FORMATS)
    return "\n\n".join(f"`{name}`:\n\n```text\n{text}\n```" for name, text in asked)


def test_the_page_has_what_is_paid_and_what_is_asked_for() -> None:
    page = PAGE.read_text()
    for name, made in (("paid", paid_table()), ("requests", requests_text())):
        assert page.partition(f"<!-- {name} -->\n")[2].partition(f"\n<!-- /{name} -->")[0] == made


def scored(response: str, format_: str, **settings: object):
    return score_response(
        response, "2", KEY_STEPS, RewardSettings.from_mapping({"format": format_, **settings})
    )


def steps(response: str, format_: str) -> list[str]:
    return [one.body for one in formats.find(format_).sections(response) if one.kind is Kind.STEP]


@pytest.mark.parametrize("format_", FORMATS)
def test_a_whole_response_earns_everything_in_its_format(format_: str) -> None:
    result = scored(WHOLE[format_], format_)
    assert (result.answer.correct, result.step_rvr) == (True, 1.0), faults_of_form(
        result, RewardSettings(format=format_)
    )
    assert result.key_step_match == 1.0
    assert len(result.steps) == 2


@pytest.mark.parametrize(
    ("format_", "others"),
    [
        ("mulberry", ["think", "markdown", "plain"]),
        ("think", ["mulberry", "markdown", "plain"]),
        # The paper's headers are headings, too.
        ("markdown", ["think", "plain"]),
    ],
)
def test_a_response_of_another_format_is_not_valid(format_: str, others: list[str]) -> None:
    for other in others:
        assert scored(WHOLE[other], format_).step_rvr == 0, other


@pytest.mark.parametrize(
    ("format_", "response", "missing", "disorder"),
    [
        ("think", "<think>\n6/3 = 2", ("no <think>...</think>", "no final answer"), ("no final answer",)),
        ("think", "<think></think>\\boxed{2}", ("no step",), ("no step",)),
        ("think", "So:\n<think>6/3 = 2</think>\\boxed{2}", (), ("text before <think>",)),
        (
            "think",
            "<think>6/3 = 2</think><answer>2</answer><answer>3</answer>",
            (),
            ("2 final answers",),
        ),
        ("think", "6/3 = 2 \\boxed{2}", ("no <think>...</think>", "no step"), ("no step",)),
        (
            "markdown",
            "## Step 1\n6 apples\n## Step 3\n6/3 = 2\nFinal answer: 2",
            (),
            ("steps numbered 1, 3",),
        ),
        ("markdown", "6/3 = 2\nFinal answer: 2", ("no step",), ("no step",)),
        ("markdown", "1. 6/3 = 2", ("no final answer",), ("no final answer",)),
        (
            "markdown",
            "Step 1: 6 apples\nFinal answer: 2\nStep 2: 6/3 = 2",
            (),
            ("a step behind the final answer",),
        ),
        ("plain", "6/3 = 2", ("no final answer",), ("no final answer",)),
        ("plain", "\\boxed{2}", ("no step",), ("no step",)),
    ],
)
def test_what_is_missing_or_out_of_order_is_named(
    format_: str, response: str, missing: tuple[str, ...], disorder: tuple[str, ...]
) -> None:
    settings = RewardSettings(format=format_)
    assert faults_of_form(score_response(response, "2", KEY_STEPS, settings), settings) == (missing, disorder)


@pytest.mark.parametrize(
    ("format_", "response", "expected"),
    [
        ("think", "6 apples\n\n6/3 = 2\n</think>\\boxed{2}", ["6 apples", "6/3 = 2"]),  # a template opened it
        ("think", "<think>1. 6 apples\n2. 6/3 = 2</think>", ["6 apples", "6/3 = 2"]),
        ("think", "<think>Step 1: 6 apples\n\nmore\nStep 2: 2</think>", ["6 apples\n\nmore", "2"]),
        ("think", "<think>6 apples.\n6/3 = 2</think>", ["6 apples.", "6/3 = 2"]),
        ("think", "<think>There are 6. So 2.</think>", ["There are 6.", "So 2."]),
        ("markdown", "### Step 1: 6\n### Step 2: 2\nFinal answer: 2", ["6", "2"]),
        ("markdown", "1) 6 apples\n2) 6/3 = 2\n**Final Answer**: 2", ["6 apples", "6/3 = 2"]),
        ("plain", "6 apples.\n\n6/3 = 2, so the answer is 2", ["6 apples.", "6/3 = 2, so the"]),
        ("plain", "Step 1: 6 apples\nStep 2: 6/3 = 2\n#### 2", ["6 apples", "6/3 = 2"]),
    ],
)
def test_steps_are_found_as_they_are_written(format_: str, response: str, expected: list[str]) -> None:
    assert steps(response, format_) == expected


@pytest.mark.parametrize(
    ("format_", "response", "answer"),
    [
        ("think", "<think>6/3 = 2, \\boxed{3}</think>So \\boxed{2}.", "2"),
        ("think", "<think>x</think><answer>\\boxed{2}</answer>", "2"),
        ("think", "<think>x</think><answer>2", "2"),
        ("markdown", "1. x\nThe final answer is: 2", "2"),
        ("markdown", "1. x\n\nThus \\boxed{2}", "2"),
        ("plain", "x. <answer>2</answer>", "2"),
        ("plain", "x = 3\n#### 2", "2"),
    ],
)
def test_the_answer_is_the_one_that_the_format_has(format_: str, response: str, answer: str) -> None:
    assert scored(response, format_).answer.correct is (answer == "2")


class TestDraft:
    """What a thinking model drafts before a response of a format without thoughts."""

    DRAFTED = "<think>\n### Step 1:\nIs it 3 + 6?\n### The final answer is: 9\n</think>\n" + WHOLE["mulberry"]

    @pytest.mark.parametrize("format_", ["mulberry", "markdown", "plain"])
    def test_it_changes_nothing(self, format_: str) -> None:
        with_draft = scored("<think>\nHm, 9?\n\n1. 9\n</think>\n" + WHOLE[format_], format_)
        assert with_draft.components() == scored(WHOLE[format_], format_).components()
        assert scored(self.DRAFTED, "mulberry").total == scored(WHOLE["mulberry"], "mulberry").total

    def test_places_are_those_of_the_whole_response(self) -> None:
        found = scored(self.DRAFTED, "mulberry").key_steps[0]
        assert self.DRAFTED[found.start : found.end] == "6 apples"

    def test_it_may_be_judged(self) -> None:
        assert scored(self.DRAFTED, "mulberry", draft="judged").step_rvr == 0

    def test_key_steps_in_it_are_not_paid(self) -> None:
        pasted = "<think>\n### Step 1:\n6/3 = 2\n</think>\n### Step 1:\nNothing.\n### The final answer is: 2"
        assert scored(pasted, "mulberry").key_step_match == 0


class TestRequest:
    @pytest.mark.parametrize("format_", FORMATS)
    def test_what_is_asked_for_asks_for_that_format_alone(self, format_: str) -> None:
        asked = with_request("How many?", has_image=True, format_=format_)
        assert formats.find(format_).asks.search(asked)
        assert other_format(asked, format_) is None
        assert with_request(asked, has_image=True, format_=format_) == asked

    def test_a_prompt_that_asks_for_another_is_told(self) -> None:
        asked = "How many? Think inside <think> tags and put the answer in \\boxed{}."
        assert other_format(asked, "mulberry") == "think"
        assert other_format(asked, "think") is None
        assert other_format("How many?", "mulberry") is None
        # A request for thoughts and a box is none for prose with a box.
        assert other_format(asked, "plain") == "think"


class Shout(Format):
    """Steps are lines in capitals."""

    name = "shout"
    asks = re.compile("IN CAPITALS")

    def request(self, *, has_image: bool) -> str:
        return "Answer IN CAPITALS."

    def sections(self, response: str) -> tuple[Section, ...]:
        lines = [m for m in re.finditer(r"^[^a-z\n]+$", response, re.MULTILINE)]
        kinds = [Kind.STEP] * (len(lines) - 1) + [Kind.FINAL_ANSWER] * bool(lines)
        return tuple(
            Section(kind, None, m.start(), m.end(), m.start(), m.group())
            for kind, m in zip(kinds, lines, strict=True)
        )


class Unnamed(Format):
    """Has what has to be there, and no more."""

    def request(self, *, has_image: bool) -> str:
        return "Shout."

    def sections(self, response: str) -> tuple[Section, ...]:
        return ()


class MissingTakesSectionsAlone(Unnamed):
    def missing(self, sections):  # type: ignore
        return []


class RequestTakesNothing(Unnamed):
    def request(self):  # type: ignore
        return "Shout."


class RequestIsNoText(Unnamed):
    def request(self, *, has_image):  # type: ignore
        return None


class SectionsAreTexts(Unnamed):
    def sections(self, response):  # type: ignore
        return [response] if response == "Shout." else []


class SectionsFail(Unnamed):
    def sections(self, response):  # type: ignore
        return response.split("->")[1]


class AsksIsText(Unnamed):
    asks = "->"  # type: ignore


class TestOwn:
    YAML = (
        "name: qa\nrequest: Write Thought and Answer lines.\nstep: '^Thought( \\d+)?:'\nanswer: '^Answer:'\n"
    )

    def test_a_class_is_named_by_its_place(self) -> None:
        result = scored("6 APPLES, 3 CHILDREN\n6/3 = 2\n2", "test_formats:Shout")
        assert (result.total, result.key_step_match) == (pytest.approx(2.1), 1.0)

    def test_patterns_stand_in_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "qa.yaml"
        path.write_text(self.YAML)
        result = scored("Thought 1: 6 apples, 3 children\nThought 2: 6/3 = 2\nAnswer: 2", str(path))
        assert (result.total, result.key_step_match) == (pytest.approx(2.1), 1.0)
        assert scored("Neither.", str(path)).total == 0
        assert not [
            f for f in lint(rows_of(tmp_path, "Thought lines?"), format_=str(path)) if "asks" in f.detail
        ]
        settings = RewardSettings(format=str(path))
        missed = score_response("Thought 2: 6/3 = 2\nThought 1: x\n", "2", KEY_STEPS, settings)
        assert faults_of_form(missed, settings) == (
            ("no final answer",),
            ("no final answer", "steps numbered 2, 1"),
        )

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("name: qa\n", "it has to have the keys"),
            (YAML + "extra: x\n", "it has to have the keys"),
            (YAML.replace("'^Answer:'", "'('"), "is no pattern"),
            (YAML.replace("'^Answer:'", "'x*'"), "found in nothing"),
            ("- a\n", "it has none"),
            ("a: [", "cannot be read"),
            ("a: " + "[" * 5000, "cannot be read"),
            ("a: 2026-99-99", "cannot be read"),
            (f"a: {'9' * 5000}", "cannot be read"),
        ],
    )
    def test_a_file_that_is_no_format_is_refused(self, tmp_path: Path, text: str, said: str) -> None:
        path = tmp_path / "own.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError, match=re.escape(said)):
            RewardSettings(format=str(path))

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("thnk", "one of mulberry, think, markdown, plain"),
            ("test_formats:Missing", "cannot be loaded"),
            ("test_formats:TestOwn", "is no subclass"),
            ("no/such.yaml", "cannot be read"),
        ],
    )
    def test_a_name_of_nothing_is_refused(self, name: str, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            RewardSettings(format=name)

    def test_a_file_that_is_no_yaml_is_refused_in_one_line(self, tmp_path: Path) -> None:
        path = tmp_path / "own.yaml"
        path.write_text("name: qa\n  step: 'x\n")
        with pytest.raises(ConfigError) as refused:
            formats.find(str(path))
        assert "\n" not in str(refused.value)

    def test_the_class_of_the_page_works_everywhere_as_it_stands(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Scored, asked for, prepared, looked at: by the class that the page has, with all its defaults."""
        (code,) = (
            one for one in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "class" in one
        )
        (tmp_path / "arrows.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path)
        result = scored("-> 6 apples, 3 children\n-> 6/3 = 2\n=> 2", "arrows:Arrows")
        assert (result.total, result.key_step_match) == (pytest.approx(2.1), 1.0)
        settings = RewardSettings(format="arrows:Arrows")
        assert faults_of_form(score_response("-> 6", "2", settings=settings), settings)[0] == (
            "no final answer",
        )
        source = tmp_path / "raw.jsonl"
        source.write_text('{"question": "What is 6/3?", "answer": "2"}\n')
        out = tmp_path / "prepared"
        prepare(source, out, PrepareOptions(RowOptions("d", tmp_path, reward=settings), val_share=0))
        (row,) = pq.read_table(out / "rl-train.parquet").to_pylist()
        assert row["prompt"][0]["content"].endswith("and the answer behind =>.")
        assert "other_format" not in {
            one.check for one in lint(out / "rl-train.parquet", format_="arrows:Arrows")
        }
        assert "format" not in {one.what for one in data_lines(out / "rl-train.parquet", "arrows:Arrows")}

    def test_a_class_without_what_a_prompt_is_known_by_is_known_by_its_request(self) -> None:
        asked = with_request("What is 6/3?", has_image=False, format_="test_formats:Unnamed")
        assert asked.endswith("\nShout.")
        assert with_request(asked, has_image=False, format_="test_formats:Unnamed") == asked

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            (
                "MissingTakesSectionsAlone",
                r"its missing cannot be called .*def missing\(self, sections, \*, needs",
            ),
            ("RequestTakesNothing", r"its request cannot be called .*def request\(self, \*, has_image\)"),
            ("RequestIsNoText", r"its request returned None; it has to return a text"),
            ("SectionsAreTexts", r"its sections returned \['Shout.'\]; it has to return a list of Sections"),
            ("SectionsFail", r"its sections failed: IndexError: "),
            ("AsksIsText", r"asks is '->'; it has to be a pattern"),
        ],
    )
    def test_a_class_that_cannot_be_used_is_refused_when_it_is_named(self, name: str, said: str) -> None:
        with pytest.raises(ConfigError, match=said):
            RewardSettings(format=f"test_formats:{name}")

    def test_the_authors_rules_have_one_format(self) -> None:
        with pytest.raises(ConfigError, match=r"mode=reference and .*format=think"):
            RewardSettings(format="think", mode="reference")


PIECES = st.lists(
    st.sampled_from(
        ["<think>", "</think>", "<answer>", "</answer>", "\\boxed{", "}", "Step 1:", "**Step 2:**", "\n", "\n\n", "1. ",
         "### Step 1:", "### The final answer is:", "Final answer:", "#### 2", "6/3 = 2", ". ", "the answer is ", "\r"]
    ),
    max_size=24,
)  # fmt: skip


@given(PIECES, st.sampled_from(sorted(FORMATS)))
def test_whatever_is_written_has_sections_that_lie_in_it_in_order(parts: list[str], format_: str) -> None:
    response = "".join(parts)
    sections = formats.find(format_).sections(response)
    assert all(0 <= s.start <= s.end <= len(response) for s in sections)
    assert [s.start for s in sections] == sorted(s.start for s in sections)
    scored(response, format_)


@pytest.mark.parametrize("format_", FORMATS)
def test_a_long_response_is_not_read_for_ever(format_: str) -> None:
    """In a second at most; a reading whose time grows with the square of the length takes minutes."""
    began = time.monotonic()
    for filler in (
        "<think>",
        "Step 1: a\n",
        "1. a\n",
        "a. ",
        "\\boxed{",
        "<answer>",
        " ",
        "\n",
        "\n ",
        "#",
        "*",
    ):
        formats.find(format_).sections(filler * (200_000 // len(filler)))
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("paid", FORMATS)
@pytest.mark.parametrize("other", FORMATS)
def test_a_prompt_that_asks_for_two_formats_is_told(paid: str, other: str) -> None:
    """A question that asks for one, prepared for another; <think> comes with a box, and ### Step 1 is a heading."""
    asked = with_request(
        f"How many? {FORMATS[other].request(has_image=False)}", has_image=False, format_=paid
    )
    is_part = FORMATS[other].is_asked_in(FORMATS[paid].request(has_image=False))
    assert other_format(asked, paid) == (None if is_part else other)


def rows_of(folder: Path, question: str) -> Path:
    row = {
        "data_source": "d",
        "prompt": [{"role": "user", "content": question}],
        "reward_model": {"style": "rule", "ground_truth": "2"},
        "extra_info": {"index": 0, "key_steps": KEY_STEPS},
    }
    return Path(parquet(folder / "rows.parquet", [row]))


def test_lint_and_the_start_of_a_run_say_when_prompts_ask_for_another_format(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = str(rows_of(tmp_path, "How many? Think in <think> tags; \\boxed{} the answer."))
    said = "it asks for think, and mulberry is paid"
    assert [f.detail for f in lint(Path(path)) if f.check == "other_format"] == [said]
    assert not [f for f in lint(Path(path), format_="think") if f.check == "other_format"]
    check_files(path, "data.train_files")
    assert "1 of 1 row of" in caplog.text
    assert "ask for the format think, and mulberry is paid" in caplog.text
    caplog.clear()
    check_files(path, "data.train_files", "think")
    assert not caplog.text
    asked = [line for line in data_lines(Path(path)) if line.what == "format"]
    assert [line.verdict for line in asked] == ["warn"]
    assert not [line for line in data_lines(Path(path), "think") if line.what == "format"]


class TestSeveralThoughts:
    TWICE = "<think>\n1. There are 3 children.\n</think>\n<think>\n2. 6/3 = 2\n</think>\n<answer>2</answer>"

    def test_the_steps_of_all_are_read(self) -> None:
        result = score_response(self.TWICE, "2", ["3 children", "6/3 = 2"], format="think")
        assert [step.number for step in result.steps] == [1, 2]
        assert result.total == pytest.approx(2.1)

    def test_text_between_two_is_out_of_order_and_no_answer(self) -> None:
        said = self.TWICE.replace("</think>\n<think>", "</think>\n<answer>3</answer>\n<think>")
        result = score_response(said, "2", format="think")
        assert (result.answer.correct, result.complete, result.ordered) == (True, True, False)
        assert formats.find("think").disorder(result.sections) == ["text between two thoughts"]

    def test_a_mark_within_a_thought_is_its_text(self) -> None:
        nested = "<think>\nThe user said <think> here, 6/3 = 2.\n</think>\n\\boxed{2}"
        assert score_response(nested, "2", ["6/3 = 2"], format="think").total == pytest.approx(2.1)

    def test_one_that_is_not_closed_has_no_answer_behind_it(self) -> None:
        result = score_response(self.TWICE.rpartition("</think>")[0], "2", format="think")
        assert (result.answer.answered, result.complete) == (False, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name: qa\nrequest: "x"\nstep: "\\bThought"\nanswer: "^A:"\n', "write the pattern in single quotes"),
        ("name: think\nrequest: x\nstep: '^T:'\nanswer: '^A:'\n", "is that of a format of this package"),
    ],
)
def test_a_file_of_patterns_that_does_not_say_what_it_seems_to_is_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        formats.find(str(path))


def test_a_setting_may_be_named_where_a_response_is_scored() -> None:
    response = "<think>There are 3 children.</think>\n\\boxed{2}"
    assert score_response(response, "2", ["3 children"], format="think").total == pytest.approx(2.1)
    both = score_response(response, "2", ["3 children"], RewardSettings(alpha=1), format="think")
    assert both.total == pytest.approx(3)
    with pytest.raises(ConfigError, match="Did you mean format"):
        score_response(response, "2", formt="think")
