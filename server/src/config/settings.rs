//! The validated configuration: every field typed, derived and checked.
//!
//! Invariant: values are made by `validate` alone and shared as `Arc<Config>`, never changed.

use std::{path::PathBuf, time::Duration};

use super::{cluster::InitialMember, url::Url};

/// Everything an operator decided, or let be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// This member's name.
    pub name: String,
    /// Where this member keeps its data; not necessarily there yet.
    pub data_dir: PathBuf,

    /// Where to listen for peers; never empty, each with a bind address.
    pub listen_peer_urls: Vec<Url>,
    /// Where to listen for clients; never empty, each with a bind address.
    pub listen_client_urls: Vec<Url>,
    /// Where to serve the HTTP pages besides; each with a bind address.
    pub listen_metrics_urls: Vec<Url>,
    /// Where peers reach this member; never empty.
    pub initial_advertise_peer_urls: Vec<Url>,
    /// Where clients reach this member; never empty.
    pub advertise_client_urls: Vec<Url>,

    /// The members a first start is told about, by name; see [`Config::first_start`].
    pub initial_cluster: Vec<InitialMember>,
    /// Whether a first start forms or joins.
    pub initial_cluster_state: ClusterState,
    /// Sets this cluster apart from others with the same addresses.
    pub initial_cluster_token: String,
    /// Whether a membership change that would lose the quorum is refused.
    pub strict_reconfig_check: bool,
    /// Learners the cluster may have at a time.
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
    /// Operations in one transaction; positive.
    pub max_txn_ops: usize,
    /// Bytes in one request, without the overhead gRPC is allowed; positive.
    pub max_request_bytes: usize,
    /// Open calls on one client connection; positive.
    pub max_concurrent_streams: u32,

    /// Shortest time between two pings of a client.
    pub grpc_keepalive_min_time: Duration,
    /// Time between two pings to an idle client; `None` means never.
    pub grpc_keepalive_interval: Option<Duration>,
    /// Time a client has to answer a ping; positive.
    pub grpc_keepalive_timeout: Duration,
    /// Time between two progress notifications on an idle watch; positive.
    pub watch_progress_notify_interval: Duration,

    /// How history is forgotten without being asked.
    pub auto_compaction: AutoCompaction,
    /// Revisions that one step of a compaction removes; positive.
    pub compaction_batch_limit: u32,
    /// Pause between two steps of a compaction.
    pub compaction_sleep_interval: Duration,

    /// Applying an entry for longer is worth a warning.
    pub warning_apply_duration: Duration,
    /// Time between two comparisons of the members' states; zero for never.
    pub corrupt_check_time: Duration,
    /// A call that takes longer is worth a warning.
    pub warning_unary_request_duration: Duration,

    /// Lowest level that is logged.
    pub log_level: LogLevel,
    /// Form of a log line.
    pub log_format: LogFormat,
    /// Where log lines go; never empty, no output twice.
    pub log_outputs: Vec<LogOutput>,
    /// How much is measured.
    pub metrics: MetricsLevel,
}

/// Whether a first start forms a cluster or joins one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterState {
    /// Form a new cluster.
    New,
    /// Join an existing one.
    Existing,
}

/// How history is forgotten without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Not at all.
    Off,
    /// What is older than this; positive.
    Periodic(Duration),
    /// All but so many latest revisions; positive.
    Revision(i64),
}

/// Lowest level that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Every request.
    Debug,
    /// Changes of state.
    Info,
    /// What went wrong but was overcome.
    Warn,
    /// What a human must act on.
    Error,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for a human.
    Console,
}

/// A place log lines go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogOutput {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
}

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsLevel {
    /// Counters and gauges, and the histograms of disks and peers.
    Basic,
    /// The duration of every call besides.
    Extensive,
}
