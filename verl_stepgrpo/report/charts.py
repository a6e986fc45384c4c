"""What is drawn of a run, chart by chart, as plain values; how it looks is the page's. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verl_stepgrpo.curves import SHARE_CURVES, WITH_KEY_STEPS, curve_name
from verl_stepgrpo.earned import COMPONENTS
from verl_stepgrpo.parts import keys_with_parts
from verl_stepgrpo.report.collect import PARTS_PAID, Run, StepSummary
from verl_stepgrpo.report.outcome import COMPARED, name_of
from verl_stepgrpo.report.verl_log import Metrics
from verl_stepgrpo.traces.rows import TRAIN, VAL

N_BINS = 31
"""Of a distribution. Odd, so that one of the bins of the advantages is around 0."""


@dataclass(frozen=True)
class Series:
    """One line.

    Attributes:
        name: What the legend says.
        role: Decides how it looks: ``train``, ``val``, ``log``, or ``part-1`` to ``part-4``.
        steps: Where it has points.
        values: Their values.
    """

    name: str
    role: str
    steps: list[int]
    values: list[float]


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        id: Its name in the page.
        title: What it shows.
        note: How to read it, one or two sentences.
        kind: ``lines``, ``stack`` or ``heat``.
        unit: ``share`` for what lies in [0, 1], else ``number``.
        series: Its lines; of a heat map none.
        heat: Of a heat map ``steps``, the middle of each bin as ``bins``, and ``shares``, a row a bin.
    """

    id: str
    title: str
    note: str
    kind: str = "lines"
    unit: str = "share"
    series: Sequence[Series] = ()
    heat: Mapping[str, Any] | None = None

    @property
    def label(self) -> str:
        """What it shows, for who does not see it."""
        ends = (
            f"{s.name}: {s.values[0]:.3g} at step {s.steps[0]}, {s.values[-1]:.3g} at step {s.steps[-1]}"
            for s in self.series
        )
        return "; ".join((self.title, *ends))


def learning_charts(run: Run) -> list[Chart]:
    """Return whether it helps, and what is paid for."""
    parts = [
        _series(run.of(TRAIN), name, shown, f"part-{i}")
        for i, (name, shown) in enumerate(
            (
                ("acc", "right answer"),
                ("step_rvr", "valid format"),
                ("key_step_share", "key steps"),
                (PARTS_PAID, "other parts"),
            ),
            start=1,
        )
    ]
    return _with_points(
        [
            Chart(
                "acc",
                "Accuracy, in the format",
                "Share of responses with the right answer under its header.",
                series=_both(run, "acc"),
            ),
            Chart(
                "acc_flexible",
                "Accuracy, in any format",
                "Share of responses whose last answer is right, wherever it stands. It is not paid.",
                series=_both(run, "acc_flexible"),
            ),
            Chart(
                "paid",
                "What the reward is made of",
                "Mean reward of a training response, by what it was paid for.",
                kind="stack",
                unit="number",
                series=[s for s in parts if s.steps],
            ),
        ]
    )


_COMPONENTS = (
    ("step_rar", "number", "The accuracy reward: the answer, and a share for key steps."),
    ("step_rvr", "number", "The validity reward: complete and in order, or nothing."),
    ("key_step_match", "share", "Mean share of a prompt's key steps that were found."),
    (WITH_KEY_STEPS, "share", "Share of responses whose prompt has any."),
    ("equations", "number", "Different equations of a response's steps that could be checked, as 3 + 5 = 8."),
    (
        "false_equations",
        "share",
        "Share of a response's steps that state a false one. Near 0 with few equations it says little.",
    ),
    ("complete", "share", "Description, rationales, a step and an answer are there."),
    ("ordered", "share", "Background first, steps numbered 1 to n, one answer last."),
    ("answered", "share", "There was a final answer under its header."),
    ("verifier_timeout", "share", "math-verify ran out of time: no judgement, not an error."),
    ("verifier_failed", "share", "math-verify's process did not run: the answer was not judged."),
    ("unparseable", "share", "Nothing could read the answer."),
)  # fmt: skip


def component_charts(run: Run) -> list[Chart]:
    """Return every component of the reward, and of how many responses the key-step match is, where not of all."""
    series = {name: _both(run, name) for name, *_ in _COMPONENTS}
    titles = COMPARED | {WITH_KEY_STEPS: "With key steps"}
    if all(value == 1 for one in series[WITH_KEY_STEPS] for value in one.values):
        del series[WITH_KEY_STEPS]
    known = [
        Chart(name, titles[name], note, unit=unit, series=series[name])
        for name, unit, note in _COMPONENTS
        if name in series
    ]
    return _with_points([*known, *_part_charts(run)])


def _part_charts(run: Run) -> list[Chart]:
    """Return the parts beside StepRAR and StepRVR, each in its own unit."""
    note = "Mean of this part, before its weight (extra_weights)."
    return [
        Chart(key, name_of(key), note, unit="number", series=_both(run, key))
        for key in keys_with_parts((), (step.means for step in run.steps))
    ]


def warning_charts(run: Run, log: Metrics) -> list[Chart]:
    """Return what shows reward hacking, and groups that train on the wrong thing or not at all."""
    return _with_points([_shares_of_advantages(log), *_groups(run), *_key_words(run, log), _length(run)])


def _shares_of_advantages(log: Metrics) -> Chart:
    return _logged(
        log,
        "advantage_shares",
        "What advantages differ by",
        "Share of each component. With little of the answer the policy is pushed towards something else.",
        *((curve_name(SHARE_CURVES[part]), part.replace("_", " ")) for part in COMPONENTS),
    )


def _one(run: Run, name: str, title: str, note: str, unit: str = "share") -> Chart:
    return Chart(name, title, note, unit=unit, series=_both(run, name))


def _groups(run: Run) -> list[Chart]:
    return [
        _one(
            run,
            "advantage_from_all_wrong",
            "Advantage from all-wrong groups",
            "How much of the push on the policy comes from groups without a right answer.",
        ),
        _one(
            run,
            "groups_all_wrong",
            "All-wrong groups",
            "Share of groups without a right answer. With outcome_gate=0 they train nothing.",
        ),
        _one(
            run,
            "groups_all_wrong_moving",
            "All-wrong groups that move",
            "Share of groups without a right answer that train nevertheless, on form and key words.",
        ),
        _one(
            run,
            "groups_without_variance",
            "Groups without variance",
            "Share of groups whose rewards are equal. They train nothing.",
        ),
    ]


def _key_words(run: Run, log: Metrics) -> list[Chart]:
    train = run.of(TRAIN)
    by_answer = [
        _series(train, "match_right", "right answers", "part-1"),
        _series(train, "match_wrong", "wrong answers", "part-2"),
    ]
    return [
        Chart(
            "match_by_answer",
            "Key steps found, by answer",
            "Wrong answers that show as many key steps as right ones have learnt the words, not the way.",
            series=[s for s in by_answer if s.steps],
        ),
        _logged(
            log,
            "decoy_match",
            "Key steps of other prompts",
            "Share of another prompt's key steps in a response. It rises when a model pastes key words.",
            (curve_name("decoy_match"), "decoys"),
        ),
    ]


def _length(run: Run) -> Chart:
    return _one(
        run,
        "characters",
        "Length of a response",
        "Mean, in characters. Longer at equal accuracy is a search for reward.",
        unit="number",
    )


def optimiser_charts(log: Metrics) -> list[Chart]:
    """Return what verl's log adds."""
    number = "number"
    return _with_points(
        [
            _logged(
                log,
                "kl",
                "KL",
                "To the reference (the loss), and to the policy that wrote the responses.",
                ("actor/kl_loss", "to the reference"),
                ("actor/ppo_kl", "to the old policy"),
                unit=number,
            ),
            _logged(
                log,
                "entropy",
                "Entropy",
                "Near 0 the responses of a group no longer differ.",
                ("actor/entropy", "entropy"),
                unit=number,
            ),
            _logged(log, "lr", "Learning rate", "", ("actor/lr", "learning rate"), unit=number),
            _logged(
                log, "seconds", "Seconds a step", "Wall time.", ("perf/time_per_step", "seconds"), unit=number
            ),
            _logged(
                log,
                "missing_sessions",
                "Missing sessions",
                "Share of sessions that came back without a response.",
                (curve_name("missing_sessions"), "missing"),
            ),
        ]
    )


def distribution_charts(run: Run) -> list[Chart]:
    """Return how rewards and advantages are spread, step by step; nothing without a training step.

    A step has no advantages where the run ended before it was trained.
    """
    train = run.of(TRAIN)
    trained = [step for step in train if step.advantages]
    found = []
    if train:
        rewards = [step.rewards for step in train]
        found.append(
            Chart(
                "rewards",
                "Rewards",
                "Share of a step's responses with each total reward: bands of right and valid, key steps on top.",
                kind="heat",
                heat=_heat(train, rewards, min(map(min, rewards)), max(map(max, rewards))),
            )
        )
    if trained:
        advantages = [step.advantages for step in trained]
        reach = max(max(map(abs, own)) for own in advantages)
        found.append(
            Chart(
                "advantages",
                "Advantages",
                "Share of a step's responses with each advantage. All at 0: nothing is learnt from them.",
                kind="heat",
                heat=_heat(trained, advantages, -reach, reach),
            )
        )
    return found


def _heat(
    steps: Sequence[StepSummary], values: Sequence[Sequence[float]], low: float, high: float
) -> dict[str, Any]:
    # Half a bin wider on both sides, so that a bin is around each end, and of equal values there is one.
    half = max(high - low, 1e-6) / (N_BINS - 1) / 2
    edges = np.linspace(low - half, high + half, N_BINS + 1)
    shares = np.array([np.histogram(own, edges)[0] / len(own) for own in values])
    return {
        "steps": [s.step for s in steps],
        "bins": np.round((edges[:-1] + edges[1:]) / 2, 4).tolist(),
        "shares": np.round(shares.T, 4).tolist(),
    }


def _both(run: Run, name: str) -> list[Series]:
    both = (
        _series(run.of(TRAIN), name, "training", "train"),
        _series(run.of(VAL), name, "validation", "val"),
    )
    return [series for series in both if series.steps]


def _series(steps: Sequence[StepSummary], name: str, shown: str, role: str) -> Series:
    having = [step for step in steps if name in step.means]
    return Series(shown, role, [s.step for s in having], [round(s.means[name], 6) for s in having])


def _logged(
    log: Metrics, chart: str, title: str, note: str, *names: tuple[str, str], unit: str = "share"
) -> Chart:
    series = [
        Series(shown, f"part-{i}", list(log[name]), list(log[name].values()))
        for i, (name, shown) in enumerate(names, start=1)
        if name in log
    ]
    return Chart(chart, title, note, unit=unit, series=series)


def _with_points(charts: Sequence[Chart]) -> list[Chart]:
    return [chart for chart in charts if chart.series]
