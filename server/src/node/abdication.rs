//! A node whose disk hangs does not lead: it hands over, or falls silent so that another does.
//!
//! openraft has no call that ends a leader's term. A successor that answers is told to take over;
//! without heartbeats the others elect one by themselves, should that fail.
//!
//! # Invariants
//! What was switched off while the disk hung is on again when it answers.

use std::{sync::Arc, time::Duration};

use tenure_statemachine::MemberId;
use tracing::warn;

use super::successors;
use crate::{raft::Raft, storage::LogBacklog, tasks};

/// Follows the state of the disk, and what was done about it.
#[derive(Debug)]
pub(super) struct Abdication {
    backlog: Arc<LogBacklog>,
    /// Within which time a successor must have answered.
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

    /// What is known of the disk.
    pub(super) fn backlog(&self) -> Arc<LogBacklog> {
        Arc::clone(&self.backlog)
    }

    /// Whether this node must not lead now.
    pub(super) fn is_due(&self) -> bool {
        self.backlog.is_stalled()
    }

    /// Falls silent when the disk hangs, and speaks again when it answers.
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
        // The core itself may wait for the disk, so the call is not waited for here.
        tasks::spawn("abdication", async move {
            if let Err(error) = raft.trigger().transfer_leader(target.0).await {
                warn!(%error, %target, "leadership was not handed over");
            }
        });
    }
}
