# What every script here starts from; sourced, not run.
#
# Sets strict mode, goes to the top of the checkout, and settles where build products go. The
# variable is exported, because it wins over whatever a user's own cargo configuration says.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"

# Says what is about to be done, then does it.
step() {
    printf '\n==> %s\n' "$*"
    "$@"
}

# Ends the script with a sentence.
fail() {
    printf '%s\n' "$*" >&2
    exit 1
}
