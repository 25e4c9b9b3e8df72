#!/usr/bin/env bash
# Sets the number of members: bash deploy/kubernetes/scale.sh NUMBER
#
# Up: the new pods add themselves (join.sh). Down: the member with the highest ordinal is removed
# first and its pod goes afterwards, one after the other, so the quorum never counts on a pod that
# is gone. Can be run again at any time. It also puts in order what `kubectl scale` alone left
# behind: members without a pod are removed.
#
# KUBECTL names another command with options: KUBECTL="kubectl -n coordination".
set -euo pipefail

read -ra kubectl <<<"${KUBECTL:-kubectl}"
wanted="${1:-}"
[[ "$wanted" =~ ^[1-9][0-9]*$ ]] || {
    echo "usage: scale.sh NUMBER" >&2
    exit 2
}

ctl() {
    "${kubectl[@]}" exec tenure-0 -c tenured -- tenurectl "$@"
}

present="$("${kubectl[@]}" get statefulset tenure -o 'jsonpath={.spec.replicas}')"

# members ORDINAL: ids of the members of pods from this ordinal on, the highest first.
members() {
    ctl member list | awk -F', ' -v from="$1" '
        match($4, /\/\/tenure-[0-9]+\./) {
            ordinal = substr($4, RSTART + 9, RLENGTH - 10)
            if (ordinal + 0 >= from) print ordinal, $1
        }' | sort -rn
}

remove() {
    echo "removing member $2 of pod tenure-$1"
    ctl member remove "$2"
}

# Members whose pods are gone already.
while read -r ordinal id; do
    remove "$ordinal" "$id"
done < <(members "$present")

while ((present > wanted)); do
    last=$((present - 1))
    while read -r ordinal id; do
        remove "$ordinal" "$id"
    done < <(members "$last")
    present="$last"
    "${kubectl[@]}" scale statefulset tenure --replicas="$present"
    "${kubectl[@]}" wait --for=delete "pod/tenure-$last" --timeout=5m
done

if ((present < wanted)); then
    "${kubectl[@]}" scale statefulset tenure --replicas="$wanted"
    "${kubectl[@]}" rollout status statefulset tenure --timeout=10m
fi
ctl member list
