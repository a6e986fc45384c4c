# Sourced by tests/run.sh: Debian's Chromium, in which tests/test_report.py opens reports, once.
#
# Without it the other tests run all the same, and those of the report fail with what to do.

if ! command -v chromium >/dev/null; then
    CHROMIUM_LOG="$(mktemp)"
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "Chromium is missing, and only root can install it, with apt-get: apt-get install chromium" >&2
    elif echo "Installing Chromium, log: $CHROMIUM_LOG" &&
        ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium; } \
            >"$CHROMIUM_LOG" 2>&1; then
        tail -n 5 "$CHROMIUM_LOG" >&2
        echo "Chromium could not be installed; see above." >&2
    fi
fi
