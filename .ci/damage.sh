#!/usr/bin/env bash
# Damages every file of a data directory in every way: a node's storage, a node alone, one of three.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

step cargo build --locked -p tenured
export TENURE_DAMAGE=all
step cargo test --locked -p tenured --test storage -- --nocapture damage::
step cargo test --locked -p tenure-integration --test it -- --nocapture damage::
