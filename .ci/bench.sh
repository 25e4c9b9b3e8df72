#!/usr/bin/env bash
# Measures: builds the server optimised, then runs the load generator with the given arguments.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

bash .ci/build.sh
step cargo run --release --locked -p tenure-bench --bin load -- "$@"
