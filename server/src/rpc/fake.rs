//! A node of one process for tests: a state machine in memory that applies at once.
//!
//! Not a simulation: nothing fails unless a test says so. Invariant: as on a real node, the state
//! can be read before events are published, and both come before the reply.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tenure_statemachine::{
    ClusterTime, Command, Context, Engine, MemEngine, MemberId, Outcome, Revision, StateMachine,
};
use tokio::sync::watch;

use super::{
    Limits, Services,
    backend::{Backend, StorageBytes},
};
use crate::{
    lease::LeaseFeed,
    node::{Identity, Leadership, Member, ProposeError, ReadIndexError, Status, TransferError},
    watch::Hub,
};

pub(crate) const CLUSTER: u64 = 0xc1;
pub(crate) const MEMBER: MemberId = MemberId(0xa1);
pub(crate) const TERM: u64 = 3;

/// The node. What its fields hold is what it does; tests set them.
#[derive(Debug)]
pub(crate) struct FakeNode {
    identity: Identity,
    machine: Mutex<StateMachine>,
    engine: Arc<dyn Engine>,
    pub(crate) hub: Arc<Hub>,
    /// Whether events stay unpublished, as when the state comes from another node.
    pub(crate) muted: AtomicBool,
    pub(crate) feed: Arc<LeaseFeed>,
    pub(crate) leadership: watch::Sender<Leadership>,
    /// Cluster time in milliseconds.
    pub(crate) now: AtomicU64,
    pub(crate) propose_error: Mutex<Option<ProposeError>>,
    pub(crate) barrier_error: Mutex<Option<ReadIndexError>>,
    pub(crate) transfer_error: Mutex<Option<TransferError>>,
    pub(crate) logical_bytes: AtomicU64,
    /// The floor that collection has passed.
    pub(crate) collected: watch::Sender<Revision>,
    pub(crate) compactions: AtomicU64,
    /// Every command proposed, failed ones too.
    pub(crate) proposals: Mutex<Vec<Command>>,
    /// How many commands were applied; for tests that wait.
    pub(crate) applied: watch::Sender<u64>,
}

impl FakeNode {
    /// A node that leads an empty store.
    pub(crate) fn leading() -> Arc<Self> {
        let engine: Arc<dyn Engine> = Arc::new(MemEngine::new());
        let machine = StateMachine::open(Arc::clone(&engine)).expect("an empty engine opens");
        let leadership = Leadership {
            leader: Some(MEMBER),
            term: TERM,
            is_leader: true,
        };
        Arc::new(Self {
            identity: Identity {
                cluster_id: CLUSTER,
                member_id: MEMBER,
                name: "one".to_owned(),
            },
            machine: Mutex::new(machine),
            engine,
            hub: Hub::new(Revision::EMPTY),
            muted: AtomicBool::new(false),
            feed: LeaseFeed::new(),
            leadership: watch::channel(leadership).0,
            now: AtomicU64::new(1000),
            propose_error: Mutex::default(),
            barrier_error: Mutex::default(),
            transfer_error: Mutex::default(),
            logical_bytes: AtomicU64::new(0),
            collected: watch::channel(Revision(-1)).0,
            compactions: AtomicU64::new(0),
            proposals: Mutex::default(),
            applied: watch::channel(0).0,
        })
    }

    pub(crate) fn services(self: &Arc<Self>, limits: Limits) -> Arc<Services> {
        let backend: Arc<dyn Backend> = Arc::clone(self) as _;
        Services::new(backend, Arc::clone(&self.hub), limits)
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
        if !self.muted.load(Ordering::SeqCst) {
            self.hub.publish(outcome.revision, outcome.events.clone());
        }
        self.feed.observe(&outcome);
        self.applied.send_modify(|applied| *applied += 1);
        outcome
    }

    pub(crate) fn set_leader(&self, leader: Option<MemberId>) {
        let is_leader = leader == Some(MEMBER);
        self.leadership.send_replace(Leadership {
            leader,
            term: TERM,
            is_leader,
        });
    }
}

#[tonic::async_trait]
impl Backend for FakeNode {
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
        };
        Status {
            term: leadership.term,
            leader: leadership.leader,
            is_leader: leadership.is_leader,
            is_learner: false,
            last_log_index: applied,
            committed_index: applied,
            applied_index: applied,
            members: vec![
                member(MEMBER.0, "http://one:2380"),
                member(0xb2, "http://two:2380"),
            ],
        }
    }

    fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.engine)
    }

    async fn propose(&self, command: Command) -> Result<Outcome, ProposeError> {
        self.proposals.lock().push(command.clone());
        if let Some(error) = *self.propose_error.lock() {
            return Err(error);
        }
        Ok(self.apply(&command))
    }

    async fn read_barrier(&self) -> Result<(), ReadIndexError> {
        (*self.barrier_error.lock()).map_or(Ok(()), Err)
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

    async fn collected(&self, floor: Revision) {
        let mut collected = self.collected.subscribe();
        let _ = collected.wait_for(|passed| *passed >= floor).await;
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
