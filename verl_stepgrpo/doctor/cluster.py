"""Run the probe in a Ray worker of every node: where verl's workers will run, the plugin has to be too."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from typing import Any

from verl_stepgrpo.doctor import probe as probe_module
from verl_stepgrpo.errors import ConfigError

LIMIT = 180.0
"""Seconds in which a node has to answer: a first import of torch from a network disk takes a minute."""

TOKEN_HINT = (
    "If there is one, its head may ask for a token: set RAY_AUTH_MODE=disabled where `ray start` and this command run, "
    "or token and the same RAY_AUTH_TOKEN"
)

CONNECT_LIMIT = 10.0
"""Seconds in which a cluster has to be reached."""


def probe_nodes(address: str | None) -> dict[str, dict[str, Any]]:
    """Return what a worker on each node has, by ``worker on HOST``; a node that does not answer has an error.

    Args:
        address: Of a running cluster ("auto" or host:port); None starts a small one on this machine, and ends it.

    Raises:
        ConfigError: There is no cluster at ``address``.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # By value: the package may be what a node lacks.
    ray.cloudpickle.register_pickle_by_value(probe_module)
    with _cluster(address):
        remote = ray.remote(num_cpus=0)(probe_module.probe)
        asked = {}
        for node in ray.nodes():
            if node["Alive"]:
                strategy = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                name = f"worker on {node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
                asked[name] = remote.options(scheduling_strategy=strategy).remote()
        return {name: _answer(reference) for name, reference in asked.items()}


@contextlib.contextmanager
def _cluster(address: str | None) -> Iterator[None]:
    import ray

    try:
        if address is not None and ":" in address:
            host, _, port = address.removeprefix("ray://").rpartition(":")
            # Ray itself asks for minutes before it gives up.
            socket.create_connection((host, int(port)), CONNECT_LIMIT).close()
        if address is None:
            ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        else:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f"--address={address}: there is no Ray cluster: {error}. {TOKEN_HINT}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _answer(reference: Any) -> dict[str, Any]:
    import ray

    try:
        return ray.get(reference, timeout=LIMIT)
    except (ray.exceptions.RayError, TimeoutError) as error:
        return {"unreachable": f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"}
