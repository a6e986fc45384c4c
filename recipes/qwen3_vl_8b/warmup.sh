#!/usr/bin/env bash
# Supervised warm-up: verl's SFT trainer on $DATA/sft-train.parquet.
source "$(dirname "${BASH_SOURCE[0]}")/../stages.sh"
warm_up "$@"
