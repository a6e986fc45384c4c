"""The report of a run: its numbers, and its page in a real browser, opened from disk."""

from __future__ import annotations

import collections
import json
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import digit_runs
import pytest
from helpers import lines_in, parquet, put_lines, trace_row
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from processes import python

from verl_stepgrpo import SCORE_KEYS, ConfigError, DataError
from verl_stepgrpo.curves import Outcome, curve_name, curves
from verl_stepgrpo.evaluation.summary import changes
from verl_stepgrpo.files import SetAside
from verl_stepgrpo.judging.sections import parse_sections
from verl_stepgrpo.report.build import Sources, Written, write_report
from verl_stepgrpo.report.charts import distribution_charts
from verl_stepgrpo.report.collect import GroupKey, read_run, sample
from verl_stepgrpo.report.images import MAX_SIDE, thumbnail
from verl_stepgrpo.report.notices import notices
from verl_stepgrpo.report.outcome import COMPARED, compare
from verl_stepgrpo.report.rollouts import group_view, pieces, rollout_view, sections_view
from verl_stepgrpo.report.verl_log import read_log
from verl_stepgrpo.traces.files import TraceWriter, read_trace, refuse, trace_files
from verl_stepgrpo.traces.rows import Credit, TraceRow

DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 390, "height": 844}


def report(folder: Path, max_rollouts: int = 5000, **sources: Any) -> Written:
    return write_report(
        Sources(folder / "trace", **sources), folder / "report.html", max_rollouts=max_rollouts
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its report made by the command, as the README has it, and verl's log."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    digit_runs.write_run(folder)
    done = command(folder / "trace", "--out", folder / "report.html", "--log", folder / "verl.jsonl",
                   "--data", folder / "train.parquet", "--val-data", folder / "heldout.parquet")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "6 training steps, 3 validations\n     264 rollouts\nReport: " in done.stdout
    return folder


@pytest.fixture(scope="module")
def rows(run: Path) -> list[dict[str, Any]]:
    return [facts_of(row) for file in trace_files(run / "trace") for row in read_trace(file)]


def facts_of(row: TraceRow) -> dict[str, Any]:
    return row.to_json() | {"total": row.total}


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "verl_stepgrpo", "report", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium")
    if found is None:
        pytest.fail("no chromium on the PATH, in which reports are opened: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        yield browser
        browser.close()


class Opened:
    """A report in a browser, and what it did that a report must not do."""

    def __init__(self, browser: Browser, file: Path, **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": DESKTOP, "reduced_motion": "reduce"} | options)
        self.page: Page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def draw_all(self) -> None:
        """Bring every chart into sight, which is when it is drawn."""
        for plot in self.page.locator(".plot").all():
            plot.scroll_into_view_if_needed()
            plot.locator(".main-svg").first.wait_for()

    def total(self) -> int:
        return int(self.page.locator("#total").inner_text().replace(",", ""))

    def heading(self) -> str:
        return self.page.locator(".heading").inner_text()

    def go_to(self, place: int) -> None:
        self.page.locator("#position").fill(str(place))
        self.page.locator("#position").press("Enter")

    def position(self) -> str:
        return self.page.locator("#position").input_value()


@pytest.fixture
def opened(browser: Browser, run: Path) -> Iterator[Opened]:
    opened = Opened(browser, run / "report.html")
    yield opened
    assert opened.said == []
    opened.context.close()


def groups_of(rows: list[dict[str, Any]]) -> dict[tuple[bool, str], list[dict[str, Any]]]:
    groups = collections.defaultdict(list)
    for row in rows:
        groups[row["advantage"] is None, row["uid"]].append(row)
    return groups


class TestPage:
    def test_it_opens_from_disk_and_asks_for_nothing_but_itself(self, opened: Opened, run: Path) -> None:
        opened.draw_all()
        assert [url for url in opened.asked if not url.startswith("data:")] == [
            (run / "report.html").as_uri()
        ]
        assert opened.page.title() == "digits · StepGRPO report"

    def test_the_network_and_other_scripts_are_forbidden(self, browser: Browser, run: Path) -> None:
        opened = Opened(browser, run / "report.html")
        reached = opened.page.evaluate("fetch('https://example.org').then(() => 1, () => 0)")
        opened.page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {textContent: 'ran = 1'}))"
        )
        assert (reached, opened.page.evaluate("typeof ran")) == (0, "undefined")
        assert all("Content Security Policy" in said for said in opened.said[-2:])
        opened.context.close()

    def test_every_curve_is_drawn_with_its_points(self, opened: Opened) -> None:
        opened.draw_all()
        charts = json.loads(opened.page.locator("#chart-data").text_content() or "")
        assert {chart["id"] for chart in charts} >= {
            *SCORE_KEYS[1:], "paid", "rewards", "advantages", "groups_without_variance", "groups_all_wrong",
            "groups_all_wrong_moving",
            "advantage_shares", "advantage_from_all_wrong", "decoy_match", "missing_sessions", "kl", "entropy", "lr",
            "seconds",
        }  # fmt: skip
        for chart in charts:
            plot = opened.page.locator(f"#chart-{chart['id']}")
            drawn = ".heatmaplayer image" if chart["kind"] == "heat" else ".scatterlayer .trace"
            assert plot.locator(drawn).count() == max(1, len(chart["series"])), chart["id"]

    def test_a_click_on_a_point_shows_the_groups_of_its_step(self, opened: Opened) -> None:
        plot = opened.page.locator("#chart-acc")
        plot.locator(".main-svg").first.wait_for()
        plot.scroll_into_view_if_needed()
        point = plot.locator(".scatterlayer .trace").first.locator(".points path").nth(3).bounding_box()
        assert point is not None
        opened.page.mouse.click(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
        expect(opened.page.locator("#filters").get_by_label("Step")).to_have_value("4")
        expect(opened.page.locator("#filters").get_by_label("Group")).to_have_value("")
        assert (opened.total(), "training, step 4" in opened.heading()) == (8, True)

    def test_a_click_on_a_curve_of_some_groups_shows_those(self, opened: Opened) -> None:
        plot = opened.page.locator("#chart-groups_without_variance")
        plot.scroll_into_view_if_needed()
        plot.locator(".main-svg").first.wait_for()
        point = plot.locator(".scatterlayer .trace").first.locator(".points path").nth(1).bounding_box()
        assert point is not None
        opened.page.mouse.click(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
        expect(opened.page.locator("#filters").get_by_label("Group")).to_have_value("equal")

    def test_in_the_dark_the_page_and_its_charts_are_dark(self, browser: Browser, run: Path) -> None:
        opened = Opened(browser, run / "report.html", color_scheme="light")
        body, line = opened.page.locator("body"), opened.page.locator("#chart-acc .js-line").first
        line.wait_for(state="attached")
        light = {name: colour(body, name) for name in ("background-color", "color")}
        light["stroke"] = colour(line, "stroke")
        # At once: what is still being drawn must change too. A browser says so at its next frame, so this waits.
        opened.page.emulate_media(color_scheme="dark")
        expect(body).not_to_have_css("background-color", light["background-color"])
        expect(body).not_to_have_css("color", light["color"])
        expect(line).not_to_have_css("stroke", light["stroke"])
        assert brightness(light["background-color"]) > brightness(light["color"])
        assert brightness(colour(body, "background-color")) < brightness(colour(body, "color"))
        opened.context.close()

    def test_on_a_phone_only_the_responses_scroll_sideways(self, browser: Browser, run: Path) -> None:
        opened = Opened(browser, run / "report.html", viewport=PHONE, has_touch=True, is_mobile=True)
        opened.draw_all()
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not opened.page.evaluate(wide)
        opened.page.locator(".chip").nth(2).tap()
        expect(opened.page.locator("#response-3 > header")).to_be_in_viewport(ratio=1)
        box = opened.page.locator("#response-3").bounding_box()
        assert box is not None
        assert (box["x"] >= 0, box["x"] + box["width"] <= PHONE["width"]) == (True, True)
        assert not opened.page.evaluate(wide)
        assert opened.said == []
        opened.context.close()

    def test_the_first_validation_is_held_against_the_last(self, opened: Opened, rows: list[dict]) -> None:
        before, after = (
            statistics.fmean(
                row["components"]["acc"] for row in rows if row["advantage"] is None and row["step"] == step
            )
            for step in (0, 6)
        )
        line = opened.page.locator("#comparison tbody tr").first.inner_text()
        assert re.findall(r"[\d.]+", line)[:3] == [f"{x:.3f}" for x in (before, after, after - before)]


def colour(element: Locator, name: str) -> str:
    return str(element.evaluate("(node, name) => getComputedStyle(node).getPropertyValue(name)", name))


def brightness(colour: str) -> int:
    return sum(map(int, re.findall(r"\d+", colour)[:3]))


class TestBrowserOfRollouts:
    def test_a_group_shows_what_its_rows_hold(self, opened: Opened, rows: list[dict]) -> None:
        own = next(iter(groups_of(rows).values()))
        page = opened.page
        assert page.locator(".prompt").inner_text() == own[0]["prompt"]
        assert page.locator(".truth .answer").inner_text() == own[0]["ground_truth"]
        for i, row in enumerate(own):
            card = page.locator(f"#response-{i + 1}")
            assert ("✓ right" if row["components"]["acc"] else "✗ wrong") in card.inner_text()
            assert row["answer"]["reason"] in card.locator(".decision").inner_text()
            assert card.locator(".parts dd").first.inner_text() == f"{row['total']:.3f}"
            found = [one["matched"] for one in row["key_steps"]]
            assert card.locator(".keysteps .found").count() == sum(found)
            missed = card.locator(".keysteps .missed").all_inner_texts()
            assert len(missed) == len(found) - sum(found)
            assert all(
                re.search(r"missed: (nothing near|[a-z ]+ by |[a-z ]+, nearest)", text) for text in missed
            )
            marks = [row["response"][one["start"] : one["end"]] for one in row["key_steps"] if one["matched"]]
            assert sorted(card.locator("mark").all_inner_texts()) == sorted(marks)

    def test_it_says_why_a_response_is_incomplete_or_out_of_order(
        self, opened: Opened, rows: list[dict]
    ) -> None:
        for place, group in enumerate(groups_of(rows).values()):
            for i, row in enumerate(group):
                for name in ("complete", "ordered"):
                    if not row["components"][name]:
                        opened.go_to(place + 1)
                        said = opened.page.locator(f"#response-{i + 1} .faults").inner_text()
                        assert {"complete": "Not complete: ", "ordered": "Not in order: "}[name] in said
                        return
        pytest.fail("the run has no response of the kind")

    def test_the_best_response_comes_first_under_its_own_number(
        self, opened: Opened, rows: list[dict]
    ) -> None:
        opened.page.locator("#filters").get_by_label("Responses").select_option("best first")
        own = next(iter(groups_of(rows).values()))
        best = sorted(range(len(own)), key=lambda i: -own[i]["total"])
        shown = opened.page.locator("#group .rollout h3").all_inner_texts()
        assert shown == [f"Response {i + 1}" for i in best] != sorted(shown)

    def test_each_step_shows_its_own_advantage(self, opened: Opened, rows: list[dict]) -> None:
        for i, row in enumerate(next(iter(groups_of(rows).values()))):
            shown = opened.page.locator(f"#response-{i + 1} .part .credit").all_inner_texts()
            assert [float(text.replace("−", "-")) for text in shown] == pytest.approx(
                row["step_advantages"], abs=0.006
            )

    def test_where_all_tokens_have_one_advantage_it_stands_once(
        self, browser: Browser, tmp_path: Path
    ) -> None:
        digit_runs.write_run(tmp_path, steps=2, prompts=2, questions=2, credit="trajectory")
        report(tmp_path)
        opened = Opened(browser, tmp_path / "report.html")
        card = opened.page.locator("#response-1")
        assert (card.locator(".parts .credit").count(), card.locator(".part .credit").count()) == (1, 0)
        opened.context.close()

    def test_filters_leave_the_groups_that_the_traces_have(self, opened: Opened, rows: list[dict]) -> None:
        def right(group: list[dict]) -> int:
            return sum(row["components"]["acc"] == 1 for row in group)

        def match(row: dict) -> float:
            return row["components"]["key_step_match"]

        groups = groups_of(rows)
        training = [group for (is_val, _), group in groups.items() if not is_val]
        form = opened.page.locator("#filters")
        assert opened.total() == len(groups)

        form.get_by_label("Split").select_option("training")
        assert opened.total() == len(training)
        expected = {
            "all right": [g for g in training if right(g) == len(g)],
            "mixed": [g for g in training if 0 < right(g) < len(g)],
            "all wrong": [g for g in training if right(g) == 0],
            "no variance": [g for g in training if len({row["total"] for row in g}) == 1 < len(g)],
            "all wrong, yet moving": [
                g for g in training if right(g) == 0 and any(row["advantage"] for row in g)
            ],
        }
        for label, found in expected.items():
            form.get_by_label("Group").select_option(label)
            assert opened.total() == len(found), label
        form.get_by_label("Group").select_option("any")
        form.get_by_label("Step").select_option("5")
        assert opened.total() == sum(group[0]["step"] == 5 for group in training)
        form.get_by_label("at most").fill("50")
        of_step = [group for group in training if group[0]["step"] == 5]
        assert opened.total() == sum(any(match(row) <= 0.5 for row in group) for group in of_step)
        form.get_by_role("button", name="Clear").click()
        expect(opened.page.locator("#total")).to_have_text(str(len(groups)))

        form.get_by_label("Search").fill("6 + 7 = 13")
        having = [g for g in groups.values() if any("6 + 7 = 13" in row["response"] for row in g)]
        expect(opened.page.locator("#total")).to_have_text(str(len(having)))
        form.get_by_label("Search").fill("no response says this")
        opened.page.get_by_text("No group passes these filters.", exact=True).last.wait_for()
        assert opened.total() == 0

    def test_keys_go_through_groups_and_steps_and_to_the_search(self, opened: Opened) -> None:
        press = opened.page.keyboard.press
        for key, place in (("j", "2"), ("ArrowRight", "3"), ("k", "2"), ("ArrowLeft", "1"), ("k", "1")):
            press(key)
            assert opened.position() == place, key
        press("n")
        press("n")
        assert (opened.position(), "step 3" in opened.heading()) == ("17", True)
        press("j")
        press("p")
        assert (opened.position(), "step 2" in opened.heading()) == ("9", True)
        press("3")
        assert opened.page.evaluate("document.activeElement.id") == "response-3"
        press("?")
        assert opened.page.get_by_role("dialog").is_visible()
        press("Escape")
        assert not opened.page.get_by_role("dialog").is_visible()
        press("/")
        assert opened.page.evaluate("document.activeElement.name") == "search"
        opened.page.keyboard.type("jj?")
        assert opened.page.get_by_label("Search").input_value() == "jj?"

    def test_what_has_the_focus_is_seen(self, opened: Opened) -> None:
        for _ in range(12):
            opened.page.keyboard.press("Tab")
            outline = opened.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", opened.page.evaluate("document.activeElement.outerHTML")

    def test_a_group_has_its_own_image_though_validation_counts_from_0_too(
        self, opened: Opened, run: Path
    ) -> None:
        for split, file in (("training", "train.parquet"), ("validation", "heldout.parquet")):
            opened.page.get_by_label("Split").select_option(split)
            assert "index 0" in opened.heading()
            image = opened.page.locator(".pictures img")
            own = pq_rows(run / file)[0]["images"][0]
            assert image.get_attribute("src") == thumbnail(own)
            assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 2 * 28


def pq_rows(file: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(file).to_pylist()


RIGHT = digit_runs.build_data.solution([3, 5])
HOSTILE = {
    "a script": RIGHT.replace("side by side", "<script>alert(1)</script></script><script>alert(2)</script>"),
    "the end of the data": "</script><!-- <script>" + RIGHT + "\n]]></script>",
    "an image with a handler": RIGHT.replace("Two", "<img src=x onerror=alert(3)>"),
    "a template": RIGHT.replace("Two", "{{ 7 * 7 }} ${alert(4)} {% raw %}"),
    "right-to-left override": RIGHT.replace("Two", "\u202eTwo\u2067 \u200f"),
    "emoji before every key step": RIGHT.replace("The", "🙂👩‍👩‍👧 𝒳 The").replace("3 + 5", "🧮 3 + 5"),
    "50,000 characters": RIGHT.replace("Two", "long " * 10_000 + "Two"),
    "lone surrogates": RIGHT.replace("Two", "\ud83d Two \ude42").replace("3 + 5", "\udfff 3 + 5"),
    "other line ends and a NUL": RIGHT.replace("\n", "\r\n").replace("Two", "\u2028\x00Two\x85"),
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    row = next(row for row in digit_runs.data(2000, 1) if row["extra_info"]["key_steps"][2][0] == "3 + 5 = 8")
    row["prompt"][0]["content"] += "</script><script>alert(5)</script><img src=x onerror=alert(6)>"
    row["data_source"] = "<b onclick=alert(7)>"
    own = digit_runs.training_rows([row], [list(HOSTILE.values())], 1)
    (folder / "trace").mkdir()
    # As escapes, which is how a lone surrogate can stand in a file.
    (folder / "trace" / "step-000001.jsonl").write_text(
        "".join(json.dumps(one.to_json()) + "\n" for one in own)
    )
    report(folder)
    return folder


class TestHostileText:
    """What a model wrote is shown as it is, in the right places, and does nothing."""

    def test_nothing_runs(self, browser: Browser, hostile: Path) -> None:
        opened = Opened(browser, hostile / "report.html")
        opened.page.locator("#response-9").scroll_into_view_if_needed()
        opened.page.locator(".chip").nth(4).click()
        assert opened.said == []
        assert opened.asked == [(hostile / "report.html").as_uri()]
        assert opened.page.locator("#group :is(script, img, b)").count() == 0
        assert "<script>alert(5)" in opened.page.locator(".prompt").inner_text()
        wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not opened.page.evaluate(wide)
        opened.context.close()

    @pytest.mark.parametrize("number", range(len(HOSTILE)), ids=list(HOSTILE))
    def test_the_text_and_its_highlights_are_the_traces(
        self, browser: Browser, hostile: Path, number: int
    ) -> None:
        opened = Opened(browser, hostile / "report.html")
        row = facts_of(read_trace(hostile / "trace" / "step-000001.jsonl")[number])
        assert all(one["matched"] for one in row["key_steps"])
        card = opened.page.locator(f"#response-{number + 1}")
        expected = [row["response"][one["start"] : one["end"]] for one in row["key_steps"]]
        assert card.locator("mark").evaluate_all(CODE_UNITS) == [utf16(text) for text in expected]
        bodies = card.locator(".part > header bdi, .part > .body").evaluate_all(CODE_UNITS)
        text = [unit for body in bodies for unit in body]
        blank = set(utf16(" \t\r\n\u2028\x85"))
        labels = "before any header" if not row["response"].startswith("#") else ""
        assert [u for u in text if u not in blank] == [
            u for u in utf16(labels + row["response"]) if u not in blank
        ]
        opened.context.close()


CODE_UNITS = """nodes => nodes.map(node => {
    const text = node.textContent;
    return Array.from({length: text.length}, (_, i) => text.charCodeAt(i));
})"""
"""The text of each node as UTF-16 units: a lone surrogate cannot be sent as text."""


def utf16(text: str) -> list[int]:
    data = text.encode("utf-16-le", "surrogatepass")
    return [int.from_bytes(data[i : i + 2], "little") for i in range(0, len(data), 2)]


class TestLargeRun:
    def test_5000_rollouts_open_and_can_be_gone_through(self, browser: Browser, tmp_path: Path) -> None:
        digit_runs.write_run(tmp_path, steps=20, prompts=31, n=8, questions=16)
        assert report(tmp_path, max_rollouts=6000).shown == 20 * 31 * 8 + 3 * 16
        opened = Opened(browser, tmp_path / "report.html")
        assert opened.total() == 20 * 31 + 3 * 16
        for key, place in (("j", "2"), ("n", "32"), ("n", "63")):
            opened.page.keyboard.press(key)
            assert opened.position() == place
        opened.page.locator("#position").fill("668")
        opened.page.keyboard.press("Enter")
        assert "validation, step 20" in opened.heading()
        opened.page.get_by_label("Search").fill("9 + 9 = 18")
        expect(opened.page.locator("#total")).not_to_have_text("668")
        assert 0 < opened.total() < 668
        # One group at a time is in the page, whatever the number of rollouts.
        assert opened.page.locator(".rollout").count() <= 8
        assert opened.said == []
        opened.context.close()

    def test_of_more_than_asked_for_the_page_has_whole_groups_and_says_so(
        self, run: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "report.html"
        done = command(run / "trace", "--out", out, "--rollouts", 100)
        assert re.search(r"\n +\d+ of them in the page: whole groups, evenly spread", done.stdout), (
            done.stderr
        )
        html = out.read_text()
        found = re.search(r"<strong>(\d+) of 264</strong> rollouts", html)
        assert found is not None
        assert int(found[1]) <= 100
        groups = json.loads(html.partition('id="rollout-data">')[2].partition("</script>")[0])["groups"]
        assert sum(len(group["rollouts"]) for group in groups) == int(found[1])
        assert all(len(group["rollouts"]) == (4 if group["split"] == "train" else 1) for group in groups)

    @given(st.lists(st.integers(1, 9), min_size=1, max_size=200), st.integers(1, 500))
    def test_a_sample_keeps_the_limit_and_is_even(self, sizes: list[int], limit: int) -> None:
        groups = {GroupKey("train", i, "u"): size for i, size in enumerate(sizes)}
        chosen = sample(groups, limit)
        taken = sum(groups[key] for key in chosen)
        assert taken <= max(limit, sizes[0])
        assert (taken == sum(sizes)) == (limit >= sum(sizes) or len(sizes) == 1)
        share = min(1.0, limit / sum(sizes))
        for end in range(len(sizes)):
            so_far = sum(groups[key] for key in chosen if key.step <= end)
            assert abs(so_far - share * sum(sizes[: end + 1])) <= max(sizes)


class TestNumbers:
    def test_curves_are_those_that_training_draws(self, run: Path, rows: list[dict]) -> None:
        read = read_run(trace_files(run / "trace"), set_aside=pytest.fail)
        assert [s.step for s in read.of("train")] == [1, 2, 3, 4, 5, 6]
        for summary in read.of("train"):
            own = [row for row in rows if row["advantage"] is not None and row["step"] == summary.step]
            drawn = curves(
                [Outcome(row["uid"], row["components"], row["mean_absolute_advantage"]) for row in own]
            )
            assert {name: value for name, value in drawn.items() if name != curve_name("score")} == {
                curve_name(name): summary.means[name] for name in summary.means if curve_name(name) in drawn
            }
            assert summary.means["score"] == pytest.approx(statistics.fmean(row["total"] for row in own))

    def test_settings_come_from_the_header(self, run: Path) -> None:
        page = (run / "report.html").read_text()
        assert "<dt>credit</dt>" in page
        assert "as rewards show" not in page

    def test_without_a_header_settings_are_told_from_what_was_paid(self, run: Path) -> None:
        read = read_run(trace_files(run / "trace"), set_aside=pytest.fail)
        assert (read.alphas, read.rvr_weights, read.has_step_credit) == ({0.1}, {1.0}, True)

    def test_validations_are_paired_by_their_questions(self, run: Path, rows: list[dict]) -> None:
        read = read_run(trace_files(run / "trace"), set_aside=pytest.fail)
        assert read.first_validation is not None
        assert read.last_validation is not None
        found = compare(read.first_validation, read.last_validation)
        assert (found.questions, found.before, found.after, found.skipped) == (24, "Step 0", "Step 6", 0)
        low, high = found.lines[0].difference.interval  # type: ignore[union-attr,misc]
        assert low <= found.lines[0].after.mean - found.lines[0].before <= high  # type: ignore[operator]

    def test_without_a_validation_before_training_it_says_what_the_table_lacks(
        self, run: Path, tmp_path: Path
    ) -> None:
        shutil.copytree(run / "trace", tmp_path / "trace")
        said = "No validation stands before training: what the first 3 steps changed is not in the table"
        for is_there in (True, False):
            report(tmp_path)
            assert (said in (tmp_path / "report.html").read_text()) is not is_there
            (tmp_path / "trace" / "val" / "step-000000.jsonl.gz").unlink(missing_ok=True)

    def test_a_response_alone_has_no_variance_to_lack(self, rows: list[dict]) -> None:
        row = TraceRow.from_json(rows[0])
        alone, pair = group_view([row]), group_view([row, row])
        assert (alone["isEqual"], pair["isEqual"]) == (False, True)

    def test_an_evaluation_alone_has_its_means_and_no_curves(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "responses.jsonl").write_bytes(
            b"".join(lines_in(run / "trace" / "val" / "step-000006.jsonl.gz"))
        )
        write_report(Sources(tmp_path), tmp_path / "report.html", max_rollouts=5000)
        html = (tmp_path / "report.html").read_text()
        assert "How good is it?" in html
        assert "24 questions" in html
        assert 'class="plot"' not in html
        assert len(html) < 200_000, "nothing is drawn, so that plotly is not embedded"

    def test_a_highlight_is_cut_where_it_overlaps_another(self) -> None:
        assert pieces("abcdef", 1, 6, [(0, 3, 0), (2, 4, 1)]) == [
            ["b", [0]],
            ["c", [0, 1]],
            ["d", [1]],
            ["ef"],
        ]

    @given(
        st.text(alphabet="a🙂\n# :Step1", max_size=60),
        st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 5)), max_size=5),
    )
    def test_sections_hold_all_of_a_response(self, text: str, spans: list[tuple[int, int, int]]) -> None:
        shown = "".join(
            section["header"] + "".join(piece[0] for piece in section["pieces"])
            for section in sections_view(text, parse_sections(text), spans)
        )
        assert "".join(shown.split()) == "".join(text.split())


SOUND = digit_runs.build_data.solution([3, 5])


class TestNotices:
    """What makes all figures of a run mean something else stands at its head."""

    def write(self, folder: Path, responses: list[str], *, advantage: float = 0.0, **options: Any) -> Path:
        credits = [Credit(advantage * sign, (advantage * sign,), advantage) for sign in (1, -1)]
        rows = [
            trace_row(text, uid=f"u{i // 2}", session=i % 2, credit=credits[i % 2], **options)
            for i, text in enumerate(responses)
        ]
        TraceWriter(folder / "trace").write("train", 1, rows)
        return folder

    def said(self, folder: Path) -> list[str]:
        return notices(read_run(trace_files(folder / "trace"), set_aside=refuse))

    def test_a_sound_run_has_none(self, run: Path) -> None:
        assert self.said(run) == []

    def test_a_run_without_variance_trained_nothing(self, tmp_path: Path) -> None:
        assert self.said(self.write(tmp_path, [SOUND] * 4)) == [
            "Nothing was trained: all advantages are 0.",
            "Every group has equal rewards, which train nothing.",
        ]

    def test_almost_all_groups_without_variance_are_told_by_their_share(self, tmp_path: Path) -> None:
        responses = [SOUND] * 38 + [SOUND, SOUND.replace("is: 8", "is: 9")]
        said = self.said(self.write(tmp_path, responses, advantage=1.0))
        assert said == ["95.0% of the groups have equal rewards, which train nothing."]

    def test_all_wrong(self, tmp_path: Path) -> None:
        wrong = SOUND.replace("is: 8", "is: 9")
        said = self.said(self.write(tmp_path, [wrong, wrong + "0"], advantage=1.0))
        assert said[-1] == (
            "No training response is right. In any format the last answer is right in 0.0% of them."
        )

    def test_never_answered_in_the_format(self, tmp_path: Path) -> None:
        boxed = ["So it is \\boxed{8}.", "So it is \\boxed{9}."]
        said = self.said(self.write(tmp_path, boxed))
        assert said[-1] == (
            "No training response has an answer under “### The final answer is:”. In any format the last answer is "
            "right in 50.0% of them."
        )

    def test_no_key_steps(self, tmp_path: Path) -> None:
        said = self.said(self.write(tmp_path, [SOUND, "no"], advantage=1.0, key_steps=()))
        assert said == ["No training prompt has key steps: StepRAR pays the answer alone."]

    def test_a_step_that_was_never_trained(self, tmp_path: Path) -> None:
        """What a run leaves of a step that too many missing sessions ended has no advantages."""
        row = trace_row(SOUND)
        untrained = TraceWriter(tmp_path / "trace").write("untrained", 2, [replace(row, step=2, credit=None)])
        source = untrained.parent
        assert notices(read_run(trace_files(source), set_aside=refuse))[0] == (
            "Nothing was trained: the run ended before."
        )
        assert self.spread(source) == ["rewards"]
        TraceWriter(source.parent).write("untrained", 1, [row])
        assert self.spread(source) == ["rewards", "advantages"]

    @staticmethod
    def spread(source: Path) -> list[str]:
        write_report(Sources(source), source / "report.html", max_rollouts=10)
        return [chart.id for chart in distribution_charts(read_run(trace_files(source), set_aside=refuse))]

    def test_only_the_last_validation_may_not_be_all_wrong(self, tmp_path: Path) -> None:
        writer = TraceWriter(tmp_path / "trace")
        for step, text in ((0, "no"), (1, SOUND), (2, "no")):
            writer.write("val", step, [trace_row(text, step=step, credit=None)])
            said = self.said(tmp_path)
            assert bool(said) is (text == "no"), step

    def test_they_stand_at_the_head_and_nothing_is_claimed_of_credit(
        self, browser: Browser, tmp_path: Path
    ) -> None:
        report(self.write(tmp_path, ["So it is \\boxed{8}."] * 4, key_steps=()))
        opened = Opened(browser, tmp_path / "report.html")
        head = opened.page.locator("#overview")
        assert head.locator("#notices li").count() == 4
        assert "Nothing was trained" in head.inner_text()
        assert "trajectory" not in head.inner_text()
        card = opened.page.locator("#response-1")
        assert "Last answer, in any format: 8" in card.locator(".decision.last").inner_text()
        assert card.locator(".decision").first.inner_text().strip() == "no final answer was given"
        # A prompt without key steps has no match that could be 0.
        assert "key steps" not in card.locator(".parts").inner_text().lower()
        assert opened.said == []
        opened.context.close()


class TestFormat:
    def test_where_answers_change_their_format_the_table_begins_with_any_format(
        self, browser: Browser, tmp_path: Path
    ) -> None:
        writer = TraceWriter(tmp_path / "trace")
        for step, texts in (
            (0, ["\\boxed{8}"] * 10),
            (4, [SOUND] * 6 + [SOUND.replace("is: 8", "is: 9")] * 4),
        ):
            rows = [
                replace(trace_row(text, step=step, uid=f"{step}-{i}", credit=None), index=i)
                for i, text in enumerate(texts)
            ]
            writer.write("val", step, rows)
        report(tmp_path)
        opened = Opened(browser, tmp_path / "report.html")
        lines = opened.page.locator("#comparison tbody tr").all_inner_texts()
        assert lines[0].split("\t")[:3] == ["Accuracy, in any format", "1.000", "0.600"]
        assert lines[1].split("\t")[:3] == ["Accuracy, in the format", "0.000", "0.600"]
        said = opened.page.locator("#on-format").inner_text()
        assert "0.0% and 100.0% of the responses, before and after" in said
        opened.context.close()

    def test_the_same_responses_have_the_same_figures_in_eval_and_report(self, run: Path) -> None:
        responses: list[dict] = []
        for step in (0, 6):
            own: dict[str, list] = {}
            for row in read_trace(run / "trace" / "val" / f"step-{step:06d}.jsonl.gz"):
                own.setdefault(str(row.index), []).append(row.defined)
            # In another order, as an evaluation's are.
            responses.append(dict(sorted(own.items(), reverse=True)))
        found = read_run(trace_files(run / "trace"), set_aside=refuse)
        assert found.first_validation is not None
        assert found.last_validation is not None
        of_eval = changes(*responses)
        for line in compare(found.first_validation, found.last_validation).lines:
            key = next(key for key, name in COMPARED.items() if line.name.startswith(name))
            assert line.difference == of_eval[key].difference, key

    def test_every_component_that_is_judged_stands_in_the_table(self, run: Path) -> None:
        assert set(COMPARED) == set(SCORE_KEYS)
        found = read_run(trace_files(run / "trace" / "val" / "step-000006.jsonl.gz"), set_aside=refuse)
        assert found.last_validation is not None
        lines = compare(found.last_validation, found.last_validation).lines
        assert [line.name for line in lines] == list(COMPARED.values())


class TestImages:
    def test_a_large_image_is_scaled_down_and_stands_once(self, tmp_path: Path) -> None:
        from PIL import Image
        from sklearn.datasets import load_sample_image

        photograph = Image.fromarray(load_sample_image("china.jpg")).resize((1600, 1200))
        photograph.save(tmp_path / "china.png")
        table = digit_runs.data(2, 1)
        for row in table:
            row["images"] = [{"image": str(tmp_path / "china.png")}]
        parquet(tmp_path / "data.parquet", table)
        responses = [[RIGHT, ""]] * 2
        TraceWriter(tmp_path / "trace").write("train", 1, digit_runs.training_rows(table, responses, 1))
        report(tmp_path, data=[tmp_path / "data.parquet"])
        html = (tmp_path / "report.html").read_text()
        (uri,) = re.findall(r"data:image/webp;base64,[\w+/=]+", html)
        assert uri == thumbnail(table[0]["images"][0])
        import base64
        import io

        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as small:
            assert small.size == (MAX_SIDE, MAX_SIDE * 3 // 4)

    def test_a_file_of_another_run_gives_no_images_and_is_named(self, run: Path, tmp_path: Path) -> None:
        done = command(run / "trace", "--out", tmp_path / "report.html", "--data", run / "heldout.parquet")
        assert done.returncode == 0
        assert "troubles with images, the first: " in done.stdout
        html = (tmp_path / "report.html").read_text()
        assert "is it the run&#39;s file?" in html
        assert "questions have no row in" in html

    def test_an_image_that_cannot_be_opened_is_told(self, tmp_path: Path) -> None:
        table = digit_runs.data(3, 1)
        for row, image in zip(
            table, ({"image": "/no/such.png"}, {"bytes": b"x"}, {"image": "https://a/b.png"}), strict=True
        ):
            row["images"] = [{"bytes": None, "image": None} | image]
        parquet(tmp_path / "data.parquet", table)
        TraceWriter(tmp_path / "trace").write("train", 1, digit_runs.training_rows(table, [[RIGHT]] * 3, 1))
        written = report(tmp_path, data=[tmp_path / "data.parquet"])
        assert [re.search(r"row \d", trouble)[0] for trouble in written.troubles] == [
            "row 0",
            "row 1",
            "row 2",
        ]  # type: ignore[index]


class TestLog:
    LINES = (
        "some output\n"
        "\x1b[36m(TaskRunner pid=12)\x1b[0m step:1 - actor/lr:1e-06 - val-core/d/acc/mean@1:np.float64(0.25)\n"
        "step:2 - actor/lr:2e-06 - actor/kl_loss:nan - training/epoch:0 - perf/time_per_step:12.5\x1b[0m\n"
    )

    def test_the_console_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_text(self.LINES)
        assert read_log(tmp_path / "log", set_aside=pytest.fail) == {
            "actor/lr": {1: 1e-6, 2: 2e-6},
            "val-core/d/acc/mean@1": {1: 0.25},
            "training/epoch": {2: 0.0},
            "perf/time_per_step": {2: 12.5},
        }

    def test_what_verls_own_loggers_write_is_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        from verl.utils.tracking import Tracking

        monkeypatch.setenv("VERL_FILE_LOGGER_PATH", str(tmp_path / "log.jsonl"))
        tracking = Tracking("digits", "run", default_backend=["console", "file"])
        for step in (1, 2):
            tracking.log({"actor/lr": 1e-6 * step, "actor/entropy": 0.5}, step=step)
        (tmp_path / "console.log").write_text(capsys.readouterr().out)
        expected = {"actor/lr": {1: 1e-6, 2: 2e-6}, "actor/entropy": {1: 0.5, 2: 0.5}}
        for name in ("log.jsonl", "console.log"):
            assert read_log(tmp_path / name, set_aside=pytest.fail) == expected

    def test_a_truncated_line_is_set_aside(self, tmp_path: Path) -> None:
        lines = [json.dumps({"step": step, "data": {"actor/lr": 0.5}}) for step in (1, 2)]
        (tmp_path / "log.jsonl").write_text("\n".join(lines)[:-4])
        aside: list[SetAside] = []
        assert read_log(tmp_path / "log.jsonl", set_aside=aside.append) == {"actor/lr": {1: 0.5}}
        assert [line.line for line in aside] == [2]

    def test_a_file_without_a_step_is_a_mistake(self, tmp_path: Path) -> None:
        (tmp_path / "log").write_text("nothing\n")
        with pytest.raises(DataError, match="holds no step"):
            read_log(tmp_path / "log", set_aside=pytest.fail)


class TestFaults:
    def test_lines_that_are_no_rows_are_set_aside_and_shown(self, run: Path, tmp_path: Path) -> None:
        shutil.copytree(run / "trace", tmp_path / "trace")
        file = tmp_path / "trace" / "train" / "step-000002.jsonl.gz"
        lines = [line.decode().rstrip("\n") for line in lines_in(file)]
        odd = json.loads(lines[0])
        odd["key_steps"] = [{"matched": True}]
        bare = json.loads(lines[0])
        bare["components"] = "none"
        lines[3:3] = ['{"a": 1}', json.dumps(odd), json.dumps(bare)]
        put_lines(file, "\n".join(lines)[:-40].encode())
        done = command(tmp_path / "trace", "--out", tmp_path / "report.html")
        assert done.returncode == 0
        assert f"4 lines set aside, the first {file}:4: not a row of a trace" in done.stdout
        html = (tmp_path / "report.html").read_text()
        assert "in no number: 4<" in html
        for number in (4, 5, 6, len(lines)):
            assert f"{file}:{number}<" in html

    def test_nothing_readable_is_a_mistake(self, tmp_path: Path) -> None:
        (tmp_path / "step-000001.jsonl").write_text("{}\nx\n")
        done = command(tmp_path, "--out", tmp_path / "report.html")
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "(2 in all) is a row of a trace" in done.stderr
        assert not (tmp_path / "report.html").exists()

    def test_traces_of_two_runs_are_a_mistake(self, run: Path, tmp_path: Path) -> None:
        for name in ("step-000001.jsonl.gz", "step-000002.jsonl.gz"):
            shutil.copy(run / "trace" / "train" / "step-000001.jsonl.gz", tmp_path / name)
        with pytest.raises(DataError, match="step 1 of train stands in another place too"):
            write_report(Sources(tmp_path), tmp_path / "report.html", max_rollouts=9)

    def test_a_report_is_made_anew_but_written_over_nothing_else(self, run: Path, tmp_path: Path) -> None:
        for _ in range(2):
            write_report(Sources(run / "trace"), tmp_path / "report.html", max_rollouts=9)
        for mine in (run / "trace" / "train" / "step-000001.jsonl.gz", run / "train.parquet"):
            before = mine.read_bytes()
            with pytest.raises(ConfigError, match="is no report"):
                write_report(Sources(run / "trace"), mine, max_rollouts=9)
            assert mine.read_bytes() == before

    def test_without_the_extra_the_command_says_what_to_install(self, run: Path, tmp_path: Path) -> None:
        arguments = ["verl-stepgrpo", "report", str(run / "trace"), "--out", str(tmp_path / "report.html")]
        done = python(
            f"import sys; sys.modules['plotly'] = None; sys.argv = {arguments}\n"
            "from verl_stepgrpo.cli import main; main()"
        )
        assert done.returncode == 2
        assert "pip install 'verl-stepgrpo[report]'" in done.stderr


def test_a_draft_before_the_response_is_shown_and_has_no_sections_of_its_own() -> None:
    draft = "<think>\n### Step 1:\nIs it 9?\n</think>\n"
    row = trace_row(draft + "### Step 1:\n3 + 5 = 8\n### The final answer is: 8", step=1, uid="u", session=0)
    views = rollout_view(row)["sections"]
    assert [view["kind"] for view in views] == ["", "step", "final_answer"]
    assert "Is it 9?" in views[0]["pieces"][0][0]
