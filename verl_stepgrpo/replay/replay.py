"""Replay a run's traces under other settings, and sum up what each would have changed.

Reads traces as a stream, scores on all cores, and keeps the numbers of one training step at a time.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.files import SetAside, open_whole, write_whole
from verl_stepgrpo.parts import KNOWN
from verl_stepgrpo.replay.rescoring import Plan, Rescored, chunks, rescore
from verl_stepgrpo.replay.tally import Credited, Summary, Tally, as_logged, replayed
from verl_stepgrpo.replay.variants import Variant, without_effect
from verl_stepgrpo.running.parallel import in_order
from verl_stepgrpo.traces.files import iter_traces, no_rows, stands_twice, trace_files
from verl_stepgrpo.traces.header import SettingsByStep, read_header

RESULTS, FLIPPED, SET_ASIDE = "replay.json", "flipped.jsonl", "set_aside.jsonl"


@dataclass(frozen=True)
class Replay:
    """What was replayed.

    Attributes:
        summaries: The run as it was logged, and then each variant.
        set_aside: Lines of the traces that are no rows.
        has_header: Whether the run's own settings are known; without a header, the defaults stand for them.
        in_vain: What variants set that changes nothing, a sentence each.
    """

    summaries: list[Summary]
    set_aside: list[SetAside]
    has_header: bool
    in_vain: list[str]


def replay(
    source: Path,
    variants: Sequence[Variant],
    *,
    out: Path | None = None,
    num_proc: int = 1,
    progress: Callable[[int], None] = lambda n: None,
) -> Replay:
    """Score every response of the traces in ``source`` under each of ``variants``, and sum up.

    What a variant does not set is as the run had it, by the header of its traces.

    Args:
        source: A ``trace_dir``, whose training steps are replayed, or anything that ``trace_files`` takes.
        variants: The settings to compare.
        out: Folder for the summaries, for every response that flipped and for every line set aside; None for none.
        num_proc: Processes that score.
        progress: Called with the number of lines that have been scored.

    Raises:
        DataError: There is no trace, or no row in it, or the traces are of several runs.
        ConfigError: A variant weighs a part that the traces do not have.
    """
    paths = trace_files(source / "train" if (source / "train").is_dir() else source)
    aside: list[SetAside] = []
    by_step = _settings_of(source, paths, variants, aside)
    logged = Tally("as logged", {})
    tallies = [Tally(variant.label, dict(variant.assigned)) for variant in variants]
    with _flipped_file(out) as write:
        scored = in_order(rescore, chunks(paths, Plan(by_step, variants)), num_proc=num_proc)
        for rows in _steps(_rows(scored, aside, progress)):
            run = by_step.at(rows[0].step)
            logged.add(as_logged(rows, run), of=len(rows))
            for index, (tally, variant) in enumerate(zip(tallies, variants, strict=True)):
                step = replayed(rows, variant, run, index)
                tally.add(step, of=len(rows))
                write(variant, (one for one in step.responses if one.is_flipped))
    if not logged.responses:
        raise no_rows(source, aside)
    in_vain = [said for variant in variants if (said := without_effect(variant, run)) is not None]
    found = Replay([tally.summary() for tally in (logged, *tallies)], aside, by_step.is_known, in_vain)
    if out is not None:
        _write(out, found)
    return found


def _settings_of(
    source: Path, paths: Sequence[Path], variants: Sequence[Variant], aside: list[SetAside]
) -> SettingsByStep:
    """Return the run's own settings; without a header the defaults, in the format that the first row names.

    Raises:
        ConfigError: A variant weighs a part that neither the first row of the first file nor that of the last has.
    """
    firsts = (next(iter_traces([path], set_aside=lambda line: None), None) for path in (paths[0], paths[-1]))
    rows = [row for row in firsts if row is not None]
    by_step = SettingsByStep(read_header(source, set_aside=aside.append), *(row.format for row in rows[:1]))
    parts = list(dict.fromkeys(name for row in rows for name in row.parts))
    for variant in variants if rows else ():
        weights = variant.settings(by_step.at(rows[0].step)).reward.extra_weights
        for name in weights.keys() - {*parts, *KNOWN}:
            raise ConfigError(
                f"extra_weights.{name}={weights[name]}: the traces of {source} have no such part, and have "
                f"{', '.join(parts) or 'none'}; {' and '.join(KNOWN)} are known of every response."
            )
    return by_step


def _rows(
    scored: Iterable[list[Rescored | SetAside]], aside: list[SetAside], progress: Callable[[int], None]
) -> Iterator[Rescored]:
    for chunk in scored:
        for row in chunk:
            if isinstance(row, SetAside):
                aside.append(row)
            else:
                yield row
        progress(len(chunk))


def _steps(rows: Iterable[Rescored]) -> Iterator[list[Rescored]]:
    """Yield the responses of each step together; a group never spans two.

    Raises:
        DataError: The traces are of several runs.
    """
    seen: set[int] = set()
    for (path, step), own in groupby(rows, key=lambda row: (row.path, row.step)):
        if step in seen:
            raise stands_twice(path, str(step))
        seen.add(step)
        yield list(own)


@contextlib.contextmanager
def _flipped_file(out: Path | None) -> Iterator[Callable[[Variant, Iterable[Credited]], None]]:
    """Give a function that writes flipped responses into the folder ``out``, or one that does nothing."""
    if out is None:
        yield lambda variant, flipped: None
        return
    out.mkdir(parents=True, exist_ok=True)
    with open_whole(out / FLIPPED) as file:
        yield lambda variant, flipped: file.writelines(_flip(variant, one) for one in flipped)


def _flip(variant: Variant, one: Credited) -> str:
    row = one.row
    place = {
        "path": str(row.path),
        "line": row.line,
        "step": row.step,
        "uid": row.uid,
        "session": row.session,
    }
    facts = {"logged": row.advantages, "replayed": one.spans}
    return json.dumps({"setting": variant.label, **place, **facts}) + "\n"


def _write(out: Path, found: Replay) -> None:
    summaries = [asdict(summary) for summary in found.summaries]
    write_whole(out / RESULTS, json.dumps(summaries, indent=2) + "\n")
    lines = (json.dumps(asdict(line), default=str, ensure_ascii=False) + "\n" for line in found.set_aside)
    write_whole(out / SET_ASIDE, "".join(lines))
