#!/usr/bin/env bash
# Measures: kills leaders of three nodes and of three etcds, and prints when writing went on.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

step cargo build --locked -p tenured
TENURE_FAILOVER_KILLS="${1:-20}" step cargo test --locked -p tenure-integration --test it \
    -- --nocapture a_killed_leader_is_replaced_as_soon_as_one_of_etcd
