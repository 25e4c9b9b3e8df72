#!/usr/bin/env bash
# Runs join.sh and scale.sh of deploy/kubernetes with processes in place of pods.
#
# WORK is a directory for everything; the programs and ports come as variables. With `kubectl` as
# first argument the script stands in for kubectl.
set -euo pipefail

if [[ -z "${WITHIN:-}" ]]; then
    export WITHIN=yes SCRIPT="${BASH_SOURCE[0]}"
    exec setpriv --pdeathsig KILL -- unshare --mount --pid --fork --kill-child --mount-proc \
        bash "${BASH_SOURCE[0]}"
fi

# Longest wait for a state, in tenths of a second.
STATE_MAX=900

fail() {
    echo "FAILED: $*"
    local log
    for log in "$WORK"/pod-*.log; do
        echo "--- $log"
        grep -v '"level":"INFO"' "$log" | tail -n 15
    done
    exit 1
}

# until_true WHAT COMMAND…
until_true() {
    local what="$1" tenths
    shift
    for ((tenths = 0; tenths < STATE_MAX; tenths++)); do
        "$@" && return
        sleep 0.1 # between two looks
    done
    fail "not in time: $what"
}

ctl() {
    tenurectl --endpoints "http://tenure-$1.tenure-members:$CLIENT_PORT" "${@:2}"
}

# What a kubelet does for a pod: the first container, then the node, and both again when they end.
pod() {
    local address="127.0.2.$((10 + $1))" settings="$WORK/volume-$1/start.env"
    export POD_NAME="tenure-$1" DATA_DIR="$WORK/volume-$1/node"
    export MEMBERS_DOMAIN=tenure-members FOUNDERS=3 SCHEME=http
    mkdir -p "$WORK/volume-$1"
    trap '[[ -z "${node:-}" ]] || { kill -TERM "$node"; wait "$node" || true; }; exit 0' TERM
    while true; do
        if sh deploy/kubernetes/join.sh "$settings"; then
            env -u POD_NAME TENURE_NAME="tenure-$1" TENURE_DATA_DIR="$DATA_DIR" \
                TENURE_LISTEN_CLIENT_URLS="http://$address:$CLIENT_PORT" \
                TENURE_LISTEN_PEER_URLS="http://$address:$PEER_PORT" \
                TENURE_ADVERTISE_CLIENT_URLS="http://tenure-$1.tenure-members:$CLIENT_PORT" \
                TENURE_INITIAL_ADVERTISE_PEER_URLS="http://tenure-$1.tenure-members:$PEER_PORT" \
                TENURE_INITIAL_CLUSTER_TOKEN=pods \
                sh -c "set -a; . $settings; set +a; exec tenured" &
            node=$!
            wait "$node" || echo "the node ended with $?"
            node=""
        fi
        # Time is the subject: the pause before a container is started again.
        sleep 0.3 &
        wait $!
    done
}

is_gone() {
    ! kill -0 "$1" 2>/dev/null
}

start_pod() {
    (pod "$1") >>"$WORK/pod-$1.log" 2>&1 &
    echo $! >"$WORK/pid-$1"
}

stop_pod() {
    local pid
    pid="$(cat "$WORK/pid-$1")"
    kill "-${2:-TERM}" "$pid" 2>/dev/null || true
    until_true "pod $1 ends" is_gone "$pid"
    rm -f "$WORK/pid-$1"
}

is_ready() {
    curl -sf -o /dev/null --max-time 8 "http://tenure-$1.tenure-members:$CLIENT_PORT/readyz"
}

are_ready() {
    local number
    for ((number = 0; number < $1; number++)); do
        is_ready "$number" || return 1
    done
}

# Does what the controller does for what the scripts ask of kubectl.
kubectl() {
    local number
    case "$1 $2" in
    "exec tenure-0") ctl 0 "${@:7}" ;;
    "get statefulset") cat "$WORK/replicas" ;;
    "scale statefulset")
        local wanted="${4#--replicas=}" present
        present="$(cat "$WORK/replicas")"
        echo "$wanted" >"$WORK/replicas"
        for ((number = present - 1; number >= wanted; number--)); do
            stop_pod "$number"
            rm -rf "$WORK/volume-$number"
        done
        for ((number = present; number < wanted; number++)); do
            start_pod "$number"
        done
        ;;
    "wait --for=delete") [[ ! -e "$WORK/pid-${3#pod/tenure-}" ]] ;;
    "rollout status") until_true "all pods are ready" are_ready "$(cat "$WORK/replicas")" ;;
    *) fail "kubectl $*" ;;
    esac
}

if [[ "${1:-}" == kubectl ]]; then
    shift
    kubectl "$@"
    exit
fi

export KUBECTL="bash $SCRIPT kubectl"

prepare() {
    mkdir -p "$WORK/programs"
    ln -s "$TENURED_PROGRAM" "$WORK/programs/tenured"
    ln -s "$TENURECTL_PROGRAM" "$WORK/programs/tenurectl"
    export PATH="$WORK/programs:$PATH"
    cp /etc/hosts "$WORK/hosts"
    local number
    for number in 0 1 2 3 4; do
        echo "127.0.2.$((10 + number)) tenure-$number.tenure-members" >>"$WORK/hosts"
    done
    mount --bind "$WORK/hosts" /etc/hosts
    echo 3 >"$WORK/replicas"
}

members() {
    ctl 0 member list | sort
}

# count NUMBER: fails unless so many members are listed, all started and with a vote.
count() {
    [[ "$(members | awk -F', ' '$2 == "started" && $6 == "false"' | wc -l)" == "$1" ]] &&
        [[ "$(members | wc -l)" == "$1" ]]
}

forms() {
    local number
    for number in 0 1 2; do
        start_pod "$number"
    done
    until_true "the pods form a quorum" are_ready 3
    until_true "three members are listed" count 3
    ctl 0 put k v >/dev/null
    echo "three pods formed a quorum"
}

restarts() {
    local before number
    before="$(members)"
    for number in 0 1 2; do
        stop_pod "$number"
        start_pod "$number"
        until_true "pod $number is back" are_ready 3
    done
    [[ "$(members)" == "$before" ]] || fail "a restart changed a member: $before; $(members)"
    grep -q "the node goes on with it" "$WORK/pod-1.log" || fail "the script decided otherwise"
    echo "restarts changed no member"
}

scales() {
    bash deploy/kubernetes/scale.sh 5
    until_true "five members are listed" count 5
    echo "five members after scaling up"
    bash deploy/kubernetes/scale.sh 3
    count 3 || fail "not three members: $(members)"
    [[ ! -e "$WORK/volume-3" && ! -e "$WORK/volume-4" ]] || fail "a volume is left"
    [[ "$(ctl 1 get k --print-value-only)" == v ]] || fail "what was written is gone"
    echo "three members after scaling down"

    bash deploy/kubernetes/scale.sh 4
    until_true "four members are listed" count 4
    # What happens to those who do not take the script.
    kubectl scale statefulset tenure --replicas=3
    [[ "$(members | wc -l)" == 4 ]] || fail "the member went with its pod"
    bash deploy/kubernetes/scale.sh 3
    count 3 || fail "not three members: $(members)"
    echo "a member without a pod was removed"
}

loses_a_volume() {
    stop_pod 2
    rm -rf "$WORK/volume-2"
    start_pod 2
    until_true "the pod is back" are_ready 3
    until_true "three members are listed" count 3
    grep -q "its volume is empty; replacing it" "$WORK/pod-2.log" || fail "it was not replaced"
    [[ "$(ctl 2 get k --print-value-only)" == v ]] || fail "what was written is gone"
    echo "a pod that lost its volume was replaced"

    local number
    for number in 0 1 2; do
        stop_pod "$number"
    done
    rm -rf "$WORK/volume-1"
    start_pod 1
    until_true "it decides to form a quorum" grep -q "one of the 3 that form it" "$WORK/pod-1.log"
    start_pod 0
    start_pod 2
    until_true "the two others are back" are_back
    [[ "$(ctl 2 get k --print-value-only)" == v ]] || fail "what was written is gone"
    # It came up first and named its directory; that of nobody, so the volume is removed once more.
    stop_pod 1
    rm -rf "$WORK/volume-1"
    start_pod 1
    until_true "the third one is back" are_ready 3
    until_true "three members are listed" count 3
    echo "a founder that came up first without its volume did no harm"
}

are_back() {
    is_ready 0 && is_ready 2
}

prepare
forms
restarts
scales
loses_a_volume
