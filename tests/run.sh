#!/usr/bin/env bash
# All tests but the slow tier (tests/slow.sh), from nothing: sets up .venv if it is missing, then lint, types and tests.
#
#   bash tests/run.sh                 everything, the real engine included (about 20 minutes on 2 cores)
#   bash tests/run.sh -m quick        what judges and pays, in under 90 seconds
#   bash tests/run.sh -m "not engine" arguments go to pytest; this leaves the real engine out
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../examples/setup_cpu.sh"
source "$ROOT/tests/chromium.sh"
cd "$ROOT"
# The tests choose the platform themselves: most of them are about a machine that did not choose it.
unset VERL_PLATFORM

"$PYTHON_BIN" -m ruff check .
"$PYTHON_BIN" -m ruff format --check .
"$PYTHON_BIN" -m mypy
# Two processes: one takes the tests with the engine, both take the others file by file. With -n 0 it is one, as a debugger needs.
"$PYTHON_BIN" -m pytest --durations=5 -n 2 --dist loadgroup --no-loadscope-reorder "$@"
