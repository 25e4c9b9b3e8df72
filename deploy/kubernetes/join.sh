#!/bin/sh
# Decides how a pod of the StatefulSet starts, and writes the settings for it into the file that is
# its argument, on the volume. Runs before tenured at every start of the pod.
#
# * A pod whose volume has data goes on with it, and with the settings that were decided when it was
#   empty: a node may have ended before it was a member. Nothing is asked and nothing is changed,
#   so a restart, a drain or an upgrade never adds or removes a member.
# * A pod without data that the cluster does not list is added: somebody scaled up.
# * A pod without data that the cluster lists as started lost its volume. It is replaced, which
#   tenurectl refuses while the old member serves. Volumes are lost by deletion, not by restarts.
# * Without a cluster that answers, the first FOUNDERS pods form it. They form nothing when one of
#   them has data, so a founder that lost its volume while the others are down does no harm.
# * Others wait: the container ends with 1 and is started again.
#
# POD_NAME, MEMBERS_DOMAIN, FOUNDERS and SCHEME come from the manifest. DATA_DIR and the ports may
# be set by tests.
set -eu

settings="${1:?usage: join.sh FILE}"
data_dir="${DATA_DIR:-/var/lib/tenure/node}"
client_port="${CLIENT_PORT:-2379}"
peer_port="${PEER_PORT:-2380}"
set_name="${POD_NAME%-*}"
ordinal="${POD_NAME##*-}"

peer_url() {
    echo "$SCHEME://$set_name-$1.$MEMBERS_DOMAIN:$peer_port"
}

client_urls() {
    number=0
    while [ "$number" -lt "$1" ]; do
        [ "$number" -eq 0 ] || printf ','
        printf '%s' "$SCHEME://$set_name-$number.$MEMBERS_DOMAIN:$client_port"
        number=$((number + 1))
    done
}

founders() {
    number=0
    while [ "$number" -lt "$FOUNDERS" ]; do
        [ "$number" -eq 0 ] || printf ','
        printf '%s' "$set_name-$number=$(peer_url "$number")"
        number=$((number + 1))
    done
}

say() {
    echo "join: $*"
}

# settle LINE…: what the node is started with, as a whole or not at all.
settle() {
    printf '%s\n' "$@" >"$settings.new"
    mv "$settings.new" "$settings"
}

if [ -d "$data_dir" ] && [ -n "$(ls -A "$data_dir")" ]; then
    say "$data_dir has data; the node goes on with it"
    [ -e "$settings" ] || settle
    exit 0
fi

own="$(peer_url "$ordinal")"
founder=no
[ "$ordinal" -ge "$FOUNDERS" ] || founder=yes

# The members as the cluster knows them, by a linearizable read: a line is id, status, name, peer
# URLs, client URLs, and whether it is a learner, separated by a comma and a blank.
if ! members="$(tenurectl --endpoints "$(client_urls "$FOUNDERS")" member list)"; then
    if [ "$founder" = yes ]; then
        say "no cluster answers; $POD_NAME is one of the $FOUNDERS that form it"
        settle "TENURE_INITIAL_CLUSTER=$(founders)" TENURE_INITIAL_CLUSTER_STATE=new
        exit 0
    fi
    say "no cluster answers; waiting for one to join"
    exit 1
fi

join_urls() {
    echo "$members" | awk -F', ' -v own="$own" '$4 != own { urls = urls sep $4; sep = "," }
        END { print urls }'
}

line="$(echo "$members" | awk -F', ' -v own="$own" '$4 == own')"
endpoints="$(client_urls "$FOUNDERS")"
if [ -z "$line" ]; then
    say "the cluster does not list $own; adding it"
    tenurectl --endpoints "$endpoints" member add "$POD_NAME" --peer-urls "$own"
elif [ "$(echo "$line" | awk -F', ' '{ print $2 }')" = started ]; then
    id="$(echo "$line" | awk -F', ' '{ print $1 }')"
    say "the cluster lists $own as member $id, but its volume is empty; replacing it"
    tenurectl --endpoints "$endpoints" member replace "$id" "$POD_NAME" --peer-urls "$own"
else
    say "the cluster waits for $own"
fi
settle "TENURE_JOIN=$(join_urls)"
