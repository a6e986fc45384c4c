#!/usr/bin/env bash
# The second tier, run by hand. Resumes: what has its result committed is not run again (FRESH=1 runs all anew).
#
#   bash tests/slow.sh                about 140 minutes on 2 cores, of which:
#   - the digits example in full length on five seeds (examples/digits/results), 50 minutes
#   - the stages of every recipe on the CPU engine with a tiny model (recipes/*/cpu_run.json), 20 minutes
#   - the path of the 2B recipe, from raw data to an evaluated checkpoint, 3 minutes, each time
#   - signals at 300 random moments of eval, key-steps and prepare (tests/signals.json), 15 minutes
#   - the plug-in for lmms-eval on a served tiny model, 4 minutes, each time
#   - from short answers alone to a trained model on the CPU engine, in the small, 10 minutes, each time
#   - every word and every rule of the matching of key steps taken out in turn (tests/unpinned.json), 1 minute, each time
#   - every word of the rules of answers taken out in turn (tests/unpinned_answers.json), 2 minutes, each time
#   - the rewards in ms-swift on a tiny model, 3 minutes, each time
#   - three runs of the engine in asynchronous modes whose rewards fail, and three in which a process is killed, 12 minutes,
#     each time
#   - two kills of a job that goes on after each, 6 minutes, each time
#   - a job on two nodes, each with a network of its own, beside one on one node, 10 minutes, each time; as root
#   - a release in rehearsal: built from the last commit, installed into an empty environment, 3 minutes, each time
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/../examples/setup_cpu.sh"
cd "$ROOT"

is_done() { [ -e "$1" ] && [ "${FRESH:-0}" != 1 ] && echo "$1: done before"; }

RESULTS="examples/digits/results"
mkdir -p "$RESULTS"
for seed in 1 2 3 4 5; do
    is_done "$RESULTS/seed-$seed.json" && continue
    SEED=$seed bash examples/digits/run.sh
    cp "examples/digits/out/seed-$seed/results.json" "$RESULTS/seed-$seed.json"
done
"$PYTHON_BIN" examples/digits/check_results.py "$RESULTS"

unset VERL_PLATFORM
for script in recipes/*/train.sh; do
    recipe="$(basename "$(dirname "$script")")"
    is_done "recipes/$recipe/cpu_run.json" && continue
    RECORD=1 "$PYTHON_BIN" -m pytest -m "slow or engine" tests/test_recipes.py -k "$recipe and not TestRecipe"
done

for command in eval key-steps prepare; do
    for slice in $(seq 0 9); do
        grep -qs "\"$command $slice\"" tests/signals.json && [ "${FRESH:-0}" != 1 ] && continue
        RECORD=1 "$PYTHON_BIN" -m pytest -m slow tests/test_signals.py -k "moments and $command-$slice"
    done
done

"$PYTHON_BIN" -m pytest -m slow tests/test_dead_words.py tests/test_dead_answer_words.py tests/test_vllm_server.py tests/test_benchmarks.py tests/test_adapters.py tests/test_cpu_engine.py tests/test_own_answers.py \
    tests/test_digits.py tests/test_kills.py tests/test_two_nodes.py tests/test_recipes.py::test_raw_data_becomes_an_evaluated_checkpoint

REHEARSAL=1 PYTHON="$PYTHON_BIN" bash tests/release.sh
