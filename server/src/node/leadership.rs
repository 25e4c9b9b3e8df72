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
use tokio::sync::watch;

use super::{
    abdication::Abdication, cluster_clock::ClusterClock, confirmed::Confirmed, status::Leadership,
};
use crate::{clock::Clock, raft::Raft, tasks};

/// When the leader was last heard of, on the node's clock.
#[derive(Debug)]
pub(super) struct Contact {
    clock: Arc<dyn Clock>,
    heard_ms: AtomicU64,
}

impl Contact {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let contact = Self {
            clock,
            heard_ms: AtomicU64::new(0),
        };
        contact.note();
        contact
    }

    /// A message of the leader arrived.
    pub(super) fn note(&self) {
        self.heard_ms.store(self.now_ms(), Ordering::Relaxed);
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
    /// How often to look.
    pub(super) interval: Duration,
}

/// Starts the watch.
pub(super) fn spawn(mut parts: Parts) -> watch::Receiver<Leadership> {
    let (sender, receiver) = watch::channel(Leadership::default());
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
