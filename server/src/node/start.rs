//! Starts a node: storage, consensus, and the tasks around it, in dependency order.

mod calls;
mod core;
mod data;
mod events;
mod raft_config;

use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tenure_statemachine::{EngineError, Fault, MemberId};
use thiserror::Error;
use tokio::sync::watch;
use tonic::service::{Routes, interceptor::InterceptedService};

use self::{
    calls::Calls,
    core::Core,
    data::{Data, Opened},
    events::Events,
};
use super::{
    collection::{self, Collected, CollectionPace},
    compaction_hashes, digests,
    founding::Founding,
    history_hashes::HistoryHashes,
    log_retention::{self, LogLimits},
    member_calls::MemberCalls,
    node::Node,
    peer_requests::Requests,
    quarantine, reclaim,
    reconfiguration::{self, Reconfiguration, ReconfigurationRules},
    recovery::Recovery,
    status::Identity,
    waiters::Waiters,
};
use crate::{
    clock::Clock,
    consensus::PeerNode,
    events::{ClaimHub, LeaseFeed, WatchHub},
    metrics::Metrics,
    raft::{
        DigestPoint, DiscoveryService, Machine, Newcomers, PeerAccess, PeerService, Peers, Roster,
        Stored,
    },
    storage::{DataDir, DataDirError, LogStore, StateStore},
    tasks,
    transport::Transport,
};

/// Time between two scans for groups whose deadline has passed.
const EXPIRY_INTERVAL: Duration = Duration::from_millis(200);

/// Configuration of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The node's ids and name.
    pub identity: Identity,
    /// Identifies the data directory; see [`crate::storage::Owner`].
    pub instance_id: u64,
    /// The members that form the quorum if the log is empty, or those of the quorum that this node
    /// joins; none if the flags name another.
    pub founders: BTreeMap<u64, PeerNode>,
    /// Whether the founders form the quorum, and not one that this node joins.
    pub may_form: bool,
    /// Peer URLs of members as the flags of this start have them: they are asked for members that
    /// the log does not name.
    pub introducers: Vec<String>,
    /// What changes of the membership are held to.
    pub reconfiguration: ReconfigurationRules,
    /// Time between heartbeats.
    pub heartbeat_interval: Duration,
    /// Time without a leader before an election.
    pub election_timeout: Duration,
    /// Limits on the files kept beside the state.
    pub log_limits: LogLimits,
    /// Entries kept behind a snapshot for lagging followers.
    pub snapshot_catchup_entries: u64,
    /// Pace at which compacted history is removed.
    pub collection: CollectionPace,
    /// Time limit of a request.
    pub request_timeout: Duration,
    /// Time that applying a batch of entries may take without a warning.
    pub warning_apply_duration: Duration,
    /// Time between two comparisons of the members' states; zero disables them.
    pub compare_every: Duration,
    /// Time between two comparisons of the hashes of compactions; `None` disables them.
    pub compare_compactions_every: Option<Duration>,
    /// Names this life of the node; never reused.
    pub origin: u64,
}

/// Why a node did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The log could not be opened, read or written.
    #[error("the log could not be opened")]
    Log(#[source] std::io::Error),
    /// The state could not be opened.
    #[error("the state could not be opened")]
    State(#[from] EngineError),
    /// The state could not be read.
    #[error("the state could not be read")]
    Fault(#[from] Fault),
    /// The log and the state are inconsistent.
    #[error(
        "the log and the state in {path} do not belong together; put back what was replaced, or \
         replace the member: remove it and add it again with an empty data directory"
    )]
    Mismatch {
        /// The data directory.
        path: PathBuf,
        /// The inconsistency.
        #[source]
        source: std::io::Error,
    },
    /// The log is empty but has held entries before.
    #[error(
        "this member's log is gone: {0} says that it held entries, and there are none; restore the \
         directory, or replace the member: remove it and add it again with an empty data directory"
    )]
    LogGone(PathBuf),
    /// The state is damaged, and no other member is known from which to restore it.
    #[error(
        "the state in {0} is damaged, and nothing there names the other members; start with \
         --initial-cluster and --initial-cluster-token as at the first start, all members listed \
         and --initial-cluster-state new, or replace the member: remove it and add it again with \
         an empty data directory"
    )]
    NobodyToAsk(PathBuf),
    /// The records of the other members could not be read.
    #[error("what is known of the other members could not be read")]
    Peers(#[source] std::io::Error),
    /// The identity file could not be written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The membership does not contain this node.
    #[error(
        "member {0} is in no membership that this node knows: the data directory belongs to \
         another member than --initial-cluster describes; correct --name, --initial-cluster and \
         --initial-advertise-peer-urls, or start with an empty data directory"
    )]
    NoMember(MemberId),
    /// The member was removed from its cluster.
    #[error(
        "member {0} was removed from the cluster, for ever: the data directory is of no more use; \
         to run a member here, remove the directory, add the member again, and start it with \
         --initial-cluster-state existing"
    )]
    Removed(MemberId),
    /// Another data directory was used under this member's id.
    #[error(
        "member {own} has already been bootstrapped: member {peer} knows it with another data \
         directory, which holds what this one lacks; start with that directory, or replace the \
         member: remove it and add it again with an empty data directory"
    )]
    AlreadyBootstrapped {
        /// This member.
        own: MemberId,
        /// The member that reported it.
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
        /// The member that reported it.
        peer: MemberId,
        /// The index that was acknowledged to that member.
        acknowledged: u64,
        /// The index of the last entry in the log.
        last: u64,
    },
    /// Consensus did not start.
    #[error("consensus did not start: {0}")]
    Raft(String),
}

/// A started node and the service for its peers.
#[derive(Debug)]
pub struct Started {
    /// The node.
    pub node: Arc<Node>,
    /// Distributes events to watchers.
    pub hub: Arc<WatchHub>,
    /// Reports new leases.
    pub leases: Arc<LeaseFeed>,
    /// Notifies tasks that wait for a lock or an election.
    pub claims: Arc<ClaimHub>,
    /// The routes of the peer service.
    pub peer_routes: Routes,
}

/// The node's external dependencies, which a simulation replaces.
#[derive(Clone)]
pub struct Environment {
    /// Monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Connections to peers.
    pub transport: Arc<dyn Transport>,
    /// Metrics of the process.
    pub metrics: Arc<Metrics>,
    /// Reports whether the node restores its state before it starts.
    pub recovery: Arc<Recovery>,
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
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
    environment: Environment,
) -> Result<Started, StartError> {
    let checks = (config.compare_every, config.compare_compactions_every);
    let data = Data::open(&config, &dir, &environment).await?;
    let (listener, events) = Events::new(&config, &environment, &data.store, data.meta()?);
    let opened = data.open_machine(&config, &dir, &environment, Arc::new(listener));
    let Opened {
        log,
        roster,
        peers,
        store,
        machine,
    } = opened.await?;
    let stored = stored(&machine);
    let point = machine.digest_point();
    let core = Core::start(&config, &environment, &events, log.clone(), &peers, machine).await?;
    let calls = Calls::spawn(&config, &environment, &core, &events, &peers);
    retain_log(&config, &environment, &core, &events, log, &stored);
    let collected = collect(&config, &dir, &events, &store);
    spawn_expiry(Arc::clone(&events.waiters), Arc::clone(&environment.clock));
    let member_calls = member_calls(&config, &core, &events, &peers, &store);
    let changes = member_calls.clone();
    let hashes = Arc::new(HistoryHashes::new(Arc::clone(&store)));
    let compared = (&point, &hashes);
    let requests = calls.of_peers(&config, &environment, &core, &peers, compared, changes);
    let (access, peer_routes) = peer_routes(&config, &environment, &core, roster, stored, requests);
    let node = Arc::new(Node {
        identity: config.identity,
        store,
        batcher: calls.batcher,
        reads: calls.reads,
        clock: events.clock,
        leadership: core.leadership,
        contact: core.contact,
        applied: events.applied,
        meta: events.meta,
        integrity: events.integrity,
        hashes,
        collected,
        request_timeout: config.request_timeout,
        proposals: environment.metrics.proposals.clone(),
        leases: Arc::clone(&events.leases),
        compacting: Arc::new(Mutex::new(false)),
        backlog: core.backlog,
        member_calls,
        stopping: core.stopping,
        founding: Founding {
            own: core.own,
            raft: core.raft.clone(),
            peers: Arc::clone(&peers),
            access,
            dir: Arc::new(dir),
            founders: config.founders,
            may_form: config.may_form,
        },
        raft: core.raft,
    });
    spawn_checks(&node, peers, point, checks);
    Ok(Started {
        node,
        hub: events.hub,
        leases: events.leases,
        claims: events.claims,
        peer_routes,
    })
}

/// Starts the comparisons of the members' data, at these intervals, and what follows from them.
fn spawn_checks(
    node: &Arc<Node>,
    peers: Arc<Peers>,
    point: Arc<DigestPoint>,
    (every, compactions_every): (Duration, Option<Duration>),
) {
    digests::spawn(digests::Parts::of(node, peers, point, every));
    compaction_hashes::spawn(node, compactions_every);
    quarantine::spawn(node);
}

/// Changes of the membership, which this node makes while it leads.
fn member_calls(
    config: &NodeConfig,
    core: &Core,
    events: &Events,
    peers: &Arc<Peers>,
    store: &Arc<StateStore>,
) -> MemberCalls {
    let changes = Reconfiguration::spawn(reconfiguration::Parts {
        raft: core.raft.clone(),
        own: core.own,
        store: Arc::clone(store),
        removed: Arc::clone(peers.roster().removed()),
        leadership: core.leadership.clone(),
        rules: config.reconfiguration,
        turn: tokio::sync::Mutex::new(()),
        meta: events.meta.clone(),
    });
    MemberCalls {
        changes,
        own: core.own,
        leadership: core.leadership.clone(),
        peers: Arc::clone(peers),
        directory: Arc::new(core.raft.clone()),
        clock: Arc::clone(&events.clock),
    }
}

/// Starts what removes compacted history, and gives its bytes back.
fn collect(
    config: &NodeConfig,
    dir: &DataDir,
    events: &Events,
    store: &Arc<StateStore>,
) -> watch::Receiver<Collected> {
    let (store, floor) = (Arc::clone(store), events.floor.clone());
    let collected = collection::spawn(Arc::clone(&store), floor, config.collection);
    reclaim::spawn(reclaim::Parts {
        store,
        directory: dir.path().to_owned(),
        meta: events.meta.clone(),
        collected: collected.clone(),
    });
    collected
}

/// Starts what purges the log and makes snapshots.
fn retain_log(
    config: &NodeConfig,
    environment: &Environment,
    core: &Core,
    events: &Events,
    log: LogStore,
    stored: &Stored,
) {
    log_retention::spawn(log_retention::Parts {
        raft: core.raft.clone(),
        log,
        applied: events.applied.clone(),
        newest: stored.newest.clone(),
        metrics: environment.metrics.disk.clone(),
        limits: config.log_limits,
    });
}

/// The snapshots that other members may fetch.
fn stored(machine: &Machine) -> Stored {
    Stored {
        snapshots: machine.snapshots(),
        newest: machine.newest(),
        refusals: machine.refusals(),
    }
}

/// The service for the other members, and its access control.
fn peer_routes(
    config: &NodeConfig,
    environment: &Environment,
    core: &Core,
    roster: Arc<Roster>,
    stored: Stored,
    requests: Arc<Requests>,
) -> (PeerAccess, Routes) {
    let metrics = Arc::clone(&environment.metrics);
    let founders = config.founders.keys().copied().collect();
    let cluster_id = config.identity.cluster_id;
    let told = config.founders.values().flat_map(|node| &node.peer_urls);
    let others = told.chain(&config.introducers).cloned().collect();
    let newcomers = Newcomers::new(Arc::clone(&environment.transport), cluster_id, others);
    let (newcomers, counted) = (Arc::new(newcomers), Arc::clone(&metrics));
    let access = PeerAccess::new(core.raft.clone(), roster, founders, newcomers, counted);
    let service = PeerService::server(core.raft.clone(), stored, requests, metrics, access.clone());
    let discovery = DiscoveryService::server(core.raft.clone(), cluster_id);
    let routes = Routes::new(InterceptedService::new(service, access.clone()));
    let routes = routes.add_service(discovery);
    (access, routes)
}

fn spawn_expiry(waiters: Arc<Waiters>, clock: Arc<dyn Clock>) {
    tasks::spawn("expiry", async move {
        loop {
            tokio::time::sleep(EXPIRY_INTERVAL).await;
            waiters.expire(clock.now());
        }
    });
}
