#!/usr/bin/env bash
# Packs the three crates that are published, as `cargo publish` would, and builds them from their
# packages alone, also with the lowest Rust version that they state where that is installed. Asks no
# registry: what a build has fetched is enough. With `--no-verify` it packs only, within a second.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

step cargo package -p tenure-proto -p tenure-srv -p tenure --locked --offline --allow-dirty "$@"
[ $# -eq 0 ] || exit 0

lowest="$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' client/Cargo.toml)"
if rustup toolchain list 2>/dev/null | grep -q "^$lowest"; then
    step rustup run "$(rustup toolchain list | grep -o "^$lowest[^ ]*" | head -1)" \
        cargo check -p tenure --locked --features discovery,fence-axum,serde,srv,wire
else
    printf '\nRust %s is not installed: its check is left to the lint incompatible_msrv\n' "$lowest"
fi
