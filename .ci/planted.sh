#!/usr/bin/env bash
# Shows that the check of `make members` finds mistakes: builds nodes with each of the mistakes in
# tests/planted, one at a time, and demands that the check fails on them. TENURE_SEED chooses the
# first series of changes.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# A mistake shows when the changes and faults fall together, so that several series are tried.
changes=40
series=4
seed="${TENURE_SEED:-1}"

mistaken() {
    local patch="$1" tree="$CARGO_TARGET_DIR/planted/source"
    rm -rf "$tree"
    mkdir -p "$tree"
    git archive HEAD | tar -x -C "$tree"
    (cd "$tree" && patch -p1 <"$OLDPWD/$patch" && step cargo build --locked -p tenured)
    mkdir -p "$CARGO_TARGET_DIR/planted/bin"
    cp "$CARGO_TARGET_DIR/debug/tenured" "$CARGO_TARGET_DIR/planted/bin/tenured"
    # To cargo both trees are one package: what is left of this one would pass for the true one's.
    cargo clean --locked -p tenured
}

is_found() {
    local log="$CARGO_TARGET_DIR/planted/log" number
    for ((number = seed; number < seed + series; number++)); do
        if TENURED_BIN="$CARGO_TARGET_DIR/planted/bin/tenured" TENURE_SEED="$number" \
            TENURE_MEMBER_CHANGES="$changes" cargo test --locked -p tenure-integration --test it \
            -- --nocapture membership_faults:: >"$log" 2>&1; then
            echo "series $number: not noticed"
        elif grep -E "[1-9][0-9]* without an order|[1-9][0-9]* with two leaders" "$log"; then
            echo "series $number: found"
            return 0
        else
            # Nodes notice some mistakes themselves, and end.
            grep -A 1 -E "panicked at" "$log" | tail -n 2
            echo "series $number: ended before the check"
        fi
    done
    return 1
}

export CARGO_TARGET_DIR
for patch in tests/planted/*.patch; do
    step mistaken "$patch"
    is_found || fail "$patch was not found in $series series of $changes changes"
done
