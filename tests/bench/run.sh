#!/bin/sh
# Builds the server and the load generator, and runs the generator with the arguments given.
# Not a gate: it fails only when a request fails. `run.sh --quick` is the smoke test.
set -eu
cd "$(dirname "$0")/../.."
# Together, so that both are built with the same features of what they share.
cargo build --release --locked -p tenured -p tenure-bench
target=${CARGO_TARGET_DIR:-$(cargo metadata --format-version 1 --no-deps --locked |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')}
exec "$target/release/load" "$@"
