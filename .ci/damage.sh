#!/usr/bin/env bash
# Damages every file of a data directory in every way and opens what is left as a node does.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

export TENURE_DAMAGE=all
step cargo test --locked -p tenured --test storage -- --nocapture damage::
