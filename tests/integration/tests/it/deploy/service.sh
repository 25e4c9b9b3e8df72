#!/usr/bin/env bash
# Runs deploy/systemd/tenured.service under a systemd of its own, and tells what it sees.
#
# TENURED_PROGRAM, TENURECTL_PROGRAM, CLIENT and PEER are the programs and the ports. Everything
# ends with the process namespace, whatever happens.
set -euo pipefail

if [[ -z "${WITHIN:-}" ]]; then
    export WITHIN=yes UNIT="$PWD/deploy/systemd/tenured.service"
    exec setpriv --pdeathsig KILL -- unshare --mount --pid --fork --kill-child --mount-proc \
        bash "${BASH_SOURCE[0]}"
fi

fail() {
    echo "FAILED: $*"
    systemctl --user status tenured --no-pager --lines 0 || true
    tail -n 20 "$WORK/node.log" || true
    exit 1
}

property() {
    systemctl --user show tenured --property "$1" --value
}

# until_property NAME VALUE SECONDS: waits for a state of the service.
until_property() {
    local tenths
    for ((tenths = 0; tenths < $3 * 10; tenths++)); do
        [[ "$(property "$1")" != "$2" ]] || return 0
        sleep 0.1 # between two looks
    done
    fail "$1 is $(property "$1"), and not $2"
}

prepare() {
    # Not in /tmp: a service with a user of its own has another one.
    mount -t tmpfs tmpfs /run
    export WORK=/run/work
    mkdir "$WORK"
    mkdir -p "$WORK/units/systemd/user/tenured.service.d" "$WORK/programs"
    cp "$TENURED_PROGRAM" "$WORK/programs/tenured"
    sed "s|/usr/local/bin|$WORK/programs|; s|/etc/tenure|$WORK|; s|/var/lib/tenure|%S/tenure|;
        s|/etc/default/tenured|$WORK/default|" "$UNIT" >"$WORK/units/systemd/user/tenured.service"
    # A user's manager may not mount for its services; StateDirectory is below its own directory.
    cat >"$WORK/units/systemd/user/tenured.service.d/test.conf" <<END
[Unit]
Wants=
After=
[Service]
WatchdogSec=4s
RestartSec=100ms
StandardOutput=append:$WORK/node.log
StandardError=append:$WORK/node.log
ProtectSystem=no
ProtectHome=no
PrivateTmp=no
PrivateMounts=no
PrivateDevices=no
PrivateUsers=no
ProtectProc=default
ProtectKernelTunables=no
ProtectKernelModules=no
ProtectKernelLogs=no
ProtectControlGroups=no
ProtectClock=no
ProtectHostname=no
END
    cat >"$WORK/server.toml" <<END
name = "m1"
listen-client-urls = ["http://127.0.0.1:$CLIENT"]
advertise-client-urls = ["http://127.0.0.1:$CLIENT"]
listen-peer-urls = ["http://127.0.0.1:$PEER"]
initial-advertise-peer-urls = ["http://127.0.0.1:$PEER"]
initial-cluster = "m1=http://127.0.0.1:$PEER"
END
}

start_manager() {
    mkdir -p /run/systemd/system /run/user-manager
    chmod 700 /run/user-manager
    export XDG_RUNTIME_DIR=/run/user-manager XDG_CONFIG_HOME="$WORK/units"
    /lib/systemd/systemd --user >"$WORK/manager.log" 2>&1 &
    local tenths
    for ((tenths = 0; tenths < 300; tenths++)); do
        [[ -S /run/user-manager/systemd/private && -S /run/user-manager/systemd/notify ]] && break
        sleep 0.1 # between two looks
    done
    # The user of the service is another than the manager's.
    chmod 755 /run/user-manager /run/user-manager/systemd
    chmod 777 /run/user-manager/systemd/notify
}

is_ready_after_the_start() {
    # Returns once the node has told that it is ready.
    timeout 60 systemctl --user start tenured || fail "the service did not start"
    [[ "$(property StatusText)" == ready ]] || fail "status: $(property StatusText)"
    "$TENURECTL_PROGRAM" --endpoints "127.0.0.1:$CLIENT" put k v >/dev/null ||
        fail "it does not serve"
    local pid user
    pid="$(property MainPID)"
    user="$(stat -c %u "/proc/$pid")"
    [[ "$user" != 0 ]] || fail "the node runs as root"
    grep -q '^Seccomp:.*2$' "/proc/$pid/status" || fail "system calls are not filtered"
    echo "ready: $(property ActiveState), $(property StatusText)"
}

is_started_again_when_it_hangs() {
    local pid
    pid="$(property MainPID)"
    # Time is the subject: longer than the watchdog's, in which a node that works says so.
    sleep 6
    [[ "$(property MainPID)" == "$pid" ]] || fail "a node that works was ended by the watchdog"
    kill -STOP "$pid"
    until_property NRestarts 1 30
    until_property StatusText ready 60
    until_property ActiveState active 30
    [[ "$(property MainPID)" != "$pid" ]] || fail "the hanging node is still there"
    [[ "$("$TENURECTL_PROGRAM" --endpoints "127.0.0.1:$CLIENT" get k --print-value-only)" == v ]] ||
        fail "what was written is gone"
    echo "a hanging node was started again"
}

stops_in_order() {
    timeout 60 systemctl --user stop tenured || fail "the service did not stop"
    echo "stopped: $(property ActiveState), $(property Result)"
}

is_not_started_again_with_a_bad_configuration() {
    echo "TENURE_LOG_LEVEL=loud" >"$WORK/default"
    systemctl --user reset-failed tenured || true
    if timeout 60 systemctl --user start tenured 2>/dev/null; then
        fail "it starts with a bad configuration"
    fi
    # Time is the subject: ten times RestartSec, in which it would have been started again.
    sleep 1
    grep -q "TENURE_LOG_LEVEL: bad value" "$WORK/node.log" || fail "the reason is not told"
    [[ "$(property NRestarts)" == 0 ]] || fail "it was started $(property NRestarts) times again"
    echo "refused: $(property ActiveState), $(property Result)" \
        "$(property ExecMainStatus), started once"
}

prepare
start_manager
is_ready_after_the_start
is_started_again_when_it_hangs
stops_in_order
is_not_started_again_with_a_bad_configuration
