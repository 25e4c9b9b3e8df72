#!/usr/bin/env bash
# Keeps thousands of leases and logs in with etcd's own Go client, against nodes that it starts.
# TENURED names a program to use instead of the one that is built first.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

command -v go >/dev/null || fail "go is not installed (Debian: golang)"
if [[ -z "${TENURED:-}" ]]; then
    bash .ci/build.sh
    TENURED="$CARGO_TARGET_DIR/release/tenured"
fi
export TENURED
cd tests/go
step go test -count 1 -v ./...
