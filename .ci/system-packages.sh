#!/usr/bin/env bash
# Makes sure that the programs are there which cargo does not bring.
#
#   bash .ci/system-packages.sh build    what compiling needs: a C++ compiler, clang, make
#   bash .ci/system-packages.sh test     that, and what tests need: etcd, strace, mkfs, curl,
#                                        openssl, protoc, mmdebstrap, buildah
#
# As root on Debian or Ubuntu it installs what is missing; otherwise it prints the line that would.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

missing=()

# need PACKAGE PROGRAM: the package is missing when the program cannot be found.
need() {
    command -v "$2" >/dev/null || missing+=("$1")
}

# RocksDB's bindings are generated at build time by libclang, a library and not a program.
need_libclang() {
    local found
    [[ -n "${LIBCLANG_PATH:-}" ]] && return
    found="$(find /usr/lib /usr/local/lib -name 'libclang*.so*' -print -quit 2>/dev/null || true)"
    [[ -n "$found" ]] || missing+=(libclang-dev)
}

collect() {
    missing=()
    need g++ g++
    need make make
    need clang clang
    need_libclang
    if [[ "$1" == test ]]; then
        need etcd-server etcd
        need etcd-client etcdctl
        need strace strace
        need e2fsprogs mkfs.ext4
        need curl curl
        need openssl openssl
        # A clean root directory for the package, and an image of the Dockerfile.
        need mmdebstrap mmdebstrap
        need buildah buildah
        # The etcd-client crate, a client under test, generates its stubs with protoc.
        need protobuf-compiler protoc
        [[ -e /usr/include/google/protobuf/descriptor.proto ]] || missing+=(libprotobuf-dev)
    fi
}

main() {
    local purpose="${1:-test}"
    [[ "$purpose" == build || "$purpose" == test ]] || fail "usage: system-packages.sh [build|test]"
    command -v cargo >/dev/null || fail "cargo is missing: install Rust from https://rustup.rs"
    [[ "$(uname -s)" == Linux ]] || return 0
    collect "$purpose"
    ((${#missing[@]} > 0)) || return 0

    local line="apt-get install -y --no-install-recommends ${missing[*]}"
    if [[ "$(id -u)" != 0 ]] || ! command -v apt-get >/dev/null; then
        fail "missing: ${missing[*]}; run: sudo apt-get update && sudo $line"
    fi
    export DEBIAN_FRONTEND=noninteractive
    step apt-get update
    # Word splitting is wanted: the line is a command.
    # shellcheck disable=SC2086
    step $line
    collect "$purpose"
    ((${#missing[@]} == 0)) || fail "still missing after installation: ${missing[*]}"
}

main "$@"
