#!/usr/bin/env bash
# Upgrades a quorum under load from an earlier version, whose commit is the argument; without one,
# the commit before the feature level that is the newest. TENURE_OLD_TENURED names a program to
# upgrade from in place of one that is built. Go's client takes part when Go is installed.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# The first version whose members change belongs to feature level 4; this is the one before.
before_newest_level=e93ef8e

build_old() {
    local commit="$1" tree="$CARGO_TARGET_DIR/upgrade/source"
    local target="$CARGO_TARGET_DIR/upgrade/target"
    rm -rf "$tree"
    mkdir -p "$tree"
    git archive "$commit" | tar -x -C "$tree"
    (cd "$tree" && CARGO_TARGET_DIR="$target" step cargo build --locked -p tenured)
    TENURE_OLD_TENURED="$target/debug/tenured"
}

[[ -n "${TENURE_OLD_TENURED:-}" ]] || build_old "${1:-$before_newest_level}"
export TENURE_OLD_TENURED
if command -v go >/dev/null; then
    export TENURE_GO_LOAD="$CARGO_TARGET_DIR/upgrade/go-load"
    (cd tests/go && step go build -o "$TENURE_GO_LOAD" ./load)
else
    echo "SKIPPED: go is not installed; its client takes no part"
fi
step cargo build --locked -p tenured
step cargo test --locked -p tenure-integration --test it -- --nocapture upgrade::
