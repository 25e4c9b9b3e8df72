//! Settings of how a cluster is formed, joined and maintained.

use std::time::Duration;

use super::{Class::*, Flag, Group, Kind::*, Setting, millis, secs};
use crate::config::url::Url;

/// The class of every setting of the discovery service.
const DISCOVERY: super::Class = Refused("the discovery service");

rows! { CLUSTERING: Clustering;
    INITIAL_ADVERTISE_PEER_URLS: &[Url] = "initial-advertise-peer-urls", Urls, &[], Used,
        "Addresses under which the other members reach this one. Empty means those of \
         listen-peer-urls.";
    ADVERTISE_CLIENT_URLS: &[Url] = "advertise-client-urls", Urls, &[], Used,
        "Addresses under which clients reach this member. Empty means those of listen-client-urls.";
    INITIAL_CLUSTER: &str = "initial-cluster", Text, "", Used,
        "The members that form the cluster, as name=URL pairs. Read at the first start only. \
         Empty means this member alone.";
    INITIAL_CLUSTER_STATE: &str = "initial-cluster-state", Choice(&["new", "existing"]), "new",
        Used,
        "Whether the first start forms a new cluster or joins an existing one.";
    INITIAL_CLUSTER_TOKEN: &str = "initial-cluster-token", Text, "etcd-cluster", Used,
        "Text that sets this cluster apart from others with the same addresses. Same on every \
         member.";
    JOIN: &[Url] = "join", Urls, &[], Used,
        "Peer addresses of a running cluster's members, one of which is enough: at its first start \
         this member asks them for the others. In place of initial-cluster and \
         initial-cluster-state.";
    STRICT_RECONFIG_CHECK: bool = "strict-reconfig-check", Bool, true, Used,
        "Whether a membership change that would lose the quorum is refused.";
    _: bool = "pre-vote", Bool, true, Refused("an election without a pre-vote"),
        "Whether a member asks for support before it disturbs a leader.";
    AUTO_COMPACTION_MODE: &str = "auto-compaction-mode", Choice(&["periodic", "revision"]),
        "periodic", Used,
        "Whether auto-compaction-retention is a time or a number of revisions.";
    AUTO_COMPACTION_RETENTION: &str = "auto-compaction-retention", Text, "0", Used,
        "History to keep: a duration, a bare number of hours, or in revision mode a number of \
         revisions. 0 keeps all.";
    COMPACTION_BATCH_LIMIT: u32 = "compaction-batch-limit", Uint32, 1000, Used,
        "Revisions that one step of a compaction removes.";
    COMPACTION_SLEEP_INTERVAL: Duration = "compaction-sleep-interval", Duration, millis(10), Used,
        "Pause between two steps of a compaction.";
    _: Duration = "downgrade-check-time", Duration, secs(5),
        Ignored("there is no version to go back to"),
        "Time between two checks of a downgrade.";
    FORCE_NEW_CLUSTER: bool = "force-new-cluster", Bool, false, Used,
        "Whether to start as the only member of a new cluster with the data of the old one, whose \
         quorum is lost for good. Without a question; recover asks.";
    RECOVER: &str = "recover", Text, "", Used,
        "For a member whose quorum is lost for good. \"plan\" prints what its log holds and a \
         confirmation, and ends. With that confirmation the member starts as the only one of a \
         new cluster with the data of the old one.";
    _: &str = "discovery-token", Text, "", DISCOVERY,
        "Token of the cluster at the discovery service.";
    _: &str = "discovery-endpoints", List, "", DISCOVERY,
        "Addresses of the discovery service.";
    _: Duration = "discovery-dial-timeout", Duration, secs(2), DISCOVERY,
        "Longest wait for a connection to the discovery service.";
    _: Duration = "discovery-request-timeout", Duration, secs(5), DISCOVERY,
        "Longest wait for an answer of the discovery service.";
    _: Duration = "discovery-keepalive-time", Duration, secs(2), DISCOVERY,
        "Time between two pings to the discovery service.";
    _: Duration = "discovery-keepalive-timeout", Duration, secs(6), DISCOVERY,
        "Time the discovery service has to answer a ping.";
    _: bool = "discovery-insecure-transport", Bool, true, DISCOVERY,
        "Whether to speak to the discovery service without TLS.";
    _: bool = "discovery-insecure-skip-tls-verify", Bool, false, DISCOVERY,
        "Whether to trust any certificate of the discovery service.";
    _: &str = "discovery-cert", Text, "", DISCOVERY,
        "Certificate to show the discovery service.";
    _: &str = "discovery-key", Text, "", DISCOVERY,
        "Key of that certificate.";
    _: &str = "discovery-cacert", Text, "", DISCOVERY,
        "Authority that signed the discovery service's certificate.";
    _: &str = "discovery-user", Text, "", DISCOVERY,
        "User name at the discovery service.";
    _: &str = "discovery-password", Text, "", DISCOVERY,
        "Password at the discovery service.";
    DISCOVERY_SRV: &str = "discovery-srv", Text, "", Used,
        "DNS domain whose SRV records list the members, in place of initial-cluster.";
    DISCOVERY_SRV_NAME: &str = "discovery-srv-name", Text, "", Used,
        "Suffix of the services in these records, by which several clusters share a domain.";
    DISCOVERY_DNS_SERVER: &str = "discovery-dns-server", Text, "", Used,
        "Name server to ask for these records, with or without a port. Empty means those of the \
         system, which resolve the hosts in the records in any case.";
    _: &str = "discovery-fallback", Choice(&["exit"]), "exit", DISCOVERY,
        "What to do when discovery fails.";
}
