"""Run an action when a module is imported, now or later, and say loudly when the action fails.

This package extends modules of verl (and, on a CPU, of torch and vLLM) that cost seconds to import or
that exist only in some processes, so it never imports them itself: it waits until verl does.

Pure apart from the import system. Imports neither torch nor verl.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable
from types import ModuleType

import wrapt

logger = logging.getLogger("verl_stepgrpo")

Action = Callable[[ModuleType], None]


def when_imported(module: str, action: Action, *, remedy: str) -> None:
    """Call ``action(module_object)`` as soon as ``module`` is imported; at once if it already is.

    A failing action must not break an import that a run without StepGRPO needs too, so its error is
    reported at WARNING with ``remedy`` (what to do about it) and goes no further.

    Args:
        module: Dotted name of the module to wait for.
        action: Called once with the imported module.
        remedy: One sentence for the user, shown with the error.
    """
    # A module in the middle of its own import is in sys.modules already but not complete; wrapt's
    # finder covers that case, since it runs the action after the module's body.
    wrapt.register_post_import_hook(_guarded(module, action, remedy), module)


def apply_once(owner: object, name: str, make: Callable[[Callable], Callable]) -> None:
    """Replace ``owner.name`` by ``make(original)``, unless that was done before.

    Raises:
        AttributeError: ``owner`` has no such attribute, so its API is not the one expected.
    """
    original = getattr(owner, name)
    if getattr(original, "_verl_stepgrpo", False):
        return
    replacement = make(original)
    replacement._verl_stepgrpo = True  # type: ignore[attr-defined]
    setattr(owner, name, replacement)


def installed_version(distribution: str) -> str | None:
    """Return the installed version of ``distribution``, or None where it is not installed."""
    metadata = importlib.import_module("importlib.metadata")
    try:
        return str(metadata.version(distribution))
    except metadata.PackageNotFoundError:
        return None


def _guarded(module: str, action: Action, remedy: str) -> Action:
    def run(loaded: ModuleType) -> None:
        try:
            action(loaded)
        except Exception as error:  # whatever went wrong, the import of verl must go on
            logger.warning(
                "verl-stepgrpo could not extend %s: %s: %s. %s", module, type(error).__name__, error, remedy
            )

    return run
