#!/usr/bin/env bash
# Cuts the power of nodes' disks under load; the argument is how often, 100 times without one. Needs
# the right to mount file systems.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

step cargo build --locked -p tenured
export TENURE_POWER_LOSS="${1:-100}"
step cargo test --locked -p tenure-integration --test it -- --nocapture power_loss::
