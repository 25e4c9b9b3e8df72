#!/usr/bin/env bash
# A million keys through a snapshot, from a quorum into a real etcd and from that into a node, with
# times and memory; the argument is another number of keys. Needs Debian's etcd and etcdctl.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

step cargo build --locked -p tenured -p tenurectl
export TENURE_SNAPSHOT_KEYS="${1:-1000000}"
step cargo test --locked -p tenure-integration --test it -- --nocapture --test-threads 1 \
    large_backup::
