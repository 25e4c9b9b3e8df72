#!/usr/bin/env bash
# The gate before a change is sent: reads, never writes. Uses the same profile as the tests, so
# RocksDB is compiled once for both.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Test programs are checked, too, and building them needs what tests need.
bash .ci/system-packages.sh test
step cargo fmt --all --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --locked --quiet
step cargo test -p tenure-tidy --locked --quiet
bash .ci/package.sh --no-verify
