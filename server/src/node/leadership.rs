//! Who leads, as far as this node can tell.
//!
//! openraft goes on naming the last leader until another is elected. What clients want to know is
//! whether writes can succeed: a leader counts only while it is heard of, and this node only while
//! a quorum answers it.

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
    abdication::Abdication, cluster_clock::ClusterClock, confirmed::Confirmed, status::Leadership,
};
use crate::{clock::Clock, raft::Raft, storage::LogBacklog, tasks};

/// When the leader was last heard of, on the node's clock.
#[derive(Debug)]
pub(super) struct Contact {
    clock: Arc<dyn Clock>,
    heard_ms: AtomicU64,
    /// Rung when a stream of replication to this node ended.
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

    /// A message of the leader arrived.
    pub(super) fn note(&self) {
        self.heard_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    /// A stream of replication to this node ended: perhaps the leader did.
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

/// What the watch over leadership needs.
pub(super) struct Parts {
    pub(super) raft: Raft,
    pub(super) own: MemberId,
    pub(super) contact: Arc<Contact>,
    pub(super) confirmed: Arc<Confirmed>,
    pub(super) cluster_clock: Arc<ClusterClock>,
    pub(super) abdication: Abdication,
    /// How long a leader may be silent, or a quorum, before it counts as gone.
    pub(super) silence_max: Duration,
    /// How long after a leader's word no member votes for another.
    pub(super) lease: Duration,
    /// How often to look.
    pub(super) interval: Duration,
}

/// Added to the lease before an early campaign: the other voters may have heard of the leader this
/// much later.
const LEASE_MARGIN: Duration = Duration::from_millis(20);
/// Between the early campaigns of two members, and between two of one: a round of votes takes less.
const CAMPAIGN_STEP: Duration = Duration::from_millis(75);
/// Early campaigns of one member. After them the election timeout has passed, too.
const CAMPAIGNS_MAX: u32 = 4;

/// Starts the watch.
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
            // Cancel-safe: the next look sees the same state.
            let changed = tokio::time::timeout(parts.interval, changes.changed()).await;
            if let Ok(Err(_)) = changed {
                return;
            }
        }
    });
    receiver
}

/// Turns the end of a replication stream into an early campaign.
///
/// A leader that was killed resets its connections, long before its followers' election timeouts
/// pass. Safe whatever the hint is worth: a campaign begins with a pre-vote, which neither this
/// member nor any other grants while it heard of a leader within the lease.
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

    /// The place of this member among the voters without the leader, which keeps them from
    /// campaigning at once; `None` when it is no voter.
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
    let (leader_id, state, leader, alone) = {
        let metrics = parts.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        (
            metrics.vote.leader_id,
            metrics.state,
            metrics.current_leader,
            metrics.membership_config.voter_ids().eq([parts.own.0]),
        )
    };
    let leads = state == ServerState::Leader && leader == Some(parts.own.0);
    // A leader that cannot write leaves the lead to others.
    let able = !parts.abdication.is_due();
    // A lone voter is its own quorum, and while it has nothing to write nobody acknowledges.
    let present = if leads && alone {
        able
    } else if leads {
        able && parts.confirmed.silent_for(leader_id) < parts.silence_max
    } else {
        parts.contact.silent_for() < parts.silence_max
    };
    if leads && present {
        // Should this node lead anew later, it heard of itself.
        parts.contact.note();
    }
    Leadership {
        leader: leader.filter(|_| present).map(MemberId),
        term: leader_id.term,
        is_leader: leads && present,
    }
}
