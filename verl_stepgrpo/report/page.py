"""The page itself: everything in one file that opens from disk and asks no network. Pure but for its templates."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from verl_stepgrpo.counts import plural
from verl_stepgrpo.files import SetAside
from verl_stepgrpo.imports import installed_version
from verl_stepgrpo.report.charts import Chart
from verl_stepgrpo.report.collect import Run
from verl_stepgrpo.report.images import Images
from verl_stepgrpo.report.notices import notices, trains
from verl_stepgrpo.report.outcome import Comparison
from verl_stepgrpo.settings import RunSettings
from verl_stepgrpo.traces.header import Start
from verl_stepgrpo.traces.rows import TRAIN, VAL

MARK = '<meta name="generator" content="verl-stepgrpo report">'
"""Stands in the first lines of every report."""

SCRIPTS = ("charts.js", "rollouts.js")

SETTINGS_ALWAYS_SHOWN = ("alpha", "rvr_weight", "credit")
SETTINGS_SHOWN = tuple(key for key in RunSettings().to_mapping() if key != "trace_dir")
"""Settings that the head names: the first ones always, the others where they are not the defaults."""

MAX_LISTED = 100
"""Lines set aside, and troubles with images, that the page lists; their number it always says."""


@dataclass(frozen=True)
class Page:
    """What a report shows.

    Attributes:
        title: Name of the run.
        run: What its traces hold.
        starts: Their header; empty where there is none.
        charts: By part of the page.
        comparison: The first validation against the last, an evaluation against an earlier one, or None without one.
        groups: As ``group_view`` gives them.
        images: Theirs.
        shown: Rollouts in ``groups``.
        set_aside: Lines that could not be read.
        has_log: Whether verl's log was given.
    """

    title: str
    run: Run
    starts: Sequence[Start]
    charts: Mapping[str, Sequence[Chart]]
    comparison: Comparison | None
    groups: Sequence[Mapping[str, Any]]
    images: Images
    shown: int
    set_aside: list[SetAside]
    has_log: bool


def render(page: Page) -> bytes:
    """Return the HTML file."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("verl_stepgrpo.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["plural"] = plural
    # The filter tojson escapes what could end a script element.
    environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "separators": (",", ":")}
    own = [_source(environment, name) for name in SCRIPTS]
    scripts = [Markup(source) for source in ([get_plotlyjs(), *own] if any(page.charts.values()) else own)]
    html = environment.get_template("report.html").render(
        page=page,
        mark=Markup(MARK),
        facts=facts(page),
        notices=notices(page.run),
        styles=Markup(_source(environment, "report.css")),
        scripts=scripts,
        script_hashes=" ".join(map(_hash, scripts)),
        chart_data=[asdict(chart) for charts in page.charts.values() for chart in charts],
        rollout_data={"groups": page.groups, "images": page.images.uris},
        max_listed=MAX_LISTED,
        version=installed_version("verl-stepgrpo") or "",
    )
    # A lone surrogate, which UTF-8 does not have, becomes the escape that JSON has for it.
    return html.encode("utf-8", errors="backslashreplace")


def facts(page: Page) -> list[tuple[str, str]]:
    """Return what the head says of the run, as far as its traces tell, in pairs of name and value."""
    run = page.run
    train, val = run.of(TRAIN), run.of(VAL)
    sizes = {n for key, n in run.groups.items() if key.split == TRAIN}
    found = []
    if train:
        found.append(("Training steps", _range([s.step for s in train])))
        found.append(("Rollouts", f"{sum(len(s.rewards) for s in train):,} in groups of {_range(sizes)}"))
    if val:
        responses = sum(len(s.rewards) for s in val)
        judged = f"{responses:,} {plural(responses, 'response')}"
        steps = ", ".join(str(s.step) for s in val)
        name = "Validation" if train else "Evaluation"
        found.append((name, _shortened(f"{judged}, at steps {steps}") if len(val) > 1 else judged))
    found.append(("Data", ", ".join(sorted(run.sources)) or "not named"))
    return found + (_from_header(page.starts) if page.starts else _from_rows(run))


def _from_header(starts: Sequence[Start]) -> list[tuple[str, str]]:
    """Return what a run was started with; a setting that a resume changed has each of its values, in order."""
    defaults = RunSettings().to_mapping()
    found = [("Model", starts[-1].model or "not named")]
    for key in SETTINGS_SHOWN:
        values = list(dict.fromkeys(str(start.settings.get(key, defaults[key])) for start in starts))
        if key in SETTINGS_ALWAYS_SHOWN or values != [str(defaults[key])]:
            found.append((key, ", then ".join(values)))
    resumed = [str(start.from_step) for start in starts if start.from_step]
    if resumed:
        found.append(("Resumed after step", ", ".join(resumed)))
    versions = (f"{name} {version}" for name, version in starts[-1].versions.items())
    return [*found, ("Versions", ", ".join(versions)), ("Command", starts[-1].command or "not known")]


def _from_rows(run: Run) -> list[tuple[str, str]]:
    """Return the settings of a run without a header, as its rows tell them."""
    found = [
        (f"{name}, as rewards show", ", ".join(f"{value:g}" for value in sorted(values)))
        for name, values in (("alpha", run.alphas), ("rvr_weight", run.rvr_weights))
        if values
    ]
    if trains(run):
        found.append(("credit, as advantages show", "step" if run.has_step_credit else "trajectory"))
    return found


def _range(values: Any) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"


def _shortened(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most].rpartition(',')[0]}, …"


def _source(environment: jinja2.Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _hash(script: str) -> str:
    """Return what the Content-Security-Policy calls a script, so that no other one runs."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
