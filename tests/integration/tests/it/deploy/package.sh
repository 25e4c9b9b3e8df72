#!/usr/bin/env bash
# Installs the package in $WORK/deb into a root directory that has nothing but apt's own needs, and
# starts the node in it. CLIENT and PEER are its ports.
set -euo pipefail

if [[ -z "${WITHIN:-}" ]]; then
    export WITHIN=yes
    exec setpriv --pdeathsig KILL -- unshare --mount --pid --fork --kill-child --mount-proc \
        bash "${BASH_SOURCE[0]}"
fi

fail() {
    echo "FAILED: $*"
    tail -n 20 "$WORK/node.log" 2>/dev/null || true
    exit 1
}

root="$WORK/root"
within=(chroot "$root")

make_root() {
    # The release of this machine: the programs were linked here.
    local suite
    suite="$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")"
    mmdebstrap --mode=root --variant=apt --quiet \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/tenure/*' \
        "$suite" "$root" >"$WORK/mmdebstrap.log" 2>&1 || {
        tail -n 5 "$WORK/mmdebstrap.log"
        echo "no packages to make a root directory of"
        exit 1
    }
    mount -t proc proc "$root/proc"
    mount --bind /dev "$root/dev"
    # The loopback of this machine and its resolver.
    cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true
}

install_package() {
    cp "$WORK"/deb/tenure_*.deb "$root/tmp/tenure.deb"
    "${within[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends /tmp/tenure.deb >"$WORK/install.log" 2>&1 || {
        tail -n 20 "$WORK/install.log"
        fail "the package cannot be installed"
    }
    "${within[@]}" dpkg --audit | grep . && fail "dpkg finds faults"
    echo "installed with its dependencies: $("${within[@]}" dpkg-query -W -f '${Version}' tenure)"
}

starts_with_its_settings() {
    "${within[@]}" tenured --check-config --config-file /etc/tenure/server.toml ||
        fail "the settings of the package are refused"
    echo "the settings of the package are valid"
    [[ "$(stat -c '%U %a' "$root/var/lib/tenure")" ]] || fail "no directory for the data"
    local id
    id="$("${within[@]}" id -u tenure)"
    cat >"$root/etc/tenure/server.toml" <<END
name = "m1"
data-dir = "/var/lib/tenure/node"
listen-client-urls = ["http://127.0.0.1:$CLIENT"]
advertise-client-urls = ["http://127.0.0.1:$CLIENT"]
listen-peer-urls = ["http://127.0.0.1:$PEER"]
initial-advertise-peer-urls = ["http://127.0.0.1:$PEER"]
initial-cluster = "m1=http://127.0.0.1:$PEER"
END
    # As the unit does: the user of the package, with its settings to read.
    chroot --userspec=tenure:tenure "$root" \
        tenured --config-file /etc/tenure/server.toml >"$WORK/node.log" 2>&1 &
    local node=$! tenths
    for ((tenths = 0; tenths < 300; tenths++)); do
        kill -0 "$node" 2>/dev/null || fail "the node ended"
        "${within[@]}" tenurectl --endpoints "127.0.0.1:$CLIENT" put k v >/dev/null 2>&1 && break
        sleep 0.1 # between two looks
    done
    local value
    value="$("${within[@]}" tenurectl --endpoints "127.0.0.1:$CLIENT" get k --print-value-only)"
    [[ "$value" == v ]] || fail "the node does not answer"
    [[ "$(stat -c %u "/proc/$node")" == "$id" ]] || fail "the node runs as another user"
    echo "the node answers as its own user"
    kill -TERM "$node"
    wait "$node" || fail "the node did not stop in order"
}

has_documents() {
    local file
    for file in usr/share/man/man8/tenured.8.gz usr/share/man/man1/tenurectl.1.gz \
        usr/share/bash-completion/completions/tenurectl usr/share/doc/tenure/copyright \
        usr/lib/systemd/system/tenured.service; do
        [[ -s "$root/$file" ]] || fail "$file is missing"
    done
    gunzip -c "$root/usr/share/man/man8/tenured.8.gz" | grep -q 'check\\-config' ||
        fail "the manual page says nothing"
    grep -q '^ExecStart=/usr/bin/tenured ' "$root/usr/lib/systemd/system/tenured.service" ||
        fail "the unit starts another program"
    echo "the manual pages are there"
}

goes_and_leaves_the_data() {
    "${within[@]}" dpkg --purge tenure >"$WORK/purge.log" 2>&1 || fail "it cannot be removed"
    [[ ! -e "$root/usr/bin/tenured" && ! -e "$root/etc/tenure/server.toml" ]] ||
        fail "a file of the package is left"
    [[ -d "$root/var/lib/tenure/node" ]] || fail "the data is gone"
    echo "removed, and the data stays"
}

make_root
install_package
starts_with_its_settings
has_documents
goes_and_leaves_the_data
