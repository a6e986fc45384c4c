"""Which actors of a job have died, as Ray's own table has it: one call, however many actors there are.

It finds what nobody in the trainer has a handle of: TransferQueue's units and controller, vLLM's servers, the load
balancer, the workers of a standalone rollout, in every trainer mode. A death that somebody meant (``ray.kill``, an
actor that nobody needs any more, one that ends itself) is none. One of an actor of the user's is told, and no more.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import ray

logger = logging.getLogger("verl_stepgrpo")

NEEDED = {
    "TransferQueueController": "TransferQueue's controller",
    "SimpleStorageUnit": "a storage unit of TransferQueue, with the responses that it held",
    "GlobalRequestLoadBalancer": "the load balancer of the rollout",
    "vLLMHttpServer": "a vLLM server",
    "SGLangHttpServer": "an SGLang server",
    "CheckpointEngineWorker": "a worker of the standalone rollout",
    "RewardLoopWorker": "a reward worker",
    "RewardComputeWorker": "a reward worker",
    "AgentLoopWorkerTQ": "an agent-loop worker",
    "WorkerDict": "a training worker",
    "FusedWorker": "a training worker",
    "ActorRolloutRefWorker": "a training worker",
    "DetachActorWorker": "a training worker",
}
"""What verl 0.9.1 and TransferQueue call their actors, and what each is; a job cannot go on without them."""

_MEANT = "INTENDED"
"""Ray's word in the message of an actor that ended itself (``INTENDED_USER_EXIT`` and the like)."""


class WorkerDiedError(RuntimeError):
    """A worker that the job cannot go on without is gone."""


class Deaths:
    """The deaths of this job's actors since this was made; none where Ray does not tell."""

    def __init__(self) -> None:
        self._known = set(_dead())

    def check(self) -> None:
        """Look at those that are new, and warn of each that the job can go on without.

        Raises:
            WorkerDiedError: It cannot; says which actor, where, and Ray's reason.
        """
        for actor, facts in _dead().items():
            if actor in self._known:
                continue
            self._known.add(actor)
            said = death(facts)
            if said is None:
                continue
            if _class_of(facts) not in NEEDED:
                logger.warning("%s The job goes on.", said)
                continue
            raise WorkerDiedError(
                f"{said} {where_to_look(said)} The same command goes on from the last checkpoint."
            )


def death(facts: Mapping[str, Any]) -> str | None:
    """Return what a dead actor died of, given its row of Ray's table; None where that was meant."""
    cause = facts["DeathCause"]
    kind = cause.WhichOneof("context")
    if kind == "oom_context":
        reason = f"out of memory: {cause.oom_context.error_message}"
    elif kind == "actor_died_error_context":
        context = cause.actor_died_error_context
        name = type(context).Reason.Name(context.reason)
        if name not in ("WORKER_DIED", "NODE_DIED") or _MEANT in context.error_message:
            return None
        reason = context.error_message
    else:
        return None
    what = NEEDED.get(_class_of(facts), f"the actor {_class_of(facts)}")
    where = f"process {facts['Pid']} on node {facts['Address']['IPAddress']}"
    return f"{what} died ({_class_of(facts)}, {where}): {' '.join(reason.split())[:600]}"


def where_to_look(said: str) -> str:
    """Return what to look at after a death, given Ray's words about it: a lost node has left no error of its own."""
    if "node has died" in said or "node was terminated" in said:
        return "The node itself is gone, or cannot be reached: look at that machine and its network."
    return "Look for its error above; out of memory (the kernel's log says so) is the usual cause."


def _class_of(facts: Mapping[str, Any]) -> str:
    return str(facts["ActorClassName"]).rsplit(".", 1)[-1]


def _dead() -> dict[str, Mapping[str, Any]]:
    """Return Ray's rows of this job's dead actors, by their ids."""
    if not ray.is_initialized():
        return {}
    try:
        job = ray.JobID(bytes.fromhex(ray.get_runtime_context().get_job_id()))
        # No public call of Ray's lists the actors of a cluster that has no dashboard.
        return ray._private.state.actors(job_id=job, actor_state_name="DEAD")
    except (AttributeError, TypeError) as error:
        logger.debug("Ray does not list actors as version 2.60 does: %s", error)
        return {}
