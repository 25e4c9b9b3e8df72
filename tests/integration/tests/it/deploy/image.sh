#!/usr/bin/env bash
# Builds deploy/docker/Dockerfile with a base that is made of Debian's packages, and starts its node
# as the image says: its user, its variables, its entry point.
set -euo pipefail

if [[ -z "${WITHIN:-}" ]]; then
    export WITHIN=yes
    exec setpriv --pdeathsig KILL -- unshare --mount --pid --fork --kill-child --mount-proc \
        bash "${BASH_SOURCE[0]}"
fi

fail() {
    echo "FAILED: $*"
    exit 1
}

suite="$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")"
storage=(--root "$WORK/storage" --runroot "$WORK/run" --storage-driver vfs)
buildah=(buildah "${storage[@]}")

# import ARCHIVE NAME: an image of a root directory.
import() {
    local container
    container="$("${buildah[@]}" from scratch)"
    "${buildah[@]}" add --quiet "$container" "$1" / >/dev/null
    "${buildah[@]}" commit --quiet "$container" "$2" >/dev/null
    "${buildah[@]}" rm "$container" >/dev/null
}

make_base() {
    mmdebstrap --mode=root --variant=apt --include=libstdc++6,passwd \
        --quiet "$suite" "$WORK/base.tar" >"$WORK/mmdebstrap.log" 2>&1 || {
        tail -n 5 "$WORK/mmdebstrap.log"
        echo "no packages to make a root directory of"
        exit 1
    }
    import "$WORK/base.tar" docker.io/library/debian:bookworm-slim
}

pack_programs() {
    mkdir -p "$WORK/packed/programs"
    cp "$TENURED_PROGRAM" "$WORK/packed/programs/tenured"
    cp "$TENURECTL_PROGRAM" "$WORK/packed/programs/tenurectl"
    ! command -v strip >/dev/null || strip --strip-unneeded "$WORK"/packed/programs/*
    tar -C "$WORK/packed" -cf "$WORK/programs.tar" programs
    import "$WORK/programs.tar" localhost/tenure-programs
    # The stage that compiles is not run, but its base has to have a name.
    import "$WORK/programs.tar" docker.io/library/rust:1.95-bookworm
}

build() {
    # Without the first stage: it needs a base that is not made here.
    sed '/^FROM .* AS build$/,/^FROM \${PROGRAMS}/{/^FROM \${PROGRAMS}/!d}' \
        deploy/docker/Dockerfile >"$WORK/Dockerfile"
    "${buildah[@]}" build --isolation chroot --pull-never --quiet \
        --build-arg PROGRAMS=localhost/tenure-programs \
        -f "$WORK/Dockerfile" -t localhost/tenure "$WORK/packed" || fail "the image is not built"
}

answers() {
    local container user
    user="$("${buildah[@]}" inspect --type image \
        --format '{{.OCIv1.Config.User}}' localhost/tenure)"
    [[ "$user" == 10379:10379 ]] || fail "the user is $user"
    container="$("${buildah[@]}" from --pull-never localhost/tenure)"
    "${buildah[@]}" run --isolation chroot "$container" -- sh -c "
        set -eu
        test \"\$(id -u)\" = 10379
        test -w /var/lib/tenure && test ! -w /usr/local/bin && test ! -w /etc
        export TENURE_LISTEN_CLIENT_URLS=http://127.0.0.1:$CLIENT
        export TENURE_LISTEN_PEER_URLS=http://127.0.0.1:$PEER
        export TENURECTL_ENDPOINTS=127.0.0.1:$CLIENT
        tenured 2>/dev/null &
        for look in \$(seq 300); do
            tenurectl --command-timeout=7s endpoint health 2>/dev/null && break
            sleep 0.2 # between two looks
        done
        tenurectl put k v && tenurectl get k
        kill -TERM \$! && wait \$!
        test -d /var/lib/tenure/node
    " || fail "the node of the image does not answer"
    echo "the node of the image answers"
}

make_base
pack_programs
build
answers
