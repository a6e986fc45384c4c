"""The one function that the config groups compute with: ``${stepgrpo.sum:a,b}``.

OmegaConf has no arithmetic, and a number that follows from two others would be wrong as soon as one of them is set on
the command line.
"""

from __future__ import annotations

from omegaconf import OmegaConf

NAME = "stepgrpo.sum"


def register() -> None:
    """Make the function known to OmegaConf in this process; idempotent."""
    OmegaConf.register_new_resolver(NAME, lambda *terms: sum(terms), replace=True)
