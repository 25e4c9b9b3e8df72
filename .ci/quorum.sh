#!/usr/bin/env bash
# Runs a quorum of three on loopback until Ctrl-C, with the data and logs below ./data.
#
# Clients reach the nodes at ports 2379, 22379 and 32379, peers at 2380, 22380 and 32380. Data that
# is there from the last time is used again. TENURED and TENURECTL name programs to use instead of
# those that are built first; DATA names another directory.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
# Each node gets a process group of its own, so that Ctrl-C reaches this script alone and the nodes
# are stopped in order.
set -m

data="${DATA:-$PWD/data}"
certificates="$data/tls"
root_password="${ROOT_PASSWORD:-}"
names=(m1 m2 m3)
clients=(2379 22379 32379)
peers=(2380 22380 32380)
pids=()
# Set by a signal: the nodes are to be stopped.
stopping=""
# Longest that a node may take to be ready, and to stop, in tenths of a second.
ready_max=300
stop_max=300

is_taken() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

refuse_taken_ports() {
    local port
    for port in "${clients[@]}" "${peers[@]}"; do
        if is_taken "$port"; then
            fail "port $port on 127.0.0.1 is taken: stop what listens there (another quorum, an" \
                "etcd?) and run this again"
        fi
    done
}

find_programs() {
    if [[ -z "${TENURED:-}" ]]; then
        bash .ci/build.sh
    fi
    tenured="${TENURED:-$CARGO_TARGET_DIR/release/tenured}"
    tenurectl="${TENURECTL:-$(dirname "$tenured")/tenurectl}"
    [[ -x "$tenured" ]] || fail "$tenured is no program"
}

is_secure() {
    [[ -n "$root_password" ]]
}

# The flags of certificates, for nodes that have them.
secure_flags() {
    is_secure || return 0
    printf '%s\n' \
        --cert-file "$certificates/node.pem" --key-file "$certificates/node-key.pem" \
        --peer-cert-file "$certificates/peer.pem" --peer-key-file "$certificates/peer-key.pem" \
        --peer-trusted-ca-file "$certificates/ca.pem" --peer-client-cert-auth
}

start_nodes() {
    local i members=() flags=() scheme=http
    mkdir -p "$data"
    if is_secure; then
        scheme=https
        [[ -e "$certificates/node.pem" ]] || sh deploy/tls/dev-certs.sh "$certificates"
    fi
    mapfile -t flags < <(secure_flags)
    for i in 0 1 2; do
        members+=("${names[i]}=$scheme://127.0.0.1:${peers[i]}")
    done
    for i in 0 1 2; do
        "$tenured" \
            --name "${names[i]}" \
            --data-dir "$data/${names[i]}" \
            --listen-client-urls "$scheme://127.0.0.1:${clients[i]}" \
            --advertise-client-urls "$scheme://127.0.0.1:${clients[i]}" \
            --listen-peer-urls "$scheme://127.0.0.1:${peers[i]}" \
            --initial-advertise-peer-urls "$scheme://127.0.0.1:${peers[i]}" \
            --initial-cluster "$(IFS=,; printf '%s' "${members[*]}")" \
            --initial-cluster-token tenure-local \
            --initial-cluster-state new \
            "${flags[@]}" \
            </dev/null >>"$data/${names[i]}.log" 2>&1 &
        pids+=("$!")
    done
}

is_ready() {
    local status
    if is_secure; then
        status="$(printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' |
            openssl s_client -quiet -verify_return_error -CAfile "$certificates/ca.pem" \
                -connect "127.0.0.1:$1" 2>/dev/null | head -n 1)"
        [[ "$status" == *" 200 "* ]]
        return
    fi
    exec 3<>"/dev/tcp/127.0.0.1/$1" || return 1
    printf 'GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
    read -r status <&3
    [[ "$status" == *" 200 "* ]]
}

is_running() {
    [[ -n "$(jobs -pr | grep -x "$1")" ]]
}

# The name of a node that ended by itself, if one did.
find_ended() {
    local i
    for i in "${!pids[@]}"; do
        if ! is_running "${pids[i]}"; then
            printf '%s' "${names[i]}"
            return
        fi
    done
}

wait_until_ready() {
    local waited=0 port ended
    for port in "${clients[@]}"; do
        until (is_ready "$port") 2>/dev/null; do
            [[ -z "$stopping" ]] || exit 0
            ended="$(find_ended)"
            if [[ -n "$ended" ]]; then
                tail -n 5 "$data/$ended.log" >&2
                fail "$ended did not start; its log is $data/$ended.log"
            fi
            ((++waited < ready_max)) || fail "the quorum is not ready; its logs are in $data"
            sleep 0.1 # between two looks
        done
    done
}

# tenurectl at the first node of a quorum with certificates.
ctl_securely() {
    "$tenurectl" --endpoints "https://127.0.0.1:${clients[0]}" --cacert "$certificates/ca.pem" "$@"
}

# Makes the user root and lets only users in from then on, the first time.
admit_users_only() {
    local told
    told="$(ctl_securely auth status)"
    [[ "$told" == *"Authentication Status: false"* ]] || return 0
    # The password goes by standard input: arguments are shown to every user of the machine.
    ctl_securely user add root --interactive=false <<<"$root_password"
    ctl_securely user grant-role root root
    ctl_securely auth enable
}

greet_securely() {
    local ctl="${tenurectl#"$PWD"/}"
    cat <<TEXT

a quorum of three is ready, with certificates and users; its data and logs are in $data

  m1  https://127.0.0.1:2379
  m2  https://127.0.0.1:22379
  m3  https://127.0.0.1:32379

a tour, to paste into another terminal:

  export TENURECTL_CACERT=$certificates/ca.pem TENURECTL_ENDPOINTS=https://127.0.0.1:2379
  export TENURECTL_USER=root TENURECTL_PASSWORD=...
  $ctl put greeting hello && $ctl get greeting
  $ctl user add ada && $ctl role add reader
  $ctl role grant-permission reader read greeting && $ctl user grant-role ada reader
  $ctl auth can ada read greeting

Ctrl-C stops the quorum.
TEXT
}

greet() {
    local ctl="${tenurectl#"$PWD"/}"
    cat <<TEXT

a quorum of three is ready; its data and logs are in $data

  m1  http://127.0.0.1:2379
  m2  http://127.0.0.1:22379
  m3  http://127.0.0.1:32379

a tour, to paste into another terminal (etcdctl takes the same words):

  $ctl put greeting hello && $ctl get greeting
  $ctl txn <<< \$'value("greeting") = "hello"\\n\\nput greeting goodbye\\n\\nget greeting\\n\\n'
  $ctl watch greeting --rev 1
  $ctl lease grant 60
  $ctl endpoint status --cluster -w table

Ctrl-C stops the quorum.
TEXT
}

stop_nodes() {
    local pid waited=0
    trap '' INT TERM HUP
    # The terminal may be gone: what cannot be said must not keep the nodes from being stopped.
    set +e
    ((${#pids[@]} > 0)) || return 0
    for pid in "${pids[@]}"; do
        kill -TERM "$pid"
    done 2>/dev/null
    printf '\nstopping the quorum, which takes some seconds\n'
    for pid in "${pids[@]}"; do
        while is_running "$pid"; do
            if ((++waited >= stop_max)); then
                printf 'process %s did not stop in time and is killed\n' "$pid" >&2
                kill -KILL "$pid"
            fi
            sleep 0.1 # between two looks
        done
    done
}

# Says which nodes ended, and goes on: a quorum serves without one of three.
tell_of_ended() {
    local i
    for i in "${!pids[@]}"; do
        if [[ -z "${told[i]:-}" ]] && ! is_running "${pids[i]}"; then
            told[i]=yes
            printf '%s ended; the others go on; its log is %s\n' \
                "${names[i]}" "$data/${names[i]}.log"
        fi
    done
}

main() {
    told=()
    refuse_taken_ports
    find_programs
    trap stop_nodes EXIT
    trap 'stopping=yes' INT TERM HUP
    start_nodes
    wait_until_ready
    if is_secure; then
        admit_users_only
        greet_securely
    else
        greet
    fi
    # Waiting ends when a node does, or with a signal.
    while [[ -z "$stopping" ]]; do
        wait -n 2>/dev/null || true
        [[ -n "$stopping" ]] || tell_of_ended
        ((${#told[@]} < ${#pids[@]})) || fail "every node ended; their logs are in $data"
    done
}

main
