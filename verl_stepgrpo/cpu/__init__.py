"""verl's real engine (Ray, FSDP2, vLLM) on a machine without a GPU.

Active only with ``VERL_PLATFORM=cpu`` in the environment: without it nothing here is imported, so that
neither a GPU job nor a CPU-only Ray actor of a GPU job is touched.
"""

from __future__ import annotations

import os


def wanted() -> bool:
    """Return whether the user chose the CPU platform, by verl's own environment variable."""
    return os.environ.get("VERL_PLATFORM", "").strip().lower() == "cpu"


def activate() -> None:
    """Register the platform and its adaptations. Idempotent; the caller checks ``wanted()``."""
    from verl_stepgrpo.cpu import adaptations, platform

    platform.register()
    adaptations.register()
