"""The process that math-verify and sympy run in: one JSON request a line in, one JSON reply a line out.

Started by ``verl_stepgrpo.symbolic``; not for import by others. It may take for ever on a request, and is
killed then: time limits inside Python do not reach into sympy, and those of math-verify are built on
signals, which raise outside the main thread.
"""

from __future__ import annotations

import contextlib
import json
import logging
import resource
import signal
import sys
from typing import Any

MEMORY_LIMIT = 4 << 30
"""Bytes of address space; an expression that wants more is unreadable."""

LAST_LIMIT = 10
"""Seconds after which a request ends this process, if the asker, killed itself, cannot. An idle process
ends when its standard input is closed."""


def equal(given: str, wanted: str) -> bool | None:
    """Return whether the two are equal by math-verify, or None where it cannot read one of them."""
    import math_verify

    configs = [math_verify.LatexExtractionConfig(), math_verify.ExprExtractionConfig()]
    try:
        gold = math_verify.parse(f"${wanted}$", configs, parsing_timeout=None)
        target = math_verify.parse(given, configs, parsing_timeout=None)
        if not gold or not target:
            return None
        return bool(math_verify.verify(gold, target, timeout_seconds=None))
    except Exception:  # sympy raises anything on odd input, RecursionError and MemoryError included
        return None


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    logging.disable(logging.WARNING)
    replies = sys.stdout
    # What a library prints must not be taken for a reply.
    with contextlib.redirect_stdout(sys.stderr):
        # Loads what sympy loads lazily, before the first clock runs.
        equal("$x+1$", "3x")
        equal("$\\frac{1}{2}$", "0.5")
        _reply(replies, "ready")
        for line in sys.stdin:
            request = json.loads(line)
            # Without a handler the alarm ends the process, even where sympy is stuck inside C code.
            signal.alarm(LAST_LIMIT)
            verdict = equal(request["given"], request["wanted"])
            signal.alarm(0)
            _reply(replies, verdict)


def _reply(replies: Any, value: object) -> None:
    replies.write(json.dumps(value) + "\n")
    replies.flush()


if __name__ == "__main__":
    main()
