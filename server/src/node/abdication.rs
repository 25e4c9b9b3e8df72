//! Makes a leader whose disk hangs give up leadership, by a transfer or by silence.
//!
//! openraft has no call that ends a leader's term. Leadership is transferred to a successor that
//! answers; if that fails, the missing heartbeats make the other members elect a leader.
//!
//! # Invariants
//! Heartbeats and elections, disabled while the disk hangs, are enabled when it answers again.

use std::{sync::Arc, time::Duration};

use tenure_statemachine::MemberId;
use tracing::warn;

use super::successors;
use crate::{raft::Raft, storage::LogBacklog, tasks};

/// Tracks whether the disk hangs and whether this node was silenced because of it.
#[derive(Debug)]
pub(super) struct Abdication {
    backlog: Arc<LogBacklog>,
    /// A successor must have answered within this time.
    lately: Duration,
    silent: bool,
}

impl Abdication {
    pub(super) const fn new(backlog: Arc<LogBacklog>, lately: Duration) -> Self {
        Self {
            backlog,
            lately,
            silent: false,
        }
    }

    /// The backlog of the log's writes, which shows whether the disk hangs.
    pub(super) fn backlog(&self) -> Arc<LogBacklog> {
        Arc::clone(&self.backlog)
    }

    /// Returns whether the disk hangs, so that this node must not lead.
    pub(super) fn is_due(&self) -> bool {
        self.backlog.is_stalled()
    }

    /// Disables heartbeats and elections while the disk hangs, and enables them when it answers.
    pub(super) fn follow(&mut self, raft: &Raft, own: MemberId) {
        let due = self.is_due();
        if due == self.silent {
            return;
        }
        self.silent = due;
        raft.runtime_config().heartbeat(!due);
        raft.runtime_config().elect(!due);
        if due && raft.is_leader() {
            self.hand_over(raft, own);
        }
    }

    fn hand_over(&self, raft: &Raft, own: MemberId) {
        let Some(target) = successors::find(raft, own, self.lately).first().copied() else {
            return warn!("the disk hangs, and no other member answers that could lead");
        };
        let raft = raft.clone();
        // Not awaited here: the core itself may be waiting for the disk.
        tasks::spawn("abdication", async move {
            if let Err(error) = raft.trigger().transfer_leader(target.0).await {
                warn!(%error, %target, "leadership was not handed over");
            }
        });
    }
}
