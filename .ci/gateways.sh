#!/usr/bin/env bash
# Callers of etcd's JSON gateway, Patroni and etcd3gw, against a quorum that it starts on the ports
# of `make run`. Installs them from PyPI into a temporary directory. TENURED names a program to use
# instead of the one that is built first.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Longest that the quorum may take to be ready, in tenths of a second; a build comes first.
ready_max=18000

command -v python3 >/dev/null || fail "python3 is not installed (Debian: python3-venv)"
work="$(mktemp -d)"
DATA="$work/data" bash .ci/quorum.sh >"$work/quorum.log" 2>&1 &
quorum=$!
stop() {
    kill -TERM "$quorum" 2>/dev/null || true
    wait "$quorum" || true
    rm -rf "$work"
}
trap stop EXIT

python3 -m venv "$work/python"
step "$work/python/bin/pip" install --quiet --requirement tests/gateways/requirements.txt
waited=0
until grep -q 'is ready' "$work/quorum.log"; do
    kill -0 "$quorum" 2>/dev/null || fail "no quorum: $(cat "$work/quorum.log")"
    ((++waited < ready_max)) || fail "the quorum is not ready: $(cat "$work/quorum.log")"
    sleep 0.1 # between two looks
done
step "$work/python/bin/python" tests/gateways/etcd3gw_calls.py 127.0.0.1:2379
step "$work/python/bin/python" tests/gateways/patroni_cycle.py \
    127.0.0.1:2379,127.0.0.1:22379,127.0.0.1:32379
