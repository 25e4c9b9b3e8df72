//! Builds the parts of the server in order, runs them, and shuts them down in order.

mod discovery;
mod health;
mod identity;
mod join;
mod observe;
mod publish;
mod quorum_recovery;
mod recovering;
mod restored;
mod serve;
mod space;
mod supervisor;
mod tls;

use std::{io, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use self::supervisor::Supervisor;
pub use self::{
    discovery::DiscoveryError,
    join::JoinError,
    quorum_recovery::{RecoveryError, plan as recovery_plan},
    tls::TlsError,
};
use axum::Router;
use thiserror::Error;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    admin,
    auth::{Auth, AuthError},
    backup::ImportError,
    clock::{Clock, RuntimeClock},
    config::{Bind, Config, ConfigErrors, VERSION},
    duties::{Expirer, ExpirerSettings, Waker, spawn_auto_compaction},
    events::{ClaimHub, LeaseFeed},
    metrics::Metrics,
    node::{
        self, CollectionPace, Environment, LogLimits, NodeConfig, ReconfigurationRules, StartError,
        Started,
    },
    rpc::{self, Limits, Services},
    storage::{DataDir, DataDirError, SeedError},
    tasks,
    transport::{TcpTransport, Transport},
};

/// Time for the servers to finish open calls at shutdown.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// How long a removed member still answers. etcd's value.
const REMOVED_PAUSE: Duration = Duration::from_secs(1);

/// Pause between two read barriers until the node is announced as ready.
const ANNOUNCE_PAUSE: Duration = Duration::from_millis(50);

/// Causes that end the server, other than a stop signal.
#[derive(Debug, Error)]
pub enum AppError {
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The settings for the first start contradict each other.
    #[error(transparent)]
    FirstStart(#[from] ConfigErrors),
    /// The members could not be found by records of DNS.
    #[error("the members cannot be found by --discovery-srv")]
    Discovery(#[from] DiscoveryError),
    /// The node cannot join the cluster.
    #[error("discovery failed: {0}")]
    Join(#[from] JoinError),
    /// The data directory that a tool restored could not be taken over.
    #[error("the data directory {path} was restored from a snapshot, and cannot be used")]
    Restored {
        /// The data directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Box<SeedError<ImportError>>,
    },
    /// The quorum could not be recovered.
    #[error("--recover: {0}")]
    Recovery(#[from] RecoveryError),
    /// The flags and the data directory name different members, and neither has data.
    #[error(
        "the data directory belongs to member {member_id:x} of cluster {cluster_id:x}, which never \
         held any data, but the flags describe member {configured_member_id:x} of cluster \
         {configured_cluster_id:x}; remove the data directory, or correct the flags"
    )]
    OtherOwner {
        /// The cluster id in the data directory.
        cluster_id: u64,
        /// The member id in the data directory.
        member_id: u64,
        /// The cluster id from the flags.
        configured_cluster_id: u64,
        /// The member id from the flags.
        configured_member_id: u64,
    },
    /// Identities can be neither proved nor recorded as the settings ask.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// The node did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The history of this member is not that of the others.
    #[error(transparent)]
    Inconsistent(#[from] node::Inconsistent),
    /// TLS or the cluster secret cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A listener could not be opened.
    #[error("{flag}: {address} could not be listened on; is another process using it?")]
    Listen {
        /// The flag that sets the address.
        flag: &'static str,
        /// The address.
        address: Bind,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A server ended before shutdown.
    #[error("a server stopped")]
    Served(#[source] tonic::transport::Error),
    /// The handlers for stop signals could not be installed.
    #[error("signals cannot be received")]
    Signals(#[source] io::Error),
}

impl AppError {
    /// Whether the member was removed: to start it again is of no use.
    #[must_use]
    pub const fn is_removal(&self) -> bool {
        matches!(self, Self::Start(StartError::Removed(_)))
    }
}

/// Runs the server until a stop signal arrives.
///
/// # Errors
/// See [`AppError`].
#[expect(
    clippy::too_many_lines,
    reason = "the order of the start and of the stop, in one place"
)]
pub async fn run(config: Arc<Config>) -> Result<(), AppError> {
    let supervisor = Supervisor::of_process();
    let clock = RuntimeClock::shared();
    let metrics = Metrics::new(config.metrics);
    let config = discovery::complete(config).await?;
    let secured = tls::Secured::open(&config, &metrics.tls)?;
    let exit = secured.exit();
    let transport: Arc<dyn Transport> = Arc::new(TcpTransport { exit });
    let auth = Auth::start(&config, Arc::clone(&clock), &metrics.auth)?;
    let mut listeners = serve::Listeners::open(&config, &*transport, &secured).await?;
    secured.watch();

    restored::take_over(&config)?;
    let dir = quorum_recovery::prepare(&config, DataDir::open(&config.data_dir)?)?;
    let founding = identity::decide(&config, &dir, &transport).await?;
    let node_config = node_config(&config, &founding);
    let environment = Environment {
        clock: Arc::clone(&clock),
        transport: Arc::clone(&transport),
        metrics: Arc::clone(&metrics),
        recovery: Arc::default(),
    };
    let recovery = Arc::clone(&environment.recovery);
    let starting = pin!(node::start(node_config, dir, environment));
    let started = recovering::meanwhile(&recovery, &mut listeners, &config, &metrics, starting);
    let Started {
        node,
        hub,
        leases,
        claims,
        peer_routes,
    } = started.await?;
    let limits = limits(&config);
    let replica: Arc<dyn node::Replica> = Arc::clone(&node) as _;
    spawn_duties(&replica, leases, &claims, clock, &config);
    let services = Services::new(replica, Arc::clone(&hub), claims, limits, Arc::clone(&auth));
    space::spawn(&services, &metrics, &config);
    observe::spawn(&node, &hub, &metrics, &config);

    let stopping = CancellationToken::new();
    let routes = (rpc::routes(Arc::clone(&services)), services.calls_layer());
    let pages = pages(&node, &metrics);
    let peers = serve::spawn_peers(&mut listeners, peer_routes, &metrics);
    let member = Arc::clone(&node);
    let mut founding = tasks::spawn("founding", async move { node::run(&member).await });
    check_history(&node, &config).await?;
    let mut serving = serve::spawn(
        listeners, peers, routes, pages, &config, &metrics, &stopping,
    );
    publish::spawn(Arc::clone(&node), Arc::clone(&config));
    announce(&node, &config, &supervisor).await;

    let ended = tokio::select! {
        // Cancel-safe: every arm ends the server, so the state of the others no longer matters.
        told = stop_signal() => told.map(|name| info!(signal = name, "told to stop")),
        ended = serving.next_end() => ended,
        () = node.removed() => {
            // It may still have to answer the leader that removed it.
            tokio::time::sleep(REMOVED_PAUSE).await;
            Err(StartError::Removed(node::Replica::identity(&*node).member_id).into())
        }
        // A member that was founded without an error disables this arm.
        Ok(Err(error)) = &mut founding => Err(error.into()),
    };
    supervisor.stopping();
    services.drain();
    node.step_down().await;
    stopping.cancel();
    if tokio::time::timeout(DRAIN_MAX, serving.clients_ended())
        .await
        .is_err()
    {
        warn!("some calls did not end in time and are cut off");
    }
    node.stop().await;
    close_audit_log(auth).await;
    info!("stopped");
    ended
}

/// The HTTP pages of the node.
fn pages(node: &Arc<node::Node>, metrics: &Arc<Metrics>) -> Router {
    let probes = Arc::new(health::Probes::new(Arc::clone(node)));
    admin::router(probes, Arc::clone(metrics))
}

/// Compares the node's history with that of the others, if it is to be compared at the start.
async fn check_history(node: &node::Node, config: &Config) -> Result<(), node::Inconsistent> {
    if config.feature_gates.initial_corrupt_check() {
        node::check_history(node).await?;
    }
    Ok(())
}

/// Writes the latest lines of the audit log, unless its disk hangs.
async fn close_audit_log(auth: Arc<Auth>) {
    let (done, closed) = oneshot::channel::<()>();
    // A thread of its own: the runtime would wait for a blocking task that hangs.
    let closing = tasks::spawn_thread("audit-close", move || {
        auth.audit.close();
        drop(done);
    });
    let in_time = closing.is_ok() && tokio::time::timeout(DRAIN_MAX, closed).await.is_ok();
    if !in_time {
        warn!("the latest lines of the audit log could not be written");
    }
}

/// Starts the duties, which act while this node leads.
fn spawn_duties(
    replica: &Arc<dyn node::Replica>,
    leases: Arc<LeaseFeed>,
    claims: &Arc<ClaimHub>,
    clock: Arc<dyn Clock>,
    config: &Config,
) {
    let settings = ExpirerSettings::of(config.election_timeout);
    _ = Expirer::spawn(Arc::clone(replica), leases, settings);
    _ = Waker::spawn(Arc::clone(replica), Arc::clone(claims));
    _ = spawn_auto_compaction(Arc::clone(replica), clock, config.auto_compaction);
}

/// Logs that the node serves clients, once it has applied what its leader had committed, and tells
/// the service manager.
async fn announce(node: &Arc<node::Node>, config: &Config, supervisor: &Supervisor) {
    supervisor.watch(health::Probes::new(Arc::clone(node)));
    let addresses: Vec<_> = config
        .listen_client_urls
        .iter()
        .map(ToString::to_string)
        .collect();
    let (name, node) = (config.name.clone(), Arc::clone(node));
    tasks::spawn("announce", async move {
        while node::Replica::read_barrier(&*node).await.is_err() {
            tokio::time::sleep(ANNOUNCE_PAUSE).await;
        }
        info!(
            member = name,
            version = VERSION,
            address = addresses.join(","),
            "ready to serve client requests"
        );
    });
}

async fn stop_signal() -> Result<&'static str, AppError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(AppError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AppError::Signals)?;
    Ok(tokio::select! {
        // Cancel-safe: either arm ends the server.
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

/// The peer URLs of other members that the flags name.
fn introducers(config: &Config) -> Vec<String> {
    let listed = config.initial_cluster.iter();
    let others = listed.filter(|member| member.name != config.name);
    let urls = others.flat_map(|member| &member.peer_urls);
    let discovered = config.discovery.iter().flat_map(|it| &it.peers);
    let urls = urls.chain(&config.join).chain(discovered);
    urls.map(ToString::to_string).collect()
}

fn node_config(config: &Config, founding: &identity::Founding) -> NodeConfig {
    NodeConfig {
        identity: founding.identity.clone(),
        instance_id: founding.instance_id,
        founders: founding.members.clone(),
        may_form: founding.may_form,
        introducers: introducers(config),
        reconfiguration: ReconfigurationRules {
            strict: config.strict_reconfig_check,
            learners_max: usize::try_from(config.max_learners).unwrap_or(usize::MAX),
        },
        heartbeat_interval: config.heartbeat_interval,
        election_timeout: config.election_timeout,
        log_limits: LogLimits::of(config.snapshot_count),
        snapshot_catchup_entries: config.snapshot_catchup_entries,
        collection: CollectionPace {
            batch_max: usize::try_from(config.compaction_batch_limit).unwrap_or(usize::MAX),
            pause: config.compaction_sleep_interval,
        },
        request_timeout: Limits::request_timeout(config.election_timeout),
        warning_apply_duration: config.warning_apply_duration,
        compare_every: config.corrupt_check_time,
        compare_compactions_every: config.compact_hash_check_time,
        origin: rand::random(),
    }
}

const fn limits(config: &Config) -> Limits {
    Limits {
        request_bytes_max: config.max_request_bytes,
        txn_operations_max: config.max_txn_ops,
        quota_bytes: config.quota_backend_bytes,
        request_timeout: Limits::request_timeout(config.election_timeout),
        election_timeout: config.election_timeout,
        lease_ttl_min: Limits::lease_ttl_min(config.election_timeout),
        progress_interval: config.watch_progress_notify_interval,
    }
}
