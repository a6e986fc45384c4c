"""The process that math-verify and sympy run in: one JSON request a line in, one JSON reply a line out.

Started by ``symbolic_process``; not for import by others. It may take for ever on a request, and is
killed then: time limits inside Python do not reach into sympy, and those of math-verify are built on
signals, which raise outside the main thread.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import resource
import signal
import sys
from typing import Any

MEMORY_LIMIT = 2 << 30
"""Bytes of address space; an expression that wants more is unreadable."""

CPU_LIMIT = 2
"""Seconds of this process's own processor time after which a request ends it. Not seconds of the clock: a verdict must
not depend on what else the machine does."""

LAST_LIMIT = 10
"""Seconds of the clock after which a request ends this process, if the asker, killed itself, cannot. An idle process
ends when its standard input is closed."""

FLOAT_DIGITS = 12
"""Decimals to which math-verify compares floats; its own 6 take some small numbers for equal."""

KNOWN = (("$x+1$", "$3x$", False), ("$\\frac{1}{2}$", "$0.5$", True), ("$y=x$", "$2y=2x$", True))
"""Questions with their answers that tell whether math-verify works."""


def equal(given: str, wanted: str, *, plain: bool = False) -> bool | None:
    """Return whether the two are equal, or None where math-verify cannot read one of them.

    Beyond math-verify's own verdict (``plain``): two equations are equal if their difference forms are
    proportional (math-verify compares right-hand sides, and takes some different lines for equal), an
    equation never equals an expression, and an inequality may stand on either side of its interval.
    """
    import math_verify

    try:
        gold, target = _parse(wanted), _parse(given)
        if not gold or not target:
            return None
        if plain:
            return bool(math_verify.verify(gold, target, timeout_seconds=None))
        if _is_equation(gold[0]) or _is_equation(target[0]):
            return _is_equation(gold[0]) and _is_equation(target[0]) and _same_equation(gold[0], target[0])
        orders = [(gold, target), (target, gold)] if _is_region(gold[0]) else [(gold, target)]
        return any(
            math_verify.verify(a, b, float_rounding=FLOAT_DIGITS, timeout_seconds=None) for a, b in orders
        ) or ("i" in given + wanted and _are_one_complex_number(gold[0], target[0]))
    except Exception:  # sympy raises anything on odd input, RecursionError and MemoryError included
        return None


@functools.lru_cache(maxsize=2048)
def _parse(text: str) -> list[Any]:
    import math_verify

    configs = [math_verify.LatexExtractionConfig(), math_verify.ExprExtractionConfig()]
    return math_verify.parse(text, configs, parsing_timeout=None)


def _are_one_complex_number(one: Any, other: Any) -> bool:
    """Whether two expressions are equal where ``i``, which math-verify takes for a variable, is the imaginary unit."""
    import sympy

    if not all(isinstance(side, sympy.Expr) for side in (one, other)):
        return False
    # There may be several, of which math-verify assumes different things.
    units = {symbol: sympy.I for symbol in (one - other).free_symbols if symbol.name == "i"}
    return bool(units) and bool(sympy.simplify(sympy.expand((one - other).subs(units))) == 0)


def _is_equation(expression: Any) -> bool:
    from sympy import Equality

    return isinstance(expression, Equality)


def _is_region(expression: Any) -> bool:
    from sympy import Set
    from sympy.logic.boolalg import Boolean

    return isinstance(expression, (Set, Boolean))


def _same_equation(one: Any, other: Any) -> bool:
    """Whether two equations have the same solutions because one is a multiple of the other."""
    import sympy

    forms = [sympy.together(equation.lhs - equation.rhs).as_numer_denom()[0] for equation in (one, other)]
    ratio = sympy.cancel(forms[0] / forms[1])
    return bool(ratio.is_number and ratio.is_finite and ratio != 0)


def main() -> None:
    """Answer until standard input ends.

    Raises:
        RuntimeError: math-verify does not answer as it should.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the process that asks
    _limit_memory()
    logging.disable(logging.WARNING)
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints must not be taken for a reply
    _warm_up()
    _reply(replies, "ready")
    for line in sys.stdin:
        request = json.loads(line)
        # Without a handler the signals end the process, even where sympy is stuck inside C code.
        signal.setitimer(signal.ITIMER_PROF, CPU_LIMIT)
        signal.alarm(LAST_LIMIT)
        verdict = equal(request["given"], request["wanted"], plain=request["plain"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        _reply(replies, verdict)


def _limit_memory() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = MEMORY_LIMIT if most == resource.RLIM_INFINITY else min(MEMORY_LIMIT, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _warm_up() -> None:
    """Load what sympy loads lazily, before the first clock runs, and see that it works."""
    for given, wanted, right in KNOWN:
        verdict = equal(given, wanted)
        if verdict is not right:
            raise RuntimeError(
                f"math-verify's verdict on {given} and {wanted} is {verdict}; expected {right}"
            )


def _reply(replies: Any, value: object) -> None:
    replies.write(json.dumps(value) + "\n")
    replies.flush()
