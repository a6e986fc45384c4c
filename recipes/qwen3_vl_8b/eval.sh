#!/usr/bin/env bash
# What the merged model scores on $DATA/rl-val.parquet.
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"
evaluate "$@"
