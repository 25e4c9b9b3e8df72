#!/usr/bin/env bash
# etcd's own tests, with tenured under the name etcd and etcd's own etcdctl and etcdutl:
# tests/common with processes, and of tests/e2e the files ctl_v3_*.
#
# Fails when a test fails that tests/etcd/expected.txt does not list, and when a test passes that is
# listed as failing. The tests come from Go's module proxy, in the version that ETCD_VERSION names,
# or from the checkout of etcd's repository that ETCD_SOURCE names. TENURED names a program to use
# instead of the one that is built first, and TESTS a pattern for the names of the tests to run.
# Needs Go, and the ports from 20000 on.
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# The version whose tests are run. The modules of a version, side by side, are etcd's repository.
version="${ETCD_VERSION:-v3.7.3}"
modules=(api client/pkg client/v3 etcdctl etcdutl pkg server tests)
# Longest that a test may take, in seconds. Some start sixty clusters.
test_max=600
first_port=20000

expected="$PWD/tests/etcd/expected.txt"
work="$CARGO_TARGET_DIR/etcd-tests"
programs="$work/bin"
logs="$work/logs"
passed=0
skipped=0
as_listed=0
wrong=()

if ! command -v go >/dev/null; then
    echo "SKIPPED: go is not installed (Debian: golang); none of etcd's tests was run"
    exit 0
fi

# The path of a module of etcd's.
module_path() {
    case "$1" in
    client/v3) printf 'go.etcd.io/etcd/client/v3' ;;
    *) printf 'go.etcd.io/etcd/%s/v3' "$1" ;;
    esac
}

# Puts the modules where they are in etcd's repository: they refer to each other by relative paths.
fetch_source() {
    local module found
    source_tree="$work/$version"
    [[ ! -e "$source_tree/complete" ]] || return 0
    rm -rf "$source_tree"
    for module in "${modules[@]}"; do
        found="$(cd "$work" && GOFLAGS=-mod=mod go mod download -json \
            "$(module_path "$module")@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' || true)"
        [[ -n "$found" ]] || fail "$(module_path "$module")@$version cannot be downloaded"
        mkdir -p "$source_tree/$module"
        cp -R "$found/." "$source_tree/$module"
        chmod -R u+w "$source_tree/$module"
    done
    # Not every version of this one is published. None of these tests imports it.
    mkdir -p "$source_tree/cache"
    printf 'module go.etcd.io/etcd/cache/v3\n' >"$source_tree/cache/go.mod"
    touch "$source_tree/complete"
}

build_programs() {
    if [[ -z "${TENURED:-}" ]]; then
        bash .ci/build.sh
        TENURED="$CARGO_TARGET_DIR/release/tenured"
    fi
    [[ -x "$TENURED" ]] || fail "$TENURED is no program"
    mkdir -p "$programs"
    # A copy, so that the processes that a test leaves behind can be told from all others.
    cp -f "$TENURED" "$programs/etcd"
    export GOWORK=off
    (cd "$source_tree/etcdctl" && step go build -buildvcs=false -o "$programs/etcdctl" .)
    (cd "$source_tree/etcdutl" && step go build -buildvcs=false -o "$programs/etcdutl" .)
    local suite
    for suite in common e2e; do
        (cd "$source_tree/tests" && step go test -buildvcs=false -c -tags e2e \
            -o "$work/$suite.test" "./$suite")
    done
}

# The names of the tests of a suite.
list_tests() {
    local files=("$source_tree/tests/$1"/*_test.go)
    [[ "$1" == common ]] || files=("$source_tree/tests/$1"/ctl_v3*_test.go)
    sed -n 's/^func \(Test[A-Za-z0-9_]*\)(t \*testing.T).*/\1/p' "${files[@]}" | sort -u |
        grep -E -- "${TESTS:-.}" || true
}

# What is listed for a test: "fail" or "skip".
listed() {
    awk -v suite="$1" -v test="$2" '$2 == suite && $3 == test { print $1 }' "$expected"
}

end_left_behind() {
    local process
    for process in /proc/[0-9]*; do
        if [[ "$(readlink "$process/exe" 2>/dev/null)" == "$programs/etcd" ]]; then
            kill -KILL "${process#/proc/}" 2>/dev/null || true
        fi
    done
}

run_test() {
    local suite="$1" test="$2" log="$logs/$1.$2.log" known outcome
    known="$(listed "$suite" "$test")"
    if [[ "$known" == skip ]]; then
        ((++skipped))
        return
    fi
    (cd "$source_tree/tests/$suite" && "$work/$suite.test" -test.v -test.run "^$test\$" \
        -test.timeout "${test_max}s" -bin-dir "$programs") </dev/null >"$log" 2>&1 || true
    end_left_behind
    outcome="$(sed -n "s/^--- \([A-Z]*\): $test (.*/\1/p" "$log" | head -n 1)"
    case "${outcome:-FAIL},$known" in
    PASS,) ((++passed)) ;;
    SKIP,*) ((++skipped)) ;;
    FAIL,fail) ((++as_listed)) ;;
    PASS,fail)
        wrong+=("$suite $test passes, and is listed as failing")
        printf 'PASSES %s %s\n' "$suite" "$test"
        ;;
    *)
        wrong+=("$suite $test fails; its log is $log")
        printf 'FAILS %s %s\n' "$suite" "$test"
        ;;
    esac
}

main() {
    local suite test tests
    # What a user has set for an etcd of theirs is not for these.
    for test in $(compgen -e | grep '^ETCD_\|^ETCDCTL_' || true); do
        [[ "$test" == ETCD_SOURCE || "$test" == ETCD_VERSION ]] || unset "$test"
    done
    mkdir -p "$work" "$logs"
    if (exec 3<>"/dev/tcp/127.0.0.1/$first_port") 2>/dev/null; then
        fail "port $first_port on 127.0.0.1 is taken, which etcd's tests use"
    fi
    if [[ -n "${ETCD_SOURCE:-}" ]]; then
        source_tree="$(cd "$ETCD_SOURCE" && pwd)"
        unset ETCD_SOURCE
    else
        fetch_source
    fi
    unset ETCD_VERSION
    build_programs
    trap end_left_behind EXIT
    for suite in common e2e; do
        tests="$(list_tests "$suite")"
        printf '\n==> %s: %s tests\n' "$suite" "$(wc -w <<<"$tests")"
        for test in $tests; do
            run_test "$suite" "$test"
        done
    done
    printf '\n%s passed, %s failed as listed in %s, %s skipped, %s otherwise\n' \
        "$passed" "$as_listed" tests/etcd/expected.txt "$skipped" "${#wrong[@]}"
    ((${#wrong[@]} == 0)) || fail "$(printf '%s\n' "${wrong[@]}")"
}

main
