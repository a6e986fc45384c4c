#!/usr/bin/env bash
# The last checkpoint of RL as a Hugging Face folder, $OUT/model.
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"
merge "$@"
