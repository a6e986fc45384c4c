#!/usr/bin/env bash
# Makes recipes/benchmarks/.venv with lmms-eval, apart from the environment of verl: its packages pin others. It needs no
# GPU; the model is served by vLLM.
#
#   bash recipes/benchmarks/setup.sh
#
#   VENV=folder    another place        BASE=site-packages    use the packages that are there (torch is 2 GB)
set -euo pipefail
HERE="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
VENV="${VENV:-$HERE/.venv}"
"${PYTHON:-python3}" -m venv "$VENV"
if [ -n "${BASE:-}" ]; then
    echo "$BASE" >"$("$VENV/bin/python" -c 'import site; print(site.getsitepackages()[0])')/base.pth"
fi
"$VENV/bin/pip" install --quiet "lmms-eval==0.7.3" Levenshtein
# lmms-eval asks for two packages of which each wants another antlr; this one serves both (the other only warns).
"$VENV/bin/pip" install --quiet "antlr4-python3-runtime==4.9.3" "math-verify>=0.9,<0.10"
# Only the request for the format and the reader of sections are used, which need nothing else.
"$VENV/bin/pip" install --quiet --no-deps "$HERE/../.."
