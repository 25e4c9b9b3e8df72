#!/usr/bin/env bash
# Runs every test. Arguments are passed on to cargo test.
#
# The programs are built first: tests start them from the target directory.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

bash .ci/system-packages.sh test
step cargo build --locked -p tenured -p tenurectl
step cargo test --workspace --locked "$@"
