#!/usr/bin/env bash
# Hostile clients: builds the server optimised, then runs the attacks with the given arguments.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

bash .ci/build.sh
step cargo run --release --locked -p tenure-bench --bin hostile -- "$@"
