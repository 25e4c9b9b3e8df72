//! Changes of the membership, made by the leader.
//!
//! Every new member begins without a vote, also one that was added as a voter: it gets its vote
//! once it has caught up, so that a wrong address or a dead machine costs no quorum.
//!
//! # Invariants
//! One change is in progress at a time, and it is proposed only while the membership that it was
//! checked against is the latest. A change is one entry that adds or removes at most one voter, so
//! there are no joint memberships, and none that a lost leader leaves behind. A change goes on when
//! its caller gives up.

mod checks;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use openraft::{
    ChangeMembers, EntryPayload, Instant as _,
    async_runtime::watch::WatchReceiver,
    errors::{ChangeMembershipError, ClientWriteError},
    raft::Precondition,
};
use tenure_statemachine::{Engine, FeatureLevel, MemberId, Meta};
use thiserror::Error;
use tokio::{sync::Mutex, sync::watch, time::sleep};
use tracing::{debug, info, warn};

use self::checks::{Known, View};
use super::status::Leadership;
use crate::{
    config::member_id_at,
    consensus::{Membership, PeerNode, StoredMembership},
    fatal,
    raft::{Raft, RemovedMembers},
    storage::StateStore,
    tasks,
};

/// A member that answered within this time is connected: several heartbeats, and half the time in
/// which a leader without a quorum ceases to lead.
const CONNECTED_MAX: Duration = Duration::from_secs(1);
/// Time between two looks for members that are to get a vote.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Time between two looks whether the change before is committed: a round trip and a write.
const SETTLE_PAUSE: Duration = Duration::from_millis(10);
/// How long a change waits for the feature level: a new cluster reaches it in a few heartbeats.
pub(super) const LEVEL_MAX: Duration = Duration::from_secs(2);
/// Entries that a member may lack when it gets its vote: a fraction of a second's.
const LAG_MAX: u64 = 1000;
/// Looks in a row that must find it within that.
const LOOKS_IN_SYNC: u32 = 3;

/// What changes of the membership are held to.
#[derive(Clone, Copy, Debug)]
pub struct ReconfigurationRules {
    /// Whether a change needs enough started and connected members.
    pub strict: bool,
    /// Learners that may be members at once, not counting those that become voters by themselves.
    pub learners_max: usize,
}

/// A change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// Adds a member.
    Add {
        /// URLs at which the other members reach it.
        peer_urls: Vec<String>,
        /// Whether it stays a learner until it is promoted by a call.
        stays_learner: bool,
    },
    /// Removes a member for ever.
    Remove(MemberId),
    /// Gives a learner a vote.
    Promote(MemberId),
    /// Changes the addresses of a member.
    Update {
        /// The member.
        id: MemberId,
        /// Its URLs from now on.
        peer_urls: Vec<String>,
    },
}

/// Why a change was refused. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no such member, or it was removed.
    #[error("member not found")]
    NotFound,
    /// There is a member of this id.
    #[error("member id exists")]
    IdExists,
    /// A member has one of the addresses.
    #[error("peer urls exist")]
    UrlsExist,
    /// There are as many learners as there may be.
    #[error("too many learners")]
    TooManyLearners,
    /// The member has a vote.
    #[error("not a learner")]
    NotALearner,
    /// The learner's log is too far behind.
    #[error("learner is not in sync")]
    NotInSync,
    /// Too few members have started.
    #[error("not enough started members")]
    NotEnoughStarted,
    /// Too few members answer.
    #[error("unhealthy cluster")]
    Unhealthy,
    /// A member runs a version that does not know changes of the membership.
    #[error("a member is too old")]
    OldMembers,
}

/// Why a change was not made, or may not have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ChangeError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This node does not lead, or gives up the lead for the change; nothing was changed.
    #[error("not leader")]
    NotLeader,
    /// The leader was lost. Whether the change takes effect is unknown.
    #[error("the leader was lost; whether the change takes effect is unknown")]
    Lost,
    /// The change is not complete. Whether it takes effect is unknown.
    #[error("not complete in time; whether the change takes effect is unknown")]
    TimedOut,
}

/// A change that was made.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The member that was added.
    pub added: Option<MemberId>,
    /// All members afterwards.
    pub membership: Membership,
}

/// Makes changes on the leader. Clones share the turn.
#[derive(Clone, Debug)]
pub(super) struct Reconfiguration(Arc<Parts>);

/// Dependencies of the changes.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) raft: Raft,
    pub(super) own: MemberId,
    pub(super) store: Arc<StateStore>,
    pub(super) removed: Arc<RemovedMembers>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) rules: ReconfigurationRules,
    /// Held while a change is in progress.
    pub(super) turn: Mutex<()>,
    pub(super) meta: watch::Receiver<Meta>,
}

impl Reconfiguration {
    /// Starts the task that completes changes while this node leads.
    pub(super) fn spawn(parts: Parts) -> Self {
        let it = Self(Arc::new(parts));
        tasks::spawn("reconfiguration", it.clone().complete());
        it
    }

    /// Makes a change. `seconds` is the time for the id of an added member.
    ///
    /// # Cancel safety
    /// The change goes on when the future is dropped.
    pub(super) async fn change(
        &self,
        change: MemberChange,
        seconds: u64,
    ) -> Result<Changed, ChangeError> {
        let it = self.clone();
        let work = tasks::spawn("change", async move {
            let _turn = it.0.turn.lock().await;
            it.change_in_turn(change, seconds).await
        });
        work.await.unwrap_or(Err(ChangeError::Lost))
    }

    async fn change_in_turn(
        &self,
        change: MemberChange,
        seconds: u64,
    ) -> Result<Changed, ChangeError> {
        self.check_level().await?;
        let membership = self.settled().await?;
        let view = self.view(&membership);
        let added = match &change {
            MemberChange::Add { peer_urls, .. } => member_id_at(peer_urls, seconds).0,
            MemberChange::Remove(_) | MemberChange::Promote(_) | MemberChange::Update { .. } => 0,
        };
        view.check(&change, added)?;
        if change == MemberChange::Remove(self.0.own) && self.hand_over(&membership).await {
            return Err(ChangeError::NotLeader);
        }
        let is_add = matches!(change, MemberChange::Add { .. });
        info!(?change, "changing the membership");
        self.propose(&membership, change, added).await?;
        let membership = self.settled().await.map_err(|_| ChangeError::Lost)?;
        Ok(Changed {
            added: is_add.then_some(MemberId(added)),
            membership: membership.membership().clone(),
        })
    }

    /// The latest membership, once it is committed.
    async fn settled(&self) -> Result<StoredMembership, ChangeError> {
        loop {
            if !self.0.leadership.borrow().is_leader {
                return Err(ChangeError::NotLeader);
            }
            let look = self.0.raft.with_raft_state(|state| {
                let state = &state.membership_state;
                let is_committed = state.committed().log_id() == state.effective().log_id();
                is_committed.then(|| state.effective().as_ref().clone())
            });
            if let Some(membership) = look.await.map_err(|_| ChangeError::NotLeader)? {
                return Ok(membership);
            }
            sleep(SETTLE_PAUSE).await;
        }
    }

    /// Waits until every member knows changes of the membership.
    async fn check_level(&self) -> Result<(), Refusal> {
        let mut meta = self.0.meta.clone();
        let reached = meta.wait_for(|meta| meta.level >= FeatureLevel::RECONFIGURABLE);
        match tokio::time::timeout(LEVEL_MAX, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Refusal::OldMembers),
        }
    }

    /// What this leader knows of the members.
    fn view(&self, membership: &StoredMembership) -> View {
        let published = self.published();
        let voters: Vec<u64> = membership.voter_ids().collect();
        let metrics = self.0.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        let last = metrics.last_log.map_or(0, |id| id.index);
        let known = |(id, node): (&u64, &PeerNode)| {
            let is_own = *id == self.0.own.0;
            let beats = metrics.heartbeat.as_ref();
            let answered = beats.and_then(|beats| beats.get(id)?.as_ref());
            let logs = metrics.replication.as_ref();
            let matching = logs
                .and_then(|logs| logs.get(id)?.as_ref())
                .map(|id| id.index);
            Known {
                id: *id,
                node: node.clone(),
                is_voter: voters.contains(id),
                is_started: published.contains(id),
                is_connected: is_own || answered.is_some_and(|at| at.elapsed() < CONNECTED_MAX),
                matching: if is_own { Some(last) } else { matching },
            }
        };
        View {
            members: membership.nodes().map(known).collect(),
            removed: self.0.removed.get(),
            last,
            rules: self.0.rules,
        }
    }

    /// The members that have published their names.
    fn published(&self) -> Vec<u64> {
        let engine: Arc<dyn Engine> = self.0.store.engine();
        let members = engine
            .snapshot()
            .map_err(Into::into)
            .and_then(|view| tenure_statemachine::Reader::new(&*view)?.members())
            .unwrap_or_else(|fault| fatal::stop(&fault));
        members.iter().map(|member| member.id.0).collect()
    }

    /// Hands the lead to another voter. Returns whether one takes it.
    async fn hand_over(&self, membership: &StoredMembership) -> bool {
        if membership.voter_ids().count() == 1 {
            return false;
        }
        for target in super::successors::find(&self.0.raft, self.0.own, CONNECTED_MAX) {
            let mut changes = self.0.leadership.clone();
            if self
                .0
                .raft
                .trigger()
                .transfer_leader(target.0)
                .await
                .is_err()
            {
                return true;
            }
            let arrived = changes.wait_for(|now| !now.is_leader);
            if tokio::time::timeout(CONNECTED_MAX, arrived).await.is_ok() {
                return true;
            }
            warn!(%target, "leadership was not taken over in time");
        }
        false
    }

    /// Makes a change of `membership`, which was checked.
    async fn propose(
        &self,
        membership: &StoredMembership,
        change: MemberChange,
        added: u64,
    ) -> Result<(), ChangeError> {
        let latest = [Precondition::LastMembershipLogId {
            last_membership_log_id: *membership.log_id(),
        }];
        let raft = &self.0.raft;
        loop {
            let written = match changed(membership.membership(), &change, added)? {
                Next::Nodes(nodes) => {
                    let set = ChangeMembers::SetNodes(nodes);
                    raft.change_membership_if(set, false, latest.clone()).await
                }
                Next::Membership(next) => {
                    let payload = EntryPayload::Blank;
                    raft.append_membership(next, payload, latest.clone()).await
                }
            };
            let Err(error) = written else { return Ok(()) };
            match error.api_error() {
                Some(ClientWriteError::ForwardToLeader(_)) => return Err(ChangeError::NotLeader),
                Some(ClientWriteError::ChangeMembershipError(
                    ChangeMembershipError::UncommittedLeaderLog(_)
                    | ChangeMembershipError::InProgress(_),
                )) => sleep(SETTLE_PAUSE).await,
                Some(ClientWriteError::PreconditionFailed(_)) => {
                    return Err(ChangeError::NotLeader);
                }
                Some(ClientWriteError::ChangeMembershipError(error)) => {
                    // It was checked against this very membership.
                    warn!(%error, "consensus refused a change of the membership");
                    return Err(Refusal::NotFound.into());
                }
                Some(_) | None => return Err(ChangeError::Lost),
            }
        }
    }

    /// Gives members that are to vote their vote once they have caught up, while this node leads.
    async fn complete(self) {
        let mut in_sync: BTreeMap<u64, u32> = BTreeMap::new();
        loop {
            sleep(LOOK_EVERY).await;
            if !self.0.leadership.borrow().is_leader {
                in_sync.clear();
                continue;
            }
            let Ok(_turn) = self.0.turn.try_lock() else {
                continue;
            };
            let Ok(membership) = self.settled().await else {
                continue;
            };
            let view = self.view(&membership);
            let joining = |member: &&Known| !member.is_voter && !member.node.stays_learner;
            in_sync.retain(|id, _| view.members.iter().filter(joining).any(|it| it.id == *id));
            for member in view.members.iter().filter(joining) {
                let lag = member
                    .matching
                    .map(|matching| view.last.saturating_sub(matching));
                let is_near = lag.is_some_and(|lag| lag <= LAG_MAX)
                    && member.is_started
                    && member.is_connected;
                let looks = in_sync.entry(member.id).or_default();
                *looks = if is_near { *looks + 1 } else { 0 };
                if *looks < LOOKS_IN_SYNC || !view.allows_one_more_voter() {
                    continue;
                }
                let id = MemberId(member.id);
                let vote = MemberChange::Promote(id);
                match self.propose(&membership, vote, 0).await {
                    Ok(()) => info!(member = %id, "it has caught up, and votes from now on"),
                    Err(error) => debug!(%error, "a member did not get its vote yet"),
                }
                break;
            }
        }
    }
}

/// A change for consensus.
enum Next {
    /// Of addresses only.
    Nodes(BTreeMap<u64, PeerNode>),
    Membership(Membership),
}

/// What `membership` becomes by a change. It was checked.
fn changed(membership: &Membership, change: &MemberChange, added: u64) -> Result<Next, Refusal> {
    let mut voters: BTreeSet<u64> = membership.voter_ids().collect();
    let nodes = membership.nodes().map(|(id, node)| (*id, node.clone()));
    let mut nodes: BTreeMap<u64, PeerNode> = nodes.collect();
    match change {
        MemberChange::Add {
            peer_urls,
            stays_learner,
        } => {
            let node = PeerNode {
                name: String::new(),
                peer_urls: peer_urls.clone(),
                stays_learner: *stays_learner,
            };
            nodes.insert(added, node);
        }
        MemberChange::Remove(id) => {
            voters.remove(&id.0);
            nodes.remove(&id.0);
        }
        MemberChange::Promote(id) => {
            voters.insert(id.0);
        }
        MemberChange::Update { id, peer_urls } => {
            let node = nodes.get(&id.0).ok_or(Refusal::NotFound)?;
            let node = PeerNode {
                peer_urls: peer_urls.clone(),
                ..node.clone()
            };
            return Ok(Next::Nodes([(id.0, node)].into()));
        }
    }
    let next = Membership::new(vec![voters], nodes).map_err(|_| Refusal::NotFound)?;
    Ok(Next::Membership(next))
}
