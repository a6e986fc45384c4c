"""A job on two nodes, each with a network of its own (slow), and what is judged of it."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import hosts
import pytest
import two_nodes

ROOT = Path(__file__).resolve().parents[1]

STEP = {
    "prompts": [3, 4],
    "rows": 128,
    "reward": 1.0,
    "error": 0.1,
    "grad_norm": 0.3,
    "probs_diff": 2e-6,
    "missing": 0.0,
}
BOTH = [*hosts.ADDRESSES]
FACTS: dict[str, Any] = {
    "one node": {"steps": [dict(STEP), dict(STEP)], "right": [0.5, 0.55]},
    "two nodes": {
        "steps": [STEP | {"reward": 1.3}, dict(STEP)],
        "right": [0.5, 0.6],
        "places": {
            "TaskRunnerV1": ["10.77.0.2"],
            **dict.fromkeys(("WorkerDict", "vLLMHttpServer", "AgentLoopWorkerTQ", "RewardLoopWorker"), BOTH),
        },
        "traces": ["first/traces"],
        "doctor": ["worker on first (10.77.0.1)", "worker on second (10.77.0.2)"],
        "checkpoint": ["0", "1"],
    },
    "lost": {
        "seconds": 40.0,
        "said": "WorkerDiedError: a training worker died:\nprocess 7 on node 10.77.0.2",
    },
    "named": {
        "no package": "node second (10.77.0.2) has no verl-stepgrpo: a worker there",
        "another version": "node second (10.77.0.2) has verl-stepgrpo 0.1.0+a, the driver 0.1.0+b: it",
        "an older verl": "node second (10.77.0.2) has verl 0.8.0; the plugin",
        "no token": "set RAY_AUTH_MODE=disabled",
    },
}

WRONG = {
    "other rows": (("two nodes", "steps", 0, "prompts"), [3, 5], "step 1: other prompts or rows"),
    "fewer rows": (("two nodes", "steps", 1, "rows"), 120, "step 2: other prompts or rows"),
    "another reward": (("two nodes", "steps", 0, "reward"), 1.7, "step 1: a mean reward of 1.700"),
    "another model": (("two nodes", "right"), [0.4, 0.6], "right on 0.400, on one node 0.500"),
    "a fifth of the gradient": (("two nodes", "steps", 1, "grad_norm"), 0.06, "step 2: a gradient of 0.060"),
    "stale weights": (("two nodes", "steps", 1, "probs_diff"), 0.01, "step 2: rollout and actor differ"),
    "a lost session": (("two nodes", "steps", 0, "missing"), 0.1, "step 1: sessions are missing"),
    "traces of both": (("two nodes", "traces"), ["first/traces", "second/traces"], "traces lie in"),
    "the trainer here": (("two nodes", "places", "TaskRunnerV1"), ["10.77.0.1"], "TaskRunnerV1 ran on"),
    "all in one place": (("two nodes", "places", "WorkerDict"), ["10.77.0.1"], "WorkerDict ran on"),
    "half a checkpoint": (("two nodes", "checkpoint"), ["0"], "the checkpoint has"),
    "a node not seen": (("two nodes", "doctor"), ["worker on first (10.77.0.1)"], "the doctor saw"),
    "no end": (("lost", "seconds"), None, "a lost node: "),
    "an end without a name": (("lost", "said"), "RuntimeError", "a lost node: "),
    "a node not named": (("named", "no package"), "it did not fail", "no package: it did not fail"),
}


@pytest.mark.parametrize(("place", "value", "said"), WRONG.values(), ids=WRONG)
def test_what_differs_on_two_nodes_is_named(place: tuple, value: object, said: str) -> None:
    assert list(two_nodes.faults(FACTS)) == []
    facts = copy.deepcopy(FACTS)
    at: Any = facts
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    (fault,) = two_nodes.faults(facts)
    assert fault.startswith(said)


@pytest.mark.slow
@pytest.mark.engine
@pytest.mark.skipif(not hosts.can_make(), reason="namespaces need root, ip, unshare and nsenter")
def test_two_nodes_train_as_one_does(tmp_path: Path) -> None:
    command = [sys.executable, "tests/two_nodes.py", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=7200)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
