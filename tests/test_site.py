"""The site of the documentation builds, and what its pages say is what the code does."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

import verl_stepgrpo
from verl_stepgrpo import score_response
from verl_stepgrpo.data.lint import CHECKS
from verl_stepgrpo.data.rows.build import NO_WARMUP, REASONS
from verl_stepgrpo.judging.sections import Kind, parse_sections
from verl_stepgrpo.settings import NODE

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
OTHERS = {
    "verl": ("trainer/ppo/core_algos.py", "experimental/reward_loop/reward_manager/registry.py"),
    "hydra": ("_internal/config_loader_impl.py",),
}
"""Files of other packages whose messages are explained, too."""
BROKEN_LINKS = ("nowhere.md", "#nowhere", "other.md#nowhere", "../nowhere.yaml", "../README.md")


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-W", "-q", "-c", str(source / "docs"), str(source), str(site)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=source)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. That it builds says that every link and every anchor leads somewhere."""
    site = tmp_path_factory.mktemp("site")
    done = build(ROOT, site)
    assert done.returncode == 0, done.stderr
    return site


def page(name: str) -> str:
    return (DOCS / name).read_text()


def tables(name: str, *heads: str) -> Iterator[list[str]]:
    """Yield the rows of the tables with these heads, each cell without the marks of code."""
    head = f"| {' | '.join(heads)} |\n"
    for table in page(name).split(head)[1:]:
        for line in table.partition("\n\n")[0].splitlines()[1:]:
            yield [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]


class TestTheSite:
    def test_links_that_lead_nowhere_end_the_build(self, tmp_path: Path) -> None:
        shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("*.md"))
        index, toctree = tmp_path / "docs" / "index.md", "```{toctree}\n:glob:\n\n*\n```\n"
        (tmp_path / "docs" / "other.md").write_text("# Other\n")
        index.write_text(
            f"# Title\n\n[page](other.md), [anchor](other.md#other), [file](conf.py)\n\n{toctree}"
        )
        done = build(tmp_path, tmp_path / "site")
        assert done.returncode == 0, done.stderr
        with index.open("a") as page:
            page.writelines(f"\n[broken]({link})\n" for link in BROKEN_LINKS)
        done = build(tmp_path, tmp_path / "site")
        assert done.returncode != 0
        assert len(re.findall(r"index\.md:\d+: WARNING: .*myst\.xref_missing", done.stderr)) == len(
            BROKEN_LINKS
        )

    def test_nothing_is_fetched_from_elsewhere(self, site: Path) -> None:
        for file in site.rglob("*.html"):
            fetched = re.findall(
                r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"(\w+:[^\"]*)", file.read_text()
            )
            assert not [url for url in fetched if not url.startswith("data:")], file
        for file in site.rglob("*.css"):
            assert not re.search(r"@import|url\(['\"]?(?:https?:)?//", file.read_text()), file

    def test_the_page_of_the_command_line_has_every_command_with_its_options(self, site: Path) -> None:
        from typer.main import get_command

        from verl_stepgrpo.cli import app

        text = (site / "docs" / "cli.html").read_text()
        commands = get_command(app).commands  # type: ignore[attr-defined]
        for name, command in commands.items():
            section = text.partition(f'<section id="verl-stepgrpo-{name}">')[2].partition("</section>")[0]
            assert "\N{EN DASH}" not in section, name
            for option in (option for parameter in command.params for option in parameter.opts):
                assert option in section, (name, option)

    def test_the_page_of_the_api_has_every_public_name(self, site: Path) -> None:
        text = (site / "docs" / "api.html").read_text()
        for name in verl_stepgrpo.__all__:
            assert re.search(rf'id="verl_stepgrpo\.(?:\w+\.)*{name}"', text), name

    def test_the_whole_site_opens_at_its_first_page(self, site: Path) -> None:
        target = re.search(r"url=([^\"]*)", (site / "index.html").read_text())
        assert target is not None
        assert (site / target[1]).is_file()


class TestExamples:
    def test_the_commands_of_the_first_page_are_those_of_the_readme(self) -> None:
        commands = re.findall(r"```bash\n.*?```", page("index.md"), re.DOTALL)
        assert len(commands) == 2
        assert all(command in (ROOT / "README.md").read_text() for command in commands)

    @pytest.mark.parametrize("name", ["rewards.md", "data.md"])
    def test_python_prints_what_stands_below_it(self, name: str) -> None:
        examples = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", page(name), re.DOTALL)
        assert len(examples) == page(name).count("```python")
        for code, text in examples:
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(code, {})
            assert printed.getvalue() == text

    def test_the_commands_on_data_print_what_stands_below_them(self, tmp_path: Path) -> None:
        (raw,) = re.findall(r"```json\n(.*?)```", page("data.md"), re.DOTALL)
        (tmp_path / "data.json").write_text(raw)
        (tmp_path / "images").mkdir()
        Image.new("RGB", (112, 84), "red").save(tmp_path / "images" / "apples.png")
        examples = re.findall(
            r"```bash\nverl-stepgrpo ([^`]*)```\n\n```text\n(.*?)```", page("data.md"), re.DOTALL
        )
        assert [command.split()[0] for command, _ in examples] == ["key-steps", "prepare", "lint"]
        for command, text in examples:
            done = subprocess.run(
                [sys.executable, "-m", "verl_stepgrpo", *shlex.split(command)],
                capture_output=True,
                text=True,
                cwd=tmp_path,
            )
            assert done.stdout == text, done.stderr

    def test_lines_open_the_sections_that_the_table_says(self) -> None:
        rows = list(tables("rewards.md", "line", "what it opens"))
        assert len(rows) > 10
        for line, opened in rows:
            sections = parse_sections(f"{line}\ntext")
            found = "nothing"
            if sections:
                kind, number = sections[0].kind, sections[0].number
                found = f"step {number}" if kind is Kind.STEP else kind.value
            assert found == opened, line

    def test_responses_are_complete_and_ordered_as_the_table_says(self) -> None:
        texts = {
            "D": "### Image Description:\nSix apples.",
            "d": "### Image Description:\n...",
            "R": "### Rationales:\nDivide.",
            "A": "### The final answer is: 2",
            "O": "### Remark:\nSo it is.",
        } | {number: f"### Step {number}:\nThere are 3." for number in "123"}
        rows = list(tables("rewards.md", "sections", "complete", "ordered", "StepRVR"))
        assert len(rows) > 10
        for sections, complete, ordered, paid in rows:
            result = score_response("\n".join(texts[name] for name in sections.split()), "2")
            assert (result.complete, result.ordered) == (complete == "yes", ordered == "yes"), sections
            assert result.step_rvr == float(paid), sections

    def test_key_steps_are_found_as_the_table_says(self) -> None:
        rows = list(tables("rewards.md", "key step", "a step says", "found", "why"))
        assert len(rows) > 25
        for key_step, text, found, _ in rows:
            result = score_response(f"### Step 1:\n{text}\n### The final answer is: 1", "1", [key_step])
            assert result.key_step_match == (found == "yes"), (key_step, text)

    def test_answers_are_judged_as_the_table_says(self) -> None:
        rows = list(tables("rewards.md", "reference", "answer", "right", "layer", "reason"))
        assert len(rows) > 25
        for reference, answer, right, layer, reason in rows:
            verdict = score_response(f"### The final answer is: {answer}", reference).answer
            said = (verdict.correct, verdict.layer, verdict.reason)
            assert said == (right == "yes", layer, reason), (reference, answer)

    def test_answers_count_in_any_format_as_the_table_says(self) -> None:
        rows = list(tables("rewards.md", "response, after the steps", "reference", "`acc`", "`acc_flexible`"))
        assert len(rows) > 8
        for response, reference, acc, flexible in rows:
            found = score_response(f"### Step 1:\nSo we add.\n\n{response}", reference).components()
            assert (found["acc"], found["acc_flexible"]) == (float(acc), float(flexible)), response

    def test_every_layer_of_the_answer_is_named_in_its_order(self) -> None:
        from verl_stepgrpo.judging.answers.judge import LAYERS

        named = [layer for layer, _ in tables("rewards.md", "layer", "what it compares")]
        layers = [layer.__name__.removeprefix("by_") for layer in LAYERS]
        others = {
            "detail": "number`, `text",
            "time": "number",
            "text_of_statement": "text",
            "words": "text",
            "symbols": "symbolic",
        }
        assert named == ["none", *(others.get(layer, layer) for layer in layers)]


def test_the_reasons_and_checks_are_those_of_the_code() -> None:
    def meanings(head: str) -> dict[str, str]:
        return {
            row[0]: row[1].replace("`", "") for row in tables("data.md", head, "what it means", "what to do")
        }

    assert meanings("reason") == REASONS | NO_WARMUP
    assert meanings("check") == CHECKS


def test_every_message_that_is_explained_stands_in_the_code() -> None:
    messages = [
        row[0] for row in tables("troubleshooting.md", "what you see", "what it means, and what to do")
    ]
    messages = [message for message in messages if not message.startswith("stepgrpo: paper")]
    assert len(messages) > 50
    said = [text for file in _sources() for text in _texts(ast.parse(file.read_text()))]
    for message in messages:
        parts = [re.escape(part) for part in re.split(r"<[^<>]*>", message)]
        assert any(re.search(".*".join(parts), text) for text in said), message


def _sources() -> Iterator[Path]:
    yield from (ROOT / "verl_stepgrpo").rglob("*.py")
    for package, files in OTHERS.items():
        spec = importlib.util.find_spec(package)  # of a top package this imports nothing
        assert spec is not None
        yield from (Path(str(spec.origin)).parent / file for file in files)


def _texts(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of a module, with what is put into them left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%[sd]", "", node.value)
        elif isinstance(node, ast.JoinedStr):
            yield "".join(map(_text, node.values))


def _text(part: ast.expr) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    assert isinstance(part, ast.FormattedValue)
    return NODE if ast.unparse(part.value) == "NODE" else ""
