"""The version of verl that this package is for."""

from __future__ import annotations

VERL_VERSION = "0.9.1"
"""The version of verl whose extension points this package was written and tested for."""

REMEDY = f"StepGRPO may not work. This version of verl-stepgrpo is written for verl {VERL_VERSION}."
