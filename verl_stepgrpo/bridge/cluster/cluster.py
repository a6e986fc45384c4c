"""A run on several machines: whether each has this package, and where traces are written.

verl's trainer may land on any node. So, as soon as the driver has joined a cluster of several nodes and before anything
else is started, each node is asked what it has; and what a trainer on another node traces is written by an actor
on the driver's, where the folder was named. verl 0.9.1 has no place between ``ray.init`` and its first actor, so that
``ray.init`` is wrapped, in the driver of a StepGRPO run alone.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from omegaconf import DictConfig, OmegaConf
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from verl_stepgrpo.bridge import run_header
from verl_stepgrpo.bridge.cluster import node_probe
from verl_stepgrpo.bridge.verl_version import VERL_VERSION
from verl_stepgrpo.errors import ConfigError
from verl_stepgrpo.imports import apply_once
from verl_stepgrpo.settings import NODE, RunSettings
from verl_stepgrpo.traces import packed
from verl_stepgrpo.traces.files import TraceWriter
from verl_stepgrpo.traces.rows import TraceRow

ANSWER_LIMIT = 120.0
"""Seconds in which a node has to answer. One that does not is warned of: Ray may be starting its first worker there."""

WRITER = "stepgrpo-traces"
"""Name of the actor that writes traces on the driver's node."""

TOKEN_REMEDY = (
    "If the address is right, look at Ray's token: from version 2.60 on a head asks for the one in ~/.ray/auth_token, "
    "which any local run leaves there. Where every `ray start` and this command run, set RAY_AUTH_MODE=disabled, or "
    "token and the same RAY_AUTH_TOKEN"
)
"""What to do where a cluster refuses a process, or does not answer it."""

logger = logging.getLogger("verl_stepgrpo")


class OtherVersionError(ConfigError):
    """A node has another version of this package, or of verl, or none."""


class _Driver:
    """What this process keeps where it is the driver of a run: its configuration, and the writer that it started."""

    config: DictConfig | None = None
    writer: Any = None
    """The handle: Ray ends an actor to which nobody has one."""


def watch_start(config: DictConfig) -> None:
    """Let this process, the driver, look at the nodes as soon as it has joined a cluster.

    Raises:
        OtherVersionError: Out of ``ray.init``: a node cannot run what the driver has checked.
    """

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def init(*args: Any, **kwargs: Any) -> Any:
            try:
                joined = original(*args, **kwargs)
            except (ConnectionError, RayError) as error:
                logger.error("The cluster could not be joined: %s. %s.", error, TOKEN_REMEDY)
                raise
            if len(_nodes()) > 1:
                check_nodes()
                _start_writer()
            return joined

        return init

    _Driver.config = config
    apply_once(ray, "init", make)


def check_nodes() -> None:
    """Ask each node of the cluster what it has.

    Raises:
        OtherVersionError: Names each node that would run other code than the driver, and what to do.
    """
    ours = node_probe.look()
    faults = [fault for name, theirs in _answers() for fault in node_faults(name, theirs, ours)]
    if faults:
        raise OtherVersionError("\n".join(faults))


def node_faults(name: str, theirs: Mapping[str, str | None], ours: Mapping[str, str | None]) -> Iterator[str]:
    """Yield what is wrong with a node, given what ``node_probe.look`` found there and in the driver."""
    remedy = f"Install verl {ours['verl']}, as the driver has it, in the environment that `ray start` runs in there."
    if theirs["verl"] != ours["verl"]:
        found = "no verl" if theirs["verl"] is None else f"verl {theirs['verl']}"
        yield f"{name} has {found}; the plugin is written for verl {VERL_VERSION}. {remedy}"
    package, own = theirs["verl-stepgrpo"], ours["verl-stepgrpo"]
    if package is None:
        yield f"{name} has no verl-stepgrpo: a worker there would know none of its rewards. {_install(own)}"
    elif package != own:
        yield f"{name} has verl-stepgrpo {package}, the driver {own}: it would score by other rules. {_install(own)}"
    elif theirs["entry point"] is None:
        yield f"{name} has verl-stepgrpo without its entry point, so that verl would not load it. {_install(own)}"
    policy = theirs[node_probe.POLICY]
    if policy is not None and not {"auto", "stepgrpo"} & {part.strip() for part in policy.lower().split(",")}:
        yield f"{name} has {node_probe.POLICY}={policy}, which leaves the plugin out. Unset it where `ray start` runs."


def _install(own: str | None) -> str:
    return f"Install the driver's version ({own}) in the environment that `ray start` runs in on that node."


def _answers() -> list[tuple[str, Mapping[str, str | None]]]:
    """Return what each node has, by its name, which several on one machine share."""
    ray.cloudpickle.register_pickle_by_value(node_probe)
    look = ray.remote(num_cpus=0, max_retries=0)(node_probe.look)
    asked = {
        look.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote(): (f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})")
        for node in _nodes()
    }
    answered, late = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER_LIMIT)
    for one in late:
        logger.warning("%s did not say within %.0f s what it has installed.", asked[one], ANSWER_LIMIT)
    found = []
    for one in answered:
        try:
            found.append((asked[one], ray.get(one)))
        except RayError as error:
            logger.warning("%s could not be asked what it has installed: %s", asked[one], error)
    return found


def _nodes() -> Sequence[Mapping[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


class DriverTraces:
    """The writer of traces on the driver's node: an actor, which ends with the run."""

    def __init__(self, folder: str) -> None:
        self._writer = TraceWriter(folder)

    def begin(self, settings: RunSettings, config: DictConfig, step: int) -> None:
        """As ``run_header.begin_traces``."""
        run_header.begin_traces(self._writer.folder, settings, config, step)

    def write(self, split: str, step: int, lines: list[bytes]) -> Path | None:
        """As ``TraceWriter.write``."""
        return self._writer.write(split, step, lines)


class RemoteWriter:
    """Writes traces through ``DriverTraces``, with the methods of ``TraceWriter`` that the trainer calls."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def begin(self, settings: RunSettings, config: DictConfig, step: int) -> None:
        """As ``run_header.begin_traces``, on the driver's node."""
        ray.get(self._actor.begin.remote(settings, config, step))

    def write(self, split: str, step: int, rows: Iterable[TraceRow | bytes]) -> Path | None:
        """As ``TraceWriter.write``; a node that is gone costs the traces, and not the run."""
        lines = [row if isinstance(row, bytes) else packed.line(row) for row in rows]
        try:
            return ray.get(self._actor.write.remote(split, step, lines))
        except RayError as error:
            logger.error("The driver's node does not write traces any more: %s", error)
            return None


def _start_writer() -> None:
    folder = OmegaConf.select(_Driver.config, f"{NODE}.trace_dir")
    if folder is None:
        return
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "name": WRITER, "scheduling_strategy": here}
    _Driver.writer = ray.remote(DriverTraces).options(**options).remote(str(folder))


def remote_writer() -> RemoteWriter | None:
    """Return the writer of the driver's node; None where this process is on that node, or there is none."""
    if not ray.is_initialized():
        return None
    try:
        actor = ray.get_actor(WRITER)
    except (ValueError, RayError):
        return None
    return None if _node_of(actor) == ray.get_runtime_context().get_node_id() else RemoteWriter(actor)


def _node_of(actor: Any) -> str:
    return ray.get(actor.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id()))
