//! Brings a node up: storage, consensus, and the tasks around it, in the order they need.

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use openraft::{SnapshotPolicy, StepDownPolicy, storage::RaftLogStorage};
use parking_lot::Mutex;
use tenure_statemachine::{EngineError, Fault, MemberId, Meta, StateMachine};
use thiserror::Error;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    abdication::Abdication,
    agreement,
    batcher::{self, Batcher},
    cluster_clock::ClusterClock,
    collected::Collected,
    collection::{self, CollectionPace},
    collector,
    confirmed::Confirmed,
    core_watch, digests, feature,
    forwarder::Forwarder,
    founding::Founding,
    keeper::{self, LogLimits},
    leadership::{self, Contact},
    node::Node,
    peer_requests::Requests,
    progress::Applied,
    proposer::Proposer,
    read_index::{self, ReadIndex},
    recovery::{self, Recovery},
    sink::Sink,
    slow_apply::SlowApply,
    status::Identity,
    waiters::Waiters,
};
use crate::{
    clock::Clock,
    consensus::PeerNode,
    events::{ClaimHub, LeaseFeed, WatchHub},
    metrics::Metrics,
    raft::{Gatekeeper, Machine, Network, PeerService, Peers, Raft, Roster, Stored},
    storage::{
        DataDir, DataDirError, KnownPeers, LogOwner, LogStore, Owner, SnapshotDir, StallLimits,
        StateStore, open_log,
    },
    tasks,
    transport::Transport,
};

/// Time after the last heartbeat at which the peers of a partitioned leader probe it again, in
/// leases.
const PROBE_LEASES: u64 = 3;
/// Entries purged at once.
const PURGE_BATCH: u64 = 512;
/// Entries in one message of replication; its bytes are bounded by the log's reader.
const APPEND_ENTRIES_MAX: u64 = 256;
/// Appends that openraft merges into one write.
const MERGED_ENTRIES_MAX: u64 = 4096;
/// Advisory only: the transfer has its own watch over time.
const SNAPSHOT_TIMEOUT_MS: u64 = 60_000;
/// How long a leader that was removed still leads.
const REMOVED_LEADER_GRACE_MS: u64 = 150;
/// How often groups that were not answered are looked through.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(200);

/// What a node needs to know to start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Who it is.
    pub identity: Identity,
    /// Which data directory it uses; see [`crate::storage::Owner`].
    pub instance_id: u64,
    /// The members of the quorum, should the log be empty; none when the flags name another one.
    pub founders: BTreeMap<u64, PeerNode>,
    /// Time between heartbeats.
    pub heartbeat_interval: Duration,
    /// Time without a leader before an election.
    pub election_timeout: Duration,
    /// What may be kept on disk beside the state.
    pub log_limits: LogLimits,
    /// Entries kept behind a snapshot for followers that lag.
    pub snapshot_catchup_entries: u64,
    /// How fast compacted history is taken away.
    pub collection: CollectionPace,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How long applying a batch of entries may take without a warning.
    pub warning_apply_duration: Duration,
    /// Time between two comparisons of the members' states; zero for never.
    pub compare_every: Duration,
    /// Names this life of the node; never the same twice.
    pub origin: u64,
}

/// Why a node did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The log could not be opened.
    #[error("the log could not be opened")]
    Log(#[source] std::io::Error),
    /// The state could not be opened.
    #[error("the state could not be opened")]
    State(#[from] EngineError),
    /// The state is damaged.
    #[error("the state could not be read")]
    Fault(#[from] Fault),
    /// Log and state are not of one time.
    #[error(
        "the log and the state in {path} do not belong together; put back what was replaced, or \
         replace the member: remove it and add it again with an empty data directory"
    )]
    Mismatch {
        /// The data directory.
        path: PathBuf,
        /// What does not agree.
        #[source]
        source: std::io::Error,
    },
    /// The log is empty and was not always.
    #[error(
        "this member's log is gone: {0} says that it held entries, and there are none; restore the \
         directory, or replace the member: remove it and add it again with an empty data directory"
    )]
    LogGone(PathBuf),
    /// The state is damaged, and nothing says who could have another one.
    #[error(
        "the state in {0} is damaged, and nothing there names the other members; start with \
         --initial-cluster and --initial-cluster-token as at the first start, all members listed \
         and --initial-cluster-state new, or replace the member: remove it and add it again with \
         an empty data directory"
    )]
    NobodyToAsk(PathBuf),
    /// What is known of the other members cannot be read.
    #[error("what is known of the other members could not be read")]
    Peers(#[source] std::io::Error),
    /// The identity file could not be written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The membership does not name this node.
    #[error(
        "member {0} is in no membership that this node knows: the data directory belongs to \
         another member than --initial-cluster describes; correct --name, --initial-cluster and \
         --initial-advertise-peer-urls, or start with an empty data directory"
    )]
    NoMember(MemberId),
    /// Another data directory was used under this member's id.
    #[error(
        "member {own} has already been bootstrapped: member {peer} knows it with another data \
         directory, which holds what this one lacks; start with that directory, or replace the \
         member: remove it and add it again with an empty data directory"
    )]
    AlreadyBootstrapped {
        /// This member.
        own: MemberId,
        /// Who says so.
        peer: MemberId,
    },
    /// The log lacks entries that were acknowledged.
    #[error(
        "the log of member {own} went back: it ends at entry {last}, and member {peer} was told \
         that entry {acknowledged} is durable here, so an older copy of the data directory is in \
         use; replace the member: remove it and add it again with an empty data directory"
    )]
    LogWentBack {
        /// This member.
        own: MemberId,
        /// Who says so.
        peer: MemberId,
        /// What was acknowledged to it.
        acknowledged: u64,
        /// The last entry there is.
        last: u64,
    },
    /// Consensus did not start.
    #[error("consensus did not start: {0}")]
    Raft(String),
}

/// A node that was started, and what serves its peers.
#[derive(Debug)]
pub struct Started {
    /// The node.
    pub node: Arc<Node>,
    /// Feeds the watchers.
    pub hub: Arc<WatchHub>,
    /// Tells of new leases.
    pub leases: Arc<LeaseFeed>,
    /// Tells whoever waits for a lock or an election.
    pub claims: Arc<ClaimHub>,
    /// Serves the peers.
    pub peer_routes: tonic::service::Routes,
}

/// What the node takes from outside, so that a simulation can bring its own.
#[derive(Clone)]
pub struct Surroundings {
    /// Monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Connections to peers.
    pub transport: Arc<dyn Transport>,
    /// Counts and measures.
    pub metrics: Arc<Metrics>,
    /// Whether the node brings back its state before it starts.
    pub recovery: Arc<Recovery>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

/// Starts a node on its data directory.
///
/// # Errors
/// See [`StartError`].
pub async fn start(
    config: NodeConfig,
    dir: DataDir,
    around: Surroundings,
) -> Result<Started, StartError> {
    let own = config.identity.member_id;
    let data = dir.path().to_owned();
    let owner = LogOwner {
        cluster_id: config.identity.cluster_id,
        member_id: own.0,
        instance_id: config.instance_id,
    };
    let disk = open_log(&dir.log(), owner).map_err(StartError::Log)?;
    let clock = Arc::clone(&around.clock);
    let syncs = around.metrics.disk.wal_fsync_duration.clone();
    let observe = Arc::new(move |took: Duration| syncs.observe(took.as_secs_f64()));
    let log =
        LogStore::open(Arc::new(disk), Arc::clone(&clock), observe).map_err(StartError::Log)?;
    let backlog = log.backlog();
    let found = recovery::open(&dir)?;
    let applied_index = match &found {
        Some(store) => meta_of(store)?.applied_index,
        None => 0,
    };
    let roster = open_roster(&config, &dir, log.clone(), applied_index).await?;
    let peers = Arc::new(
        Peers::new(around.transport, Arc::clone(&roster)).measured(&around.metrics.network),
    );
    let (store, (snapshots, newest)) = match found {
        Some(store) => (store, SnapshotDir::open(&dir.snapshots())?),
        None => recovery::recover(&dir, &log, &peers, &config.founders, &around.recovery).await?,
    };
    store.owned_by(config.instance_id)?;
    snapshots.owned_by(config.instance_id, newest.as_ref())?;
    let store = Arc::new(store);
    let snapshot = newest.as_ref().and_then(|(record, _)| record.last_applied);

    let before = meta_of(&store)?;
    let cluster_clock = Arc::new(ClusterClock::new(Arc::clone(&clock), before.now));
    let hub = WatchHub::new(before.revision);
    let waiters = Arc::new(Waiters::default());
    let leases = LeaseFeed::new();
    let claims = ClaimHub::new(around.metrics.lock.clone());
    let (applied_sender, applied) = watch::channel(Applied {
        index: before.applied_index,
        term: before.applied_term,
    });
    let (meta_sender, meta) = watch::channel(before);
    let (floor_sender, floor) = watch::channel(before.floor);
    let disk_metrics = around.metrics.disk.clone();
    let sink = Sink {
        origin: config.origin,
        hub: Arc::clone(&hub),
        waiters: Arc::clone(&waiters),
        clock: Arc::clone(&cluster_clock),
        applied: applied_sender,
        meta: meta_sender,
        floor: floor_sender,
        leases: Arc::clone(&leases),
        claims: Arc::clone(&claims),
        slow: SlowApply {
            expected: config.warning_apply_duration,
            count: around.metrics.server.slow_apply.clone(),
        },
        metrics: Arc::clone(&around.metrics),
    };
    let time = Arc::clone(&clock);
    let mut machine = Machine::open(Arc::clone(&store), snapshots, newest, Arc::new(sink), time)?;
    recovery::agree(&dir, &log, machine.last_applied()).await?;
    agreement::check(&log, &mut machine, snapshot, own.0)
        .await
        .map_err(|source| StartError::Mismatch { path: data, source })?;
    log.watch(StallLimits::of(config.election_timeout))
        .map_err(StartError::Log)?;
    let newest = machine.newest();
    let stored = Stored {
        snapshots: machine.snapshots(),
        newest: newest.clone(),
        refusals: machine.refusals(),
    };
    let point = machine.digest_point();

    let late = around.metrics.server.heartbeat_send_failures.clone();
    let network = Network::new(Arc::clone(&peers), late, newest.clone(), machine.refusals());
    let raft_config = Arc::new(raft_config(&config));
    let raft = Raft::build(
        own.0,
        Arc::clone(&raft_config),
        network,
        log.clone(),
        machine,
    )
    .await
    .map_err(|e| StartError::Raft(e.to_string()))?;
    let stopping = CancellationToken::new();
    core_watch::spawn(raft.clone(), stopping.clone());
    let contact = Arc::new(Contact::new(Arc::clone(&clock)));
    let confirmed = Arc::<Confirmed>::default();
    let leadership = leadership::spawn(leadership::Parts {
        raft: raft.clone(),
        own,
        contact: Arc::clone(&contact),
        confirmed: Arc::clone(&confirmed),
        lease: Duration::from_millis(raft_config.election_timeout_max),
        cluster_clock: Arc::clone(&cluster_clock),
        abdication: Abdication::new(Arc::clone(&backlog), config.election_timeout),
        silence_max: config.election_timeout * 2,
        interval: config.heartbeat_interval,
    });
    let proposer = Proposer::spawn(
        raft.clone(),
        own,
        Arc::clone(&cluster_clock),
        Arc::clone(&backlog),
    );
    let collected = Arc::<Collected>::default();
    let batcher = Batcher::spawn(batcher::Parts {
        origin: config.origin,
        waiters: Arc::clone(&waiters),
        proposer: proposer.clone(),
        forwarder: Forwarder::new(
            Arc::clone(&peers),
            Arc::new(raft.clone()),
            Arc::clone(&collected),
        ),
        leadership: leadership.clone(),
        applied: applied.clone(),
        meta: meta.clone(),
        offer_max: config.election_timeout,
        clock: Arc::clone(&clock),
        request_timeout: config.request_timeout,
    });
    feature::spawn(feature::Parts {
        raft: raft.clone(),
        peers: Arc::clone(&peers),
        own,
        batcher: batcher.clone(),
        leadership: leadership.clone(),
        meta: meta.clone(),
        interval: config.heartbeat_interval,
        age_max: config.election_timeout * 2,
    });
    let reads = ReadIndex::spawn(read_index::Parts {
        raft: raft.clone(),
        peers: Arc::clone(&peers),
        collected: Arc::clone(&collected),
        leadership: leadership.clone(),
        applied: applied.clone(),
        own,
        confirmed,
        round_every: config.heartbeat_interval,
        request_timeout: config.request_timeout,
        slow: around.metrics.server.slow_read_indexes.clone(),
        failed: around.metrics.server.read_indexes_failed.clone(),
    });
    keeper::spawn(keeper::Parts {
        raft: raft.clone(),
        log,
        applied: applied.clone(),
        newest,
        metrics: disk_metrics,
        limits: config.log_limits,
    });
    let compacted = collection::spawn(Arc::clone(&store), floor, config.collection);
    spawn_expiry(waiters, clock);

    let requests = Arc::new(Requests {
        proposer,
        raft: raft.clone(),
        contact: Arc::clone(&contact),
        backlog: Arc::clone(&backlog),
        reads: reads.clone(),
        point: Arc::clone(&point),
        collected,
        metrics: around.metrics.network.clone(),
    });
    collector::spawn(collector::Parts {
        raft: raft.clone(),
        peers: Arc::clone(&peers),
        own,
        leadership: leadership.clone(),
        requests: Arc::<Requests>::clone(&requests),
        interval: config.election_timeout,
    });
    let founders = config.founders.keys().copied().collect();
    let metrics = Arc::clone(&around.metrics);
    let proposals = metrics.proposals.clone();
    let gate = Gatekeeper::new(raft.clone(), roster, founders, around.metrics);
    let service = PeerService::server(raft.clone(), stored, requests, metrics, gate.clone());
    let service = tonic::service::interceptor::InterceptedService::new(service, gate.clone());
    let founding = Founding {
        own,
        raft: raft.clone(),
        peers: Arc::clone(&peers),
        gate,
        dir: Arc::new(dir),
        founders: config.founders,
    };
    let node = Arc::new(Node {
        identity: config.identity.clone(),
        raft: raft.clone(),
        store,
        batcher,
        reads,
        clock: cluster_clock,
        leadership,
        contact,
        applied,
        meta,
        collected: compacted,
        request_timeout: config.request_timeout,
        proposals,
        leases: Arc::clone(&leases),
        compacting: Arc::new(Mutex::new(false)),
        backlog,
        stopping,
        founding,
    });
    digests::spawn(digests::Parts {
        node: Arc::clone(&node),
        raft: raft.clone(),
        peers,
        point,
        applied: node.applied.clone(),
        every: config.compare_every,
    });
    Ok(Started {
        node,
        hub,
        leases,
        claims,
        peer_routes: tonic::service::Routes::new(service),
    })
}

fn meta_of(store: &StateStore) -> Result<Meta, Fault> {
    Ok(StateMachine::open(store.engine())?.meta().to_owned())
}

/// What is known of the other members, and whether this one may go on without its log.
async fn open_roster(
    config: &NodeConfig,
    dir: &DataDir,
    mut log: LogStore,
    applied_index: u64,
) -> Result<Arc<Roster>, StartError> {
    let state = log.get_log_state().await.map_err(StartError::Log)?;
    let holds = state.last_log_id.is_some() || state.last_purged_log_id.is_some();
    if holds {
        dir.mark_founded()?;
    } else if dir.is_founded() || applied_index > 0 {
        return Err(StartError::LogGone(dir.path().to_owned()));
    }
    let owner = Owner {
        cluster_id: config.identity.cluster_id,
        member_id: config.identity.member_id.0,
        instance_id: config.instance_id,
    };
    let known = KnownPeers::open(&dir.peers()).map_err(StartError::Peers)?;
    Ok(Arc::new(Roster::new(owner, holds, known)))
}

/// How a follower spends the time without a leader, in milliseconds.
///
/// openraft's follower first waits for the leader's lease to end, which is the longest election
/// timeout that it is given, and then for a random time between the shortest and the longest. What
/// users set is the silence after which an election may begin: the sum of lease and shortest wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ElectionTimes {
    /// The lease, and the longest wait after it.
    lease: u64,
    /// The shortest wait after it.
    wait_min: u64,
}

impl ElectionTimes {
    /// A wait below two and a half heartbeats would take one lost heartbeat for a lost leader; the
    /// spread between shortest and longest wait keeps two followers from campaigning at once.
    fn of(election: u64, heartbeat: u64) -> Self {
        let wait_min = (election * 3 / 10).max(heartbeat * 5 / 2 + 2);
        let lease = election
            .saturating_sub(wait_min)
            .max(wait_min + heartbeat.max(1));
        Self { lease, wait_min }
    }
}

fn raft_config(config: &NodeConfig) -> openraft::Config {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let heartbeat = millis(config.heartbeat_interval);
    let times = ElectionTimes::of(millis(config.election_timeout), heartbeat);
    openraft::Config {
        cluster_name: format!("{:016x}", config.identity.cluster_id),
        heartbeat_interval: heartbeat,
        heartbeat_min_interval: Some(heartbeat),
        election_timeout_min: times.wait_min,
        election_timeout_max: times.lease,
        enable_pre_vote: Some(true),
        quorum_loss_probe_interval: Some(times.lease * PROBE_LEASES),
        // A restarted leader must not take its old log for granted: what was not flushed is gone.
        enable_leader_restore: Some(false),
        allow_log_reversion: None,
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: config.snapshot_catchup_entries,
        purge_batch_size: PURGE_BATCH,
        max_payload_entries: APPEND_ENTRIES_MAX,
        max_append_entries: Some(MERGED_ENTRIES_MAX),
        api_batch_linger_ms: 0,
        broadcast_submitted_on_append: Some(true),
        install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
        removed_leader_step_down: StepDownPolicy::After(REMOVED_LEADER_GRACE_MS),
        ..openraft::Config::default()
    }
}

fn spawn_expiry(waiters: Arc<Waiters>, clock: Arc<dyn Clock>) {
    tasks::spawn("expiry", async move {
        loop {
            tokio::time::sleep(EXPIRY_INTERVAL).await;
            waiters.expire(clock.now());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_election_begins_after_the_silence_that_was_set_and_soon() {
        let times = ElectionTimes::of(1000, 100);
        assert_eq!(times.lease + times.wait_min, 1000);
        assert!(times.lease * 2 <= 1400, "the longest silence: {times:?}");
    }

    #[test]
    fn every_setting_that_is_allowed_makes_a_valid_raft_config() {
        for heartbeat in [1, 2, 10, 100, 500, 5000] {
            for factor in [5, 6, 10, 50] {
                let times = ElectionTimes::of(heartbeat * factor, heartbeat);
                let config = openraft::Config {
                    heartbeat_interval: heartbeat,
                    heartbeat_min_interval: Some(heartbeat),
                    election_timeout_min: times.wait_min,
                    election_timeout_max: times.lease,
                    quorum_loss_probe_interval: Some(times.lease * PROBE_LEASES),
                    ..openraft::Config::default()
                };
                config.validate().unwrap();
                assert!(times.lease + times.wait_min >= heartbeat * factor);
            }
        }
    }
}
