//! Access control of the peer port.
//!
//! Certificates or the cluster secret authenticate a connection before it gets here, where they are
//! set up. This excludes mistakes, members that lost their data, and strangers that do not know a
//! member's instance id. It does not inspect messages; `raft/sound.rs` does.
//!
//! # Invariants
//! Consensus receives a call only from a member of this quorum, in the instance by which that
//! member is known, and addressed to this instance of this member. Until this node knows that it
//! may take part, consensus receives none.

use std::{sync::Arc, time::Duration};

use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tenure_proto::peer_metadata;
use tenure_statemachine::MemberId;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tonic::{Request, Status, metadata::MetadataValue, service::Interceptor};
use tracing::warn;

use super::{
    Raft,
    newcomers::Newcomers,
    roster::{PeerFault, Roster},
    sound::{Measure, Unsound},
};
use crate::{consensus::StoredMembership, metrics::Metrics, transport::ConnectionInfo};

/// How long a call waits until this node may take part itself: on a first start this takes moments,
/// and a vote refused meanwhile would cost an election timeout.
const ADMISSION_WAIT: Duration = Duration::from_secs(1);
/// Shortest time between two log lines about refusals.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Metric labels of refusals regardless of the message; [`Unsound`] has the others.
const CLUSTER: &str = "cluster";
const TARGET: &str = "target";
const STRANGER: &str = "stranger";
const REMOVED: &str = "removed";
const INSTANCE: &str = "instance";
const TARGET_INSTANCE: &str = "target_instance";

/// The member that an admitted call is from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(pub(super) MemberId);

/// Admits calls of members. Clones share the state.
#[derive(Clone)]
pub struct PeerAccess(Arc<Inner>);

struct Inner {
    raft: Raft,
    roster: Arc<Roster>,
    founders: Vec<u64>,
    newcomers: Arc<Newcomers>,
    admitted: watch::Sender<bool>,
    metrics: Arc<Metrics>,
    logged: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for PeerAccess {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PeerAccess").finish_non_exhaustive()
    }
}

impl PeerAccess {
    /// Creates access that is closed to all. `founders` are the members with which the cluster was
    /// formed, or of which this node was told when it joined.
    #[must_use]
    pub fn new(
        raft: Raft,
        roster: Arc<Roster>,
        founders: Vec<u64>,
        newcomers: Arc<Newcomers>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self(Arc::new(Inner {
            newcomers,
            raft,
            roster,
            founders,
            admitted: watch::channel(false).0,
            metrics,
            logged: Mutex::default(),
        }))
    }

    /// Admits calls from now on: this node may take part in the quorum.
    pub fn open(&self) {
        self.0.admitted.send_replace(true);
    }

    pub(super) fn roster(&self) -> &Roster {
        &self.0.roster
    }

    /// Returns the caller, once this node may take part.
    pub(super) async fn admit<T>(&self, request: &Request<T>) -> Result<MemberId, Status> {
        let mut admitted = self.0.admitted.subscribe();
        // Cancel-safe: nothing is consumed.
        match timeout(ADMISSION_WAIT, admitted.wait_for(|open| *open)).await {
            Ok(Ok(_)) => self.caller(request),
            Ok(Err(_)) | Err(_) => Err(Status::unavailable(
                "this member does not know yet whether it may take part in the quorum",
            )),
        }
    }

    /// Returns the caller, even before this node may take part.
    pub(super) fn caller<T>(&self, request: &Request<T>) -> Result<MemberId, Status> {
        let caller = request.extensions().get::<Caller>();
        caller
            .map(|caller| caller.0)
            .ok_or_else(|| Status::failed_precondition("the sender did not introduce itself"))
    }

    /// The instance id in the caller's metadata.
    pub(super) fn caller_instance<T>(&self, request: &Request<T>) -> Result<u64, Status> {
        number(request, peer_metadata::SENDER_INSTANCE_KEY)
            .ok_or_else(|| Status::failed_precondition("the sender did not name its instance"))
    }

    /// The current bounds for messages of `caller`.
    pub(super) fn measure(&self, caller: MemberId) -> Measure {
        let term = {
            let metrics = self.0.raft.server_metrics();
            metrics.borrow_watched().vote.leader_id.term
        };
        let last = {
            let metrics = self.0.raft.data_metrics();
            metrics.borrow_watched().last_log
        };
        Measure {
            caller,
            term,
            last_index: last.map_or(0, |id| id.index),
        }
    }

    /// Counts and refuses a message that no member sends.
    pub(super) fn refuse(&self, caller: MemberId, unsound: &Unsound) -> Status {
        let text = format!("message of member {caller} refused: {unsound}");
        self.refused(unsound.reason(), &text);
        Status::invalid_argument(text)
    }

    fn refused(&self, reason: &'static str, text: &str) {
        self.0.metrics.network.peer_refused(reason);
        let now = Instant::now();
        let mut logged = self.0.logged.lock();
        if logged.is_none_or(|at| now.duration_since(at) >= REFUSAL_LOG_INTERVAL) {
            *logged = Some(now);
            warn!(reason, "refused a call on the peer port: {text}");
        }
    }

    fn fail(&self, reason: &'static str, text: String) -> Status {
        self.refused(reason, &text);
        Status::failed_precondition(text)
    }

    /// Whether `id` is a member as far as this node can tell, which excludes the removed ones
    /// before: the log's membership names it, or it is a founder, or was met as a member, or
    /// another member names it.
    ///
    /// The log alone does not tell: while it catches up, it names the members of long ago, and the
    /// leader need not be one of them.
    fn is_member(&self, id: MemberId) -> bool {
        let is_named = || self.membership().nodes().any(|(node, _)| *node == id.0);
        is_named()
            || self.0.founders.contains(&id.0)
            || self.0.roster.instance_of(id).is_some()
            || self.0.newcomers.is_known(id)
    }

    /// Whether `id` has a vote, as far as this node knows.
    pub(super) fn is_voter(&self, id: MemberId) -> bool {
        let membership = self.membership();
        if membership.nodes().next().is_none() {
            return self.0.founders.contains(&id.0);
        }
        membership.voter_ids().any(|voter| voter == id.0)
    }

    fn membership(&self) -> Arc<StoredMembership> {
        let metrics = self.0.raft.server_metrics();
        Arc::clone(&metrics.borrow_watched().membership_config)
    }

    fn check(&self, request: &Request<()>) -> Result<MemberId, Status> {
        let number = |key| number(request, key);
        let owner = *self.0.roster.owner();
        if number(peer_metadata::CLUSTER_KEY) != Some(owner.cluster_id) {
            return Err(self.fail(CLUSTER, "cluster ID mismatch".to_owned()));
        }
        if number(peer_metadata::TARGET_KEY) != Some(owner.member_id) {
            return Err(self.fail(TARGET, "member ID mismatch".to_owned()));
        }
        let caller = number(peer_metadata::SENDER_KEY).map(MemberId);
        if caller.is_some_and(|id| self.0.roster.removed().contains(id)) {
            let text = "the sender was removed from this cluster".to_owned();
            let mut status = self.fail(REMOVED, text);
            mark(&mut status, peer_metadata::REFUSAL_REMOVED);
            return Err(status);
        }
        let named = caller.filter(|id| id.0 != owner.member_id && self.is_member(*id));
        let Some(caller) = named else {
            if let Some(caller) = caller {
                self.0.newcomers.look_for(caller, &self.membership());
            }
            let text = "the sender is not a member of this cluster".to_owned();
            return Err(self.fail(STRANGER, text));
        };
        let instance = number(peer_metadata::SENDER_INSTANCE_KEY);
        let known = self.0.roster.instance_of(caller);
        // While neither side holds entries, a member may still start over; `Introduce` decides.
        let settled = self.0.roster.is_founded();
        if known.is_some() && instance != known && settled {
            let fault = self.0.roster.blame(PeerFault::OtherInstance(caller));
            let mut status = self.fail(INSTANCE, fault.to_string());
            mark(&mut status, peer_metadata::REFUSAL_REPLACED);
            return Err(status);
        }
        let target = number(peer_metadata::TARGET_INSTANCE_KEY);
        if settled && target.is_some_and(|id| id != owner.instance_id) {
            let text = format!("member {caller} knows this member with another data directory");
            return Err(self.fail(TARGET_INSTANCE, text));
        }
        Ok(caller)
    }
}

/// Names the kind of a permanent refusal.
fn mark(status: &mut Status, kind: &'static str) {
    let kind = MetadataValue::from_static(kind);
    status
        .metadata_mut()
        .insert(peer_metadata::REFUSAL_KEY, kind);
}

fn number<T>(request: &Request<T>, key: &str) -> Option<u64> {
    let text = request.metadata().get(key)?.to_str().ok()?;
    u64::from_str_radix(text, 16).ok()
}

impl Interceptor for PeerAccess {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let caller = self.check(&request)?;
        if let Some(connection) = request.extensions().get::<ConnectionInfo>() {
            connection.admit();
        }
        request.extensions_mut().insert(Caller(caller));
        Ok(request)
    }
}
