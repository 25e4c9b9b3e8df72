#!/usr/bin/env bash
# Kills nodes whose disks are slow, over the whole matrix of delays, loads and roles.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

step cargo build --locked -p tenured
export TENURE_SLOW_DISK=all
step cargo test --locked -p tenure-integration --test it -- --nocapture slow_disk::
