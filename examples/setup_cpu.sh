# Sourced by the example and by the tests: makes the project's .venv with verl's engine for a CPU, once.
#
# Sets PYTHON_BIN to the environment's interpreter and exports what the engine needs. Works on a fresh Linux
# machine with Python 3.10 to 3.12 and nothing else; FRESH_VENV=1 builds the environment anew. With Python 3.11 every package
# has the version of examples/cpu.lock, which is what the tests ran with; LOCKED=0 takes the newest that fit.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"
PYTHON_BIN="$VENV/bin/python"
INSTALL_LOG="$VENV/install.log"
PYTORCH_CPU_WHEELS="https://download.pytorch.org/whl/cpu"

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.10 python3; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python 3.10 to 3.12 with the venv module was found. Install one (Debian: apt-get install" \
        "python3.11 python3.11-venv) or name it: PYTHON=/path/to/python3.11" >&2
    return 1
}

# What has to be installed anew when it changes.
fingerprint() { cat "$ROOT/pyproject.toml" "$ROOT/examples/setup_cpu.sh" "$ROOT/examples/cpu.lock" | cksum; }

# lock_options: what holds pip to the lock, which is of one version of Python.
lock_options() {
    if [ "${LOCKED:-1}" = 1 ] && "$PYTHON_BIN" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
        echo "--constraint=$ROOT/examples/cpu.lock"
    fi
}

install_project() {
    local python extra_index=()
    python="$(find_python)" || return 1
    [ "${FRESH_VENV:-0}" = 1 ] && rm -rf "$VENV"
    [ -x "$PYTHON_BIN" ] || "$python" -m venv "$VENV" || return 1
    echo "Setting up $VENV (about 3 minutes and 5 GB the first time), log: $INSTALL_LOG"
    # The ordinary package index has torch for CUDA only. PyTorch's own index of CPU wheels is asked where
    # the configured indexes have no CPU build, and not otherwise.
    if ! "$PYTHON_BIN" -m pip install --dry-run --no-deps "torch==2.13.0+cpu" >"$INSTALL_LOG" 2>&1; then
        extra_index=(--extra-index-url "$PYTORCH_CPU_WHEELS")
    fi
    "$PYTHON_BIN" -m pip install $(lock_options) --editable "$ROOT[cpu,report,examples,dev,docs]" "${extra_index[@]}" \
        >>"$INSTALL_LOG" 2>&1 &&
        "$PYTHON_BIN" -m verl_stepgrpo.cpu.torchvision_ops >>"$INSTALL_LOG" 2>&1 || return 1
    # vLLM goes without torchaudio, and not with one for CUDA: what that raises is no ImportError.
    "$PYTHON_BIN" -c "import torchaudio" >>"$INSTALL_LOG" 2>&1 ||
        "$PYTHON_BIN" -m pip uninstall --yes torchaudio >>"$INSTALL_LOG" 2>&1
    fingerprint >"$VENV/.stepgrpo-installed"
}

if [ "${FRESH_VENV:-0}" = 1 ] || [ "$(cat "$VENV/.stepgrpo-installed" 2>/dev/null)" != "$(fingerprint)" ]; then
    install_project || { tail -n 15 "$INSTALL_LOG" >&2; echo "The set-up failed; see above." >&2; return 1; }
fi

export PATH="$VENV/bin:$PATH"
# verl's platform for this engine. Ray workers on other nodes need it where `ray start` runs there.
export VERL_PLATFORM=cpu
# Everything is built here; nothing is looked up on a hub.
export HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1
export TOKENIZERS_PARALLELISM=false RAY_USAGE_STATS_ENABLED=0
# GiB of vLLM's key-value cache.
export VLLM_CPU_KVCACHE_SPACE="${VLLM_CPU_KVCACHE_SPACE:-1}"
