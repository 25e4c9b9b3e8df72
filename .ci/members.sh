#!/usr/bin/env bash
# Changes of the membership among faults, with the history of clients checked; the argument is how
# many, 200 without one. TENURE_SEED repeats the choices of an earlier run.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

step cargo build --locked -p tenured
export TENURE_MEMBER_CHANGES="${1:-200}"
step cargo test --locked -p tenure-integration --test it -- --nocapture membership_faults::
