#!/usr/bin/env bash
# The quick tests in every Python that pyproject.toml names, each in an environment of its own: this package with what it
# depends on, and torch for a CPU; neither verl nor vLLM.
#
#   bash tests/pythons.sh             3.10, 3.11 and 3.12: about 10 minutes and 1 GB a version the first time, 5 GB where only torch for CUDA is to be had
#   bash tests/pythons.sh 3.12        this one
#
# Resumes: a version that has passed with these files is not run again (FRESH=1 runs it anew). PYTHONS_DIR is where the
# environments, their logs and what has passed lie; build/pythons of this folder if it is not set.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"
DIR="${PYTHONS_DIR:-$ROOT/build/pythons}"
TORCH="$(sed -n 's/^ *"\(torch==[0-9.]*\)",$/\1/p' pyproject.toml | tail -n 1)"
mkdir -p "$DIR"
[ $# -gt 0 ] || set -- $(sed -n 's/^ *"Programming Language :: Python :: \(.*\)",$/\1/p' pyproject.toml)

# find_python VERSION: the first interpreter of this version that runs, by its name or among those of pyenv.
find_python() {
    local candidate
    for candidate in "python$1" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python; do
        if [ "$("$candidate" -c 'import ensurepip, sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]; then
            echo "$candidate"
            return
        fi
    done
    echo "Python $1: not found. Install it, or name it: PATH=/folder/of/python$1:\$PATH" >&2
    return 1
}

# What a result holds for: the files that git knows, as they are now.
files() { { git rev-parse HEAD && git diff HEAD; } | cksum; }

# install VERSION PYTHON: PyTorch's own index is asked where the configured ones have no build for a CPU; the last resort
# is one with CUDA, gigabytes.
install() {
    rm -rf "$DIR/$1"
    "$2" -m venv "$DIR/$1"
    {
        "$DIR/$1/bin/python" -m pip install "$TORCH+cpu" ||
            "$DIR/$1/bin/python" -m pip install --retries 0 --index-url https://download.pytorch.org/whl/cpu "$TORCH" ||
            "$DIR/$1/bin/python" -m pip install "$TORCH"
        "$DIR/$1/bin/python" -m pip install --editable "$ROOT[dev]"
    } >"$DIR/$1.install.log" 2>&1 || {
        tail -n 15 "$DIR/$1.install.log" >&2
        return 1
    }
    cksum <pyproject.toml >"$DIR/$1/installed"
}

# test_in VERSION: makes its environment where pyproject.toml has changed, runs the quick tests, notes that they pass.
test_in() {
    local python
    if [ "${FRESH:-0}" != 1 ] && [ "$(cat "$DIR/$1.passed" 2>/dev/null)" = "$(files)" ]; then
        echo "Python $1: passed before"
        return
    fi
    python="$(find_python "$1")" || return 1
    echo "Python $1: $("$python" --version)"
    if [ "$(cat "$DIR/$1/installed" 2>/dev/null)" != "$(cksum <pyproject.toml)" ]; then
        echo "Python $1: setting up $DIR/$1, log: $DIR/$1.install.log"
        install "$1" "$python" || return 1
    fi
    PYTHONPATH="$ROOT" "$DIR/$1/bin/python" -m pytest -q -m quick -p no:cacheprovider || return 1
    files >"$DIR/$1.passed"
}

failed=()
for version in "$@"; do
    test_in "$version" || failed+=("$version")
done
[ ${#failed[@]} = 0 ] || { echo "Not passed with Python ${failed[*]}" >&2; exit 1; }
