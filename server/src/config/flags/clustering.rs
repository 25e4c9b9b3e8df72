//! Settings of how a cluster is formed, joined and kept.

use super::{Class::*, Flag, Group, Kind::*};

/// What is missing for every setting of discovery.
const DISCOVERY: super::Class = Refused("discovery");

pub(super) const FLAGS: &[Flag] = rows! { Clustering;
    "initial-advertise-peer-urls", Urls, "", Used,
        "Addresses under which the other members reach this one. Empty means those of \
         listen-peer-urls.";
    "advertise-client-urls", Urls, "", Used,
        "Addresses under which clients reach this member. Empty means those of listen-client-urls.";
    "initial-cluster", Text, "", Used,
        "The members that form the cluster, as name=URL pairs. Read at the first start only. \
         Empty means this member alone.";
    "initial-cluster-state", Choice(&["new", "existing"]), "new", Used,
        "Whether the first start forms a new cluster or joins an existing one.";
    "initial-cluster-token", Text, "etcd-cluster", Used,
        "Text that sets this cluster apart from others with the same addresses. Same on every \
         member.";
    "strict-reconfig-check", Bool, "true",
        Ignored("changing the members is not built yet"),
        "Whether a membership change that would lose the quorum is refused.";
    "pre-vote", Bool, "true", Refused("an election without a pre-vote"),
        "Whether a member asks for support before it disturbs a leader.";
    "auto-compaction-mode", Choice(&["periodic", "revision"]), "periodic", Used,
        "Whether auto-compaction-retention is a time or a number of revisions.";
    "auto-compaction-retention", Text, "0", Used,
        "History to keep: a duration, a bare number of hours, or in revision mode a number of \
         revisions. 0 keeps all.";
    "compaction-batch-limit", Uint32, "1000", Used,
        "Revisions that one step of a compaction removes.";
    "compaction-sleep-interval", Duration, "10ms", Used,
        "Pause between two steps of a compaction.";
    "downgrade-check-time", Duration, "5s", Ignored("there is no version to go back to"),
        "Time between two checks of a downgrade.";
    "force-new-cluster", Bool, "false", Refused("a forced one-member cluster"),
        "Whether to start as the only member, whatever the data says.";
    "discovery-token", Text, "", DISCOVERY,
        "Token of the cluster at the discovery service.";
    "discovery-endpoints", List, "", DISCOVERY,
        "Addresses of the discovery service.";
    "discovery-dial-timeout", Duration, "2s", DISCOVERY,
        "Longest wait for a connection to the discovery service.";
    "discovery-request-timeout", Duration, "5s", DISCOVERY,
        "Longest wait for an answer of the discovery service.";
    "discovery-keepalive-time", Duration, "2s", DISCOVERY,
        "Time between two pings to the discovery service.";
    "discovery-keepalive-timeout", Duration, "6s", DISCOVERY,
        "Time the discovery service has to answer a ping.";
    "discovery-insecure-transport", Bool, "true", DISCOVERY,
        "Whether to speak to the discovery service without TLS.";
    "discovery-insecure-skip-tls-verify", Bool, "false", DISCOVERY,
        "Whether to trust any certificate of the discovery service.";
    "discovery-cert", Text, "", DISCOVERY,
        "Certificate to show the discovery service.";
    "discovery-key", Text, "", DISCOVERY,
        "Key of that certificate.";
    "discovery-cacert", Text, "", DISCOVERY,
        "Authority that signed the discovery service's certificate.";
    "discovery-user", Text, "", DISCOVERY,
        "User name at the discovery service.";
    "discovery-password", Text, "", DISCOVERY,
        "Password at the discovery service.";
    "discovery-srv", Text, "", DISCOVERY,
        "DNS domain whose records list the members.";
    "discovery-srv-name", Text, "", DISCOVERY,
        "Suffix of the DNS records that list the members.";
    "discovery-fallback", Choice(&["exit"]), "exit", DISCOVERY,
        "What to do when discovery fails.";
};
