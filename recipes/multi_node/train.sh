#!/usr/bin/env bash
# RL: the stock main_ppo on $DATA/rl-train.parquet, from the last checkpoint of the warm-up.
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"
train "$@"
