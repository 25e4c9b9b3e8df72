#!/usr/bin/env bash
# Linearizable reads while packets between the nodes are late, many times over; prints the counts.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

export DELAYED_PACKETS_READS="${DELAYS:-200}"
step cargo build --locked -p tenured
step cargo test --locked -p tenure-integration --test it delayed_packets -- --nocapture
