//! The validated configuration: every field typed, derived and checked.
//!
//! Invariant: values are created by `validate` alone, completed by what is discovered, and shared
//! as `Arc<Config>`, never changed.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    audit::AuditTarget,
    cluster::InitialMember,
    gates::FeatureGates,
    security::{ClusterSecret, TlsConfig},
    token::TokenProvider,
    url::Url,
};

/// All settings, with defaults for those not set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Name of this member, unique within the cluster.
    pub name: String,
    /// Directory for the data of this member; may not exist yet.
    pub data_dir: PathBuf,

    /// Addresses to listen on for peers; never empty, each with a bind address.
    pub listen_peer_urls: Vec<Url>,
    /// Addresses to listen on for clients; never empty, each with a bind address.
    pub listen_client_urls: Vec<Url>,
    /// Addresses for HTTP without gRPC; with any, those above serve gRPC alone. Each with a bind
    /// address.
    pub listen_client_http_urls: Vec<Url>,
    /// Additional addresses for the HTTP pages; each with a bind address.
    pub listen_metrics_urls: Vec<Url>,
    /// Addresses under which peers reach this member; never empty.
    pub initial_advertise_peer_urls: Vec<Url>,
    /// Addresses under which clients reach this member; never empty.
    pub advertise_client_urls: Vec<Url>,

    /// TLS for clients, on the addresses that begin with https; there if one does.
    pub client_tls: Option<TlsConfig>,
    /// Whether clients must show a certificate, and are the users that these name.
    pub client_cert_auth: bool,
    /// TLS between members.
    pub peer_tls: Option<TlsConfig>,
    /// The secret by which members recognise each other.
    pub cluster_secret: Option<ClusterSecret>,

    /// How the members are found, if they are not listed.
    pub discovery: Option<SrvDiscovery>,
    /// The members for the first start, by name; see [`Config::first_start`].
    pub initial_cluster: Vec<InitialMember>,
    /// Whether the first start forms a cluster or joins one.
    pub initial_cluster_state: ClusterState,
    /// Distinguishes this cluster from others with the same addresses.
    pub initial_cluster_token: String,
    /// Members of a running cluster to join at the first start; empty means none.
    pub join: Vec<Url>,
    /// What to do about a quorum that is lost for good.
    pub recovery: QuorumRecovery,
    /// Whether a membership change that would lose the quorum is refused.
    pub strict_reconfig_check: bool,
    /// Maximum number of learners in the cluster.
    pub max_learners: u32,

    /// Time between two heartbeats of the leader.
    pub heartbeat_interval: Duration,
    /// Time without a leader before an election; at least five heartbeats, at most 50 s.
    pub election_timeout: Duration,
    /// Log entries between two snapshots; positive.
    pub snapshot_count: u64,
    /// Log entries kept behind a snapshot.
    pub snapshot_catchup_entries: u64,

    /// Bytes the key space may use; `None` means no limit.
    pub quota_backend_bytes: Option<u64>,
    /// Free bytes of the disk below which writes are refused.
    pub disk_reserve: DiskReserve,
    /// Whether a member clears its own alarm once there is space again.
    pub alarm_auto_clear: bool,
    /// Switches of experimental features.
    pub feature_gates: FeatureGates,
    /// Operations in one transaction; positive.
    pub max_txn_ops: usize,
    /// Bytes in one request, without the overhead gRPC is allowed; positive.
    pub max_request_bytes: usize,
    /// Open calls on one client connection; positive.
    pub max_concurrent_streams: u32,

    /// Whether the API is served as JSON over HTTP, too.
    pub enable_grpc_gateway: bool,
    /// Origins whose pages may read HTTP responses; `*` is all.
    pub cors: Vec<String>,
    /// Host names that HTTP requests may carry; `*` is all.
    pub host_whitelist: Vec<String>,

    /// Shortest time between two pings of a client.
    pub grpc_keepalive_min_time: Duration,
    /// Time between two pings to an idle client; `None` means never.
    pub grpc_keepalive_interval: Option<Duration>,
    /// Time for a client to answer a ping; positive.
    pub grpc_keepalive_timeout: Duration,
    /// Time between two progress notifications on an idle watch; positive.
    pub watch_progress_notify_interval: Duration,

    /// How automatic compaction removes history.
    pub auto_compaction: AutoCompaction,
    /// Revisions per batch of a compaction; positive.
    pub compaction_batch_limit: u32,
    /// Pause between two batches of a compaction.
    pub compaction_sleep_interval: Duration,

    /// Duration of applying a batch of entries above which to warn.
    pub warning_apply_duration: Duration,
    /// Time between two comparisons of the members' states; zero means never.
    pub corrupt_check_time: Duration,
    /// Time between two comparisons of the hashes of compactions; `None` means never.
    pub compact_hash_check_time: Option<Duration>,
    /// Duration of a unary call above which to warn.
    pub warning_unary_request_duration: Duration,

    /// How tokens are made and verified.
    pub tokens: TokenProvider,
    /// Cost of a new password hash; from 4 to 31.
    pub bcrypt_cost: u32,
    /// Where the audit log goes.
    pub audit_log: AuditTarget,

    /// Lowest level that is logged.
    pub log_level: LogLevel,
    /// Format of log lines.
    pub log_format: LogFormat,
    /// Outputs of the log; never empty, without duplicates.
    pub log_outputs: Vec<LogOutput>,
    /// The metrics that are collected.
    pub metrics: MetricsLevel,
}

/// Free bytes of the disk below which writes are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiskReserve {
    /// Derived from the size of the file system.
    Derived,
    /// This number; zero means that nothing is reserved.
    Bytes(u64),
}

/// How members are found by SRV records of DNS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrvDiscovery {
    /// The domain of the records.
    pub domain: String,
    /// The suffix of their services; may be empty.
    pub suffix: String,
    /// The name server to ask; `None` means those of the system.
    pub name_server: Option<SocketAddr>,
    /// Peer URLs that a start with data found; only their hosts count.
    pub peers: Vec<Url>,
}

/// Whether the first start forms a cluster or joins one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    /// Form a new cluster.
    New,
    /// Join an existing one.
    Existing,
}

/// What to do about a quorum that is lost for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuorumRecovery {
    /// Nothing: the quorum is there, or will be.
    Off,
    /// Print what this member holds, and end.
    Plan,
    /// Start as the only member of a new cluster, if this is the confirmation of the plan.
    Confirmed(String),
    /// Start as the only member of a new cluster, unless it is the only one already.
    Forced,
}

/// How automatic compaction removes history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Off.
    Off,
    /// Removes history older than this; positive.
    Periodic(Duration),
    /// Keeps this number of latest revisions; positive.
    Revision(i64),
}

/// Lowest level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Every request.
    Debug,
    /// Changes of state.
    Info,
    /// Failures that were handled.
    Warn,
    /// Failures that require action by an operator.
    Error,
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// Text for people.
    Console,
}

/// An output of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
}

/// The metrics that are collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsLevel {
    /// Counters and gauges, and the histograms of disks and peers.
    Basic,
    /// Also the duration of every call.
    Extensive,
}
