//! This node's view of the leader.
//!
//! openraft keeps naming the last leader until another is elected. Clients need to know whether
//! writes can succeed: another leader counts only while its messages arrive, and this node only
//! while a quorum answers it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use openraft::{ServerState, async_runtime::watch::WatchReceiver};
use tenure_statemachine::MemberId;
use tokio::sync::{Notify, watch};

use super::{
    abdication::Abdication, cluster_clock::ClusterClock, confirmed::Confirmed, membership,
    status::Leadership,
};
use crate::{clock::Clock, raft::Raft, storage::LogBacklog, tasks};

/// Time of the last message from the leader, on the node's clock.
#[derive(Debug)]
pub(super) struct Contact {
    clock: Arc<dyn Clock>,
    heard_ms: AtomicU64,
    /// Notified when a replication stream to this node ended.
    ended: Notify,
}

impl Contact {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let contact = Self {
            clock,
            heard_ms: AtomicU64::new(0),
            ended: Notify::new(),
        };
        contact.note();
        contact
    }

    /// Records that a message from the leader arrived.
    pub(super) fn note(&self) {
        self.heard_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// Records that a replication stream to this node ended, perhaps because the leader failed.
    pub(super) fn note_end(&self) {
        self.ended.notify_one();
    }

    pub(super) fn silent_for(&self) -> Duration {
        let heard = self.heard_ms.load(Ordering::Relaxed);
        Duration::from_millis(self.now_ms().saturating_sub(heard))
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Dependencies of the leadership task.
pub(super) struct Parts {
    pub(super) raft: Raft,
    pub(super) own: MemberId,
    pub(super) contact: Arc<Contact>,
    pub(super) confirmed: Arc<Confirmed>,
    pub(super) cluster_clock: Arc<ClusterClock>,
    pub(super) abdication: Abdication,
    /// How long a leader, or its quorum, may be silent before the leader counts as gone.
    pub(super) silence_max: Duration,
    /// How long after a leader's message no member votes for another.
    pub(super) lease: Duration,
    /// Time between two checks.
    pub(super) interval: Duration,
}

/// Added to the lease before an early campaign: the other voters may have received the leader's
/// last message this much later.
const LEASE_MARGIN: Duration = Duration::from_millis(20);
/// Time between early campaigns of two members, or of one; longer than a round of votes.
const CAMPAIGN_STEP: Duration = Duration::from_millis(75);
/// Most early campaigns of one member. After these the election timeout has passed anyway.
const CAMPAIGNS_MAX: u32 = 4;

/// Starts the leadership task; the receiver yields every change.
pub(super) fn spawn(mut parts: Parts) -> watch::Receiver<Leadership> {
    let (sender, receiver) = watch::channel(Leadership::default());
    let hints = Hints {
        raft: parts.raft.clone(),
        own: parts.own,
        contact: Arc::clone(&parts.contact),
        lease: parts.lease,
        backlog: parts.abdication.backlog(),
    };
    tasks::spawn("hints", hints.follow());
    tasks::spawn("leadership", async move {
        let mut changes = parts.raft.server_metrics();
        loop {
            parts.abdication.follow(&parts.raft, parts.own);
            let now = look(&parts);
            parts.cluster_clock.set_leading(now.is_leader);
            sender.send_if_modified(|before| {
                let changed = *before != now;
                *before = now;
                changed
            });
            // Keeps the cluster clock's gaps short while nothing else reads it.
            parts.cluster_clock.now();
            // Cancel-safe: the next iteration sees the same state.
            let changed = tokio::time::timeout(parts.interval, changes.changed()).await;
            if let Ok(Err(_)) = changed {
                return;
            }
        }
    });
    receiver
}

/// Starts an early campaign when a replication stream ends.
///
/// The connections of a killed leader are reset long before its followers' election timeouts
/// expire. A false hint is safe: a campaign begins with a pre-vote, which no member, including this
/// one, grants within the lease of a leader.
struct Hints {
    raft: Raft,
    own: MemberId,
    contact: Arc<Contact>,
    lease: Duration,
    backlog: Arc<LogBacklog>,
}

impl Hints {
    async fn follow(self) {
        loop {
            self.contact.ended.notified().await;
            let Some(rank) = self.rank() else {
                continue;
            };
            let mut due = self.lease + LEASE_MARGIN + CAMPAIGN_STEP * rank;
            for _ in 0..CAMPAIGNS_MAX {
                let left = due.saturating_sub(self.contact.silent_for());
                tokio::time::sleep(left).await;
                let present = self.contact.silent_for() < due;
                if present || self.raft.is_leader() || self.backlog.is_stalled() {
                    break;
                }
                if self.raft.trigger().elect(true).await.is_err() {
                    return;
                }
                due += CAMPAIGN_STEP * 2;
            }
        }
    }

    /// The position of this member among the voters other than the leader, which staggers their
    /// campaigns; `None` when this member is not a voter.
    fn rank(&self) -> Option<u32> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let leader = metrics.current_leader;
        let mut others = metrics
            .membership_config
            .voter_ids()
            .filter(|id| Some(*id) != leader);
        let rank = others.position(|id| id == self.own.0)?;
        u32::try_from(rank).ok()
    }
}

fn look(parts: &Parts) -> Leadership {
    let (leader_id, state, leader, alone, is_learner) = {
        let metrics = parts.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        (
            metrics.vote.leader_id,
            metrics.state,
            metrics.current_leader,
            metrics.membership_config.voter_ids().eq([parts.own.0]),
            membership::is_learner(metrics.membership_config.membership(), parts.own),
        )
    };
    let leads = state == ServerState::Leader && leader == Some(parts.own.0);
    // A leader that cannot write gives up leadership.
    let able = !parts.abdication.is_due();
    // A lone voter is its own quorum, and while it writes nothing there are no acknowledgements.
    let present = if leads && alone {
        able
    } else if leads {
        able && parts.confirmed.silent_for(leader_id) < parts.silence_max
    } else {
        parts.contact.silent_for() < parts.silence_max
    };
    if leads && present {
        // A leader counts as its own contact, so the silence starts when its leadership ends.
        parts.contact.note();
    }
    Leadership {
        leader: leader.filter(|_| present).map(MemberId),
        term: leader_id.term,
        is_leader: leads && present,
        is_learner,
    }
}
