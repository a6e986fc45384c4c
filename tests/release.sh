#!/usr/bin/env bash
# Builds a release into dist/ and checks it, from nothing but the commit and a package index.
#
#   bash tests/release.sh             of a clean clone at the tag v<version>, the version of verl_stepgrpo/__init__.py
#   REHEARSAL=1 bash tests/release.sh of the last commit, whatever its tag
#
# The wheel is built from the source distribution. tests/release.py compares both with the commit; then the wheel goes
# into an empty environment, first for scoring alone, as docs/api.md has it, then with what the commands depend on.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"
WORK="$(mktemp -d)"
trap 'rm -rf "$WORK"' EXIT
REHEARSAL="${REHEARSAL:-0}"
VERSION="$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' verl_stepgrpo/__init__.py)"

die() { echo "$1" >&2; exit 1; }

if [ "$REHEARSAL" != 1 ]; then
    [ -z "$(git status --porcelain)" ] || die "There are changes that are not committed: a release is a commit's."
    git tag --points-at HEAD | grep -qx "v$VERSION" || die "This commit has no tag v$VERSION: git tag v$VERSION"
fi

"${PYTHON:-python3}" -m venv "$WORK/tools"
"$WORK/tools/bin/python" -m pip install --quiet build tomli packaging
mkdir "$WORK/source"
git archive HEAD | tar -x -C "$WORK/source"
"$WORK/tools/bin/python" -m build --outdir "$WORK/dist" "$WORK/source" >"$WORK/build.log" 2>&1 || {
    tail -n 20 "$WORK/build.log" >&2
    exit 1
}
"$WORK/tools/bin/python" tests/release.py "$WORK/source" "$WORK/dist" "$REHEARSAL"

WHEEL="$(echo "$WORK"/dist/*.whl)"
"${PYTHON:-python3}" -m venv "$WORK/venv"
PATH="$WORK/venv/bin:$PATH"
unset PYTHONPATH
ALONE="$(sed -n 's/^pip install --no-deps \. && //p' docs/api.md)"
[ -n "$ALONE" ] || die "docs/api.md does not say what scoring alone needs"
cd "$WORK"
pip install --quiet --no-deps "$WHEEL"
bash -c "${ALONE/pip install/pip install --quiet}"
cat >scored.py <<EOF
import sys
import verl_stepgrpo
from verl_stepgrpo import compute_score

assert verl_stepgrpo.__file__.startswith("$WORK/venv"), verl_stepgrpo.__file__
assert verl_stepgrpo.__version__ == "$VERSION"
response = "### Step 1:\nThere are 6/3 = 2 apples each, and x + 1 in all.\n### The final answer is: x+1"
paid = compute_score("release", response, "1+x", {"key_steps": [["6/3 = 2"], ["4 pears"]]})
assert (paid["acc"], paid["key_step_match"]) == (1.0, 0.5), paid
assert not {"torch", "verl"} & set(sys.modules)
EOF
python scored.py
echo "scoring alone: paid as it should be"
# TransferQueue is for verl's trainer, which no command needs, and brings Ray and torch for CUDA, gigabytes of it.
python -c 'from importlib.metadata import requires
for line in requires("verl-stepgrpo"):
    if "extra ==" not in line and not line.startswith("transferqueue"):
        print(line)' >needed.txt
pip install --quiet -r needed.txt
printf '### Step 1:\n6/3 = 2\n### The final answer is: 2' | verl-stepgrpo score - --ground-truth 2 --key-step '6/3 = 2' >shown
grep -q "^Key steps: 1 of 1 found" shown || die "verl-stepgrpo score shows $(cat shown)"
echo "the command, with what it depends on: scores a response"

mkdir -p "$ROOT/dist"
cp "$WORK"/dist/* "$ROOT/dist/"
echo "dist/: $(cd "$WORK/dist" && echo *)"
