//! An in-process node for tests: a state machine in memory that applies at once.
//!
//! Not a simulation: nothing fails unless a test requires it. Invariant: as on a real node, the
//! state can be read before its events are published, and both happen before the reply.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tenure_statemachine::{
    ClusterTime, Command, Context, Engine, KeyRange, LeaseId, MemEngine, MemberId, Outcome,
    RangeQuery, Reader, Revision, StateMachine, Table, Ttl, WriteBatch, WriteOp, worded_for,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};

use super::{Limits, Services};
use crate::{
    auth::{Auth, Entropy, SystemEntropy, audit::AuditLog, passwords::Passwords, tokens::Tokens},
    clock::{RuntimeClock, SystemWallClock, WallClock},
    config::{AuditTarget, MetricsLevel, TokenProvider},
    consensus::Membership,
    events::{ClaimHub, LeaseFeed, WatchHub},
    metrics::Metrics,
    node::{
        ChangeError, Changed, Identity, Integrity, Leadership, Member, MemberChange, ProposeError,
        ReadIndexError, Refusal, Replica, Status, StorageBytes, TransferError, hand_on,
    },
};

/// As key and range end: all keys.
static ALL: Bytes = Bytes::from_static(b"\0");

/// bcrypt's least cost: a millisecond.
const PASSWORD_COST: u32 = 4;

pub(crate) const CLUSTER: u64 = 0xc1;
pub(crate) const MEMBER: MemberId = MemberId(0xa1);
pub(crate) const TERM: u64 = 3;

/// The node. Tests set its fields to control it.
#[derive(Debug)]
pub(crate) struct FakeNode {
    identity: Identity,
    machine: Mutex<StateMachine>,
    engine: Arc<dyn Engine>,
    pub(crate) hub: Arc<WatchHub>,
    /// Whether events stay unpublished, as when the state comes from another node.
    pub(crate) muted: AtomicBool,
    /// Whether the events of commands are omitted, as when they are too many.
    pub(crate) leaves_events_out: AtomicBool,
    pub(crate) feed: Arc<LeaseFeed>,
    pub(crate) claims: Arc<ClaimHub>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) leadership: watch::Sender<Leadership>,
    integrity: watch::Sender<Integrity>,
    /// Cluster time in milliseconds.
    pub(crate) now: AtomicU64,
    pub(crate) staleness: Mutex<Option<Duration>>,
    /// Age in milliseconds of the last contact with a leader.
    pub(crate) leaderless_ms: AtomicU64,
    /// How often a confirmation was requested.
    pub(crate) freshened: AtomicU64,
    pub(crate) propose_error: Mutex<Option<ProposeError>>,
    /// Why changes of the membership are refused.
    pub(crate) change_refused: Mutex<Option<Refusal>>,
    /// Whether proposals wait, as without a quorum.
    pub(crate) is_stalled: watch::Sender<bool>,
    pub(crate) barrier_error: Mutex<Option<ReadIndexError>>,
    /// Milliseconds of cluster time that pass during a read barrier.
    pub(crate) barrier_takes: AtomicU64,
    pub(crate) transfer_error: Mutex<Option<TransferError>>,
    pub(crate) logical_bytes: AtomicU64,
    /// The floor that collection has passed.
    pub(crate) collected: watch::Sender<Revision>,
    pub(crate) compactions: AtomicU64,
    /// Every proposed command, failed ones included.
    pub(crate) proposals: Mutex<Vec<Command>>,
    /// Number of applied commands, for tests that wait.
    pub(crate) applied: watch::Sender<u64>,
}

impl FakeNode {
    /// A leader with an empty store.
    pub(crate) fn leading() -> Arc<Self> {
        Self::leading_over(Arc::new(MemEngine::new()))
    }

    /// A leader with an empty store in this engine.
    pub(crate) fn leading_over(engine: Arc<dyn Engine>) -> Arc<Self> {
        let machine = StateMachine::open(Arc::clone(&engine)).expect("an empty engine opens");
        let metrics = Metrics::new(MetricsLevel::Basic);
        let leadership = Leadership {
            leader: Some(MEMBER),
            term: TERM,
            is_leader: true,
            is_learner: false,
        };
        Arc::new(Self {
            identity: Identity {
                cluster_id: CLUSTER,
                member_id: MEMBER,
                name: "one".to_owned(),
            },
            machine: Mutex::new(machine),
            engine,
            hub: WatchHub::new(Revision::EMPTY),
            muted: AtomicBool::new(false),
            leaves_events_out: AtomicBool::new(false),
            feed: LeaseFeed::new(),
            claims: ClaimHub::new(metrics.lock.clone()),
            metrics,
            leadership: watch::channel(leadership).0,
            integrity: watch::Sender::default(),
            now: AtomicU64::new(1000),
            staleness: Mutex::new(Some(Duration::ZERO)),
            leaderless_ms: AtomicU64::new(0),
            freshened: AtomicU64::new(0),
            propose_error: Mutex::default(),
            change_refused: Mutex::default(),
            is_stalled: watch::channel(false).0,
            barrier_error: Mutex::default(),
            barrier_takes: AtomicU64::default(),
            transfer_error: Mutex::default(),
            logical_bytes: AtomicU64::new(0),
            collected: watch::channel(Revision(-1)).0,
            compactions: AtomicU64::new(0),
            proposals: Mutex::default(),
            applied: watch::channel(0).0,
        })
    }

    pub(crate) fn services(self: &Arc<Self>, limits: Limits) -> Arc<Services> {
        let replica: Arc<dyn Replica> = Arc::clone(self) as _;
        let (hub, claims) = (Arc::clone(&self.hub), Arc::clone(&self.claims));
        Services::new(replica, hub, claims, limits, auth(&self.metrics))
    }

    pub(crate) fn apply(&self, command: &Command) -> Outcome {
        let mut machine = self.machine.lock();
        let index = machine.meta().applied_index + 1;
        let now = ClusterTime(self.now.load(Ordering::SeqCst));
        let mut batch = machine.begin();
        let outcome = batch
            .apply(
                &Context {
                    index,
                    term: TERM,
                    now,
                },
                command,
            )
            .expect("the engine in memory does not fail");
        batch.commit().expect("the engine in memory does not fail");
        let alarms = Reader::new(self.engine.as_ref()).and_then(|reader| reader.alarms());
        let alarms = alarms.expect("it reads");
        self.integrity.send_replace(Integrity::of(&alarms, MEMBER));
        if !self.muted.load(Ordering::SeqCst) {
            let mut published = outcome.clone();
            if self.leaves_events_out.load(Ordering::SeqCst) {
                published.events.clear();
            }
            hand_on(&self.hub, &self.claims, &mut published);
        }
        self.feed.observe(&outcome);
        self.applied.send_modify(|applied| *applied += 1);
        outcome
    }

    /// Every key, in order.
    pub(crate) fn keys(&self) -> Vec<Bytes> {
        let query = RangeQuery::latest(KeyRange::from_wire(ALL.clone(), ALL.clone()));
        let reader = Reader::new(self.engine.as_ref()).expect("it reads");
        let found = reader.range(&query).expect("it reads");
        found.kvs.into_iter().map(|kv| kv.key).collect()
    }

    /// The keys that are attached to leases of this generation.
    pub(crate) fn keys_of_leases(&self, ttl: Ttl) -> Vec<Bytes> {
        let reader = Reader::new(self.engine.as_ref()).expect("it reads");
        let mut leases = reader.leases().expect("it reads");
        leases.retain(|lease| lease.ttl == ttl);
        let keys = leases
            .iter()
            .flat_map(|lease| reader.lease_keys(lease.id).expect("it reads"));
        keys.collect()
    }

    /// As a restore leaves the state: without the secret of tokens.
    pub(crate) fn forget_token_secret(&self) {
        let op = WriteOp::Delete(Table::Cluster, Bytes::from_static(b"J"));
        let batch = WriteBatch { ops: vec![op] };
        self.engine
            .write(batch)
            .expect("the engine in memory does not fail");
    }

    pub(crate) fn set_leader(&self, leader: Option<MemberId>) {
        let is_leader = leader == Some(MEMBER);
        self.leadership.send_replace(Leadership {
            leader,
            term: TERM,
            is_leader,
            is_learner: false,
        });
    }

    pub(crate) fn set_learner(&self) {
        self.leadership.send_modify(|now| now.is_learner = true);
    }
}

/// Signed tokens, cheap passwords, and no audit log.
fn auth(metrics: &Metrics) -> Arc<Auth> {
    let clock = RuntimeClock::shared();
    let wall_clock: Arc<dyn WallClock> = Arc::new(SystemWallClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let ttl = Duration::from_secs(3600);
    let tokens = Tokens::open(
        &TokenProvider::Signed { ttl },
        Arc::clone(&clock),
        Arc::clone(&wall_clock),
        Arc::clone(&entropy),
    );
    let passwords = Passwords::start(PASSWORD_COST, clock, entropy, metrics.auth.clone());
    let audit = AuditLog::open(&AuditTarget::Off, wall_clock, metrics.auth.clone());
    Arc::new(Auth {
        tokens: tokens.expect("no keys are read"),
        passwords: passwords.expect("threads start"),
        audit: audit.expect("there is none"),
        certificates_name_users: false,
    })
}

/// A connection to a server of these services.
pub(crate) async fn connected(services: Arc<Services>) -> Channel {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let routes = super::routes(services);
    crate::tasks::spawn("test-server", async move {
        Server::builder()
            .add_routes(routes)
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
    });
    let channel = Channel::from_shared(format!("http://{address}")).expect("a valid address");
    channel.connect().await.expect("it listens")
}

#[tonic::async_trait]
impl Replica for FakeNode {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn status(&self) -> Status {
        let leadership = *self.leadership.borrow();
        let applied = self.machine.lock().meta().applied_index;
        let member = |id: u64, url: &str| Member {
            id: MemberId(id),
            name: format!("configured-{id:x}"),
            peer_urls: vec![url.to_owned()],
            is_learner: false,
            has_vote: true,
        };
        Status {
            term: leadership.term,
            leader: leadership.leader,
            is_leader: leadership.is_leader,
            is_learner: false,
            has_vote: true,
            last_log_term: TERM,
            last_log_index: applied,
            committed_index: applied,
            applied_index: applied,
            members: vec![
                member(MEMBER.0, "http://one:2380"),
                member(0xb2, "http://two:2380"),
            ],
            removed: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.engine)
    }

    async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        let level = self.machine.lock().meta().level;
        let command = worded_for(command, level);
        self.proposals.lock().push(command.clone());
        if let Some(error) = *self.propose_error.lock() {
            return Err(error);
        }
        let mut stalled = self.is_stalled.subscribe();
        // The sender is `self`.
        _ = stalled.wait_for(|stalled| !stalled).await;
        Ok(self.apply(&command))
    }

    async fn read_barrier(&self) -> Result<(), ReadIndexError> {
        let takes = self.barrier_takes.load(Ordering::SeqCst);
        self.now.fetch_add(takes, Ordering::SeqCst);
        (*self.barrier_error.lock()).map_or(Ok(()), Err)
    }

    fn staleness(&self) -> Option<Duration> {
        *self.staleness.lock()
    }

    fn leaderless_for(&self) -> Duration {
        Duration::from_millis(self.leaderless_ms.load(Ordering::SeqCst))
    }

    fn freshen(&self) {
        self.freshened.fetch_add(1, Ordering::SeqCst);
    }

    async fn reached(&self, revision: Revision) {
        let mut applied = self.applied.subscribe();
        let reached = |_: &u64| self.machine.lock().meta().revision >= revision;
        _ = applied.wait_for(reached).await;
    }

    async fn change_members(&self, change: MemberChange) -> Result<Changed, ChangeError> {
        let refused = *self.change_refused.lock();
        refused.map_or(Ok(()), |refusal| Err(ChangeError::from(refusal)))?;
        let added = matches!(change, MemberChange::Add { .. });
        Ok(Changed {
            added: added.then_some(MemberId(0xc3)),
            membership: Membership::default(),
        })
    }

    fn cluster_time(&self) -> ClusterTime {
        ClusterTime(self.now.load(Ordering::SeqCst))
    }

    async fn transfer_leader(&self, _target: MemberId) -> Result<(), TransferError> {
        (*self.transfer_error.lock()).map_or(Ok(()), Err)
    }

    fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    fn integrity(&self) -> watch::Receiver<Integrity> {
        self.integrity.subscribe()
    }

    fn grant_places(&self) -> HashMap<LeaseId, u64> {
        self.feed.places()
    }

    async fn collected(&self, floor: Revision) {
        let mut collected = self.collected.subscribe();
        _ = collected.wait_for(|passed| *passed >= floor).await;
    }

    fn compact_storage(&self) {
        self.compactions.fetch_add(1, Ordering::SeqCst);
    }

    fn storage_bytes(&self) -> StorageBytes {
        StorageBytes {
            logical: self.logical_bytes.load(Ordering::SeqCst),
            in_use: 7,
        }
    }
}
