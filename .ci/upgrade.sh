#!/usr/bin/env bash
# Upgrades a quorum under load from earlier versions, whose commits are the arguments; without any,
# the commit before members could be changed, and the one before there were users.
# TENURE_OLD_TENURED names a program to upgrade from in place of those that are built. Go's client
# takes part when Go is installed.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

before_members_change=e93ef8e
before_users=d92e8f7

build_old() {
    local commit="$1" tree="$CARGO_TARGET_DIR/upgrade/source"
    local target="$CARGO_TARGET_DIR/upgrade/target"
    rm -rf "$tree"
    mkdir -p "$tree"
    git archive "$commit" | tar -x -C "$tree"
    (cd "$tree" && CARGO_TARGET_DIR="$target" step cargo build --locked -p tenured)
    TENURE_OLD_TENURED="$target/debug/tenured"
}

upgrade() {
    export TENURE_OLD_TENURED
    step cargo test --locked -p tenure-integration --test it -- --nocapture upgrade::
}

if command -v go >/dev/null; then
    export TENURE_GO_LOAD="$CARGO_TARGET_DIR/upgrade/go-load"
    (cd tests/go && step go build -o "$TENURE_GO_LOAD" ./load)
else
    echo "SKIPPED: go is not installed; its client takes no part"
fi
step cargo build --locked -p tenured
if [[ -n "${TENURE_OLD_TENURED:-}" ]]; then
    upgrade
    exit
fi
(($# > 0)) || set -- "$before_members_change" "$before_users"
for commit in "$@"; do
    build_old "$commit"
    upgrade
done
