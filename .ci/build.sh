#!/usr/bin/env bash
# Builds the server and the command line, optimised.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

bash .ci/system-packages.sh build
step cargo build --release --locked -p tenured -p tenurectl
printf '\nbuilt %s and %s\n' \
    "$CARGO_TARGET_DIR/release/tenured" "$CARGO_TARGET_DIR/release/tenurectl"
