#!/usr/bin/env bash
# Callers of etcd's JSON gateway and what is built on etcd's Go client, each in its own program.
#
# Patroni and etcd3gw are installed from PyPI into a temporary directory, and meet a quorum on the
# ports of `make run`. confd and lua-resty-etcd, the client of APISIX, are in no registry: they run
# when they are named or found, against quorums on other ports, and are SKIPPED otherwise.
#
#   CONFD            the program; otherwise the one in the path
#   LUA_RESTY_ETCD   a checkout; also needed is an nginx with Lua (Debian: libnginx-mod-http-lua
#                    lua-cjson lua-penlight)
#   LUA_LIBRARIES    the directories, separated by colons, of api7's lua-resty-http and lua-typeof
#   TENURED          a program to use instead of one that is built first, with tenurectl beside it
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Longest that the quorum may take to be ready, in tenths of a second; a build comes first.
ready_max=18000
# What did not run, to be told again at the end.
skipped=()

skip() {
    printf '\nSKIPPED: %s\n' "$*"
    skipped+=("SKIPPED: $*")
}

# Debian's nginx loads Lua from a module, OpenResty has it built in.
has_nginx_with_lua() {
    local nginx
    nginx="$(PATH="$PATH:/usr/sbin" command -v nginx)" || return 1
    [[ -e /usr/lib/nginx/modules/ngx_http_lua_module.so ]] ||
        "$nginx" -V 2>&1 | grep -qi 'lua'
}

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

export TENURED="${TENURED:-$CARGO_TARGET_DIR/release/tenured}"
export TENURECTL="${TENURECTL:-$(dirname "$TENURED")/tenurectl}"
export CONFD="${CONFD:-$(command -v confd || true)}"
# Python writes its bytecode beside the sources otherwise.
export PYTHONDONTWRITEBYTECODE=1

if [[ -n "$CONFD" ]]; then
    step "$work/python/bin/python" tests/gateways/confd_cases.py
else
    skip "confd is neither installed nor named by CONFD"
fi
if ! has_nginx_with_lua; then
    skip "lua-resty-etcd: there is no nginx with Lua (Debian: libnginx-mod-http-lua)"
elif [[ -z "${LUA_RESTY_ETCD:-}" ]]; then
    skip "lua-resty-etcd: LUA_RESTY_ETCD names no checkout"
else
    step "$work/python/bin/python" tests/gateways/lua_resty_etcd_cases.py
fi
if ((${#skipped[@]} > 0)); then
    printf '\n**** %s' "${skipped[@]}"
    printf '\n'
fi
