//! A group on its way into the log: offered to the leader until it is answered.
//!
//! # Invariants
//! A group takes effect at most once. One that is *repeatable* is skipped by every replica that
//! applied it before, so it may be offered again at any time, to any node. Groups of the format
//! before are offered again only once the log shows that the offer before can no longer succeed.
//! The end of leases is proposed by the node that saw it, in the lead in which it saw it, or not at
//! all. A term does not tell leads apart, for two leaders can share one, one after the other.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::watch, time::sleep};

use super::{batcher::Parts, error::ProposeError, status::Leadership};
use crate::raft::ForwardOutcome;

/// Pause before a group is offered again. A connection that was reset is made anew within it, and a
/// leader that refuses is not asked more often than a heartbeat would arrive.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A group, and what its way into the log needs.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) group: Bytes,
    pub(super) sequence: u64,
    /// When its callers give up.
    pub(super) deadline: Duration,
    /// Whether it may be offered while an earlier offer may still succeed.
    pub(super) repeatable: bool,
    /// The only term in which it may be proposed, and only here.
    pub(super) lead: Option<u64>,
}

impl Offer {
    /// Brings the group to the leader, until it is answered or its time has passed.
    pub(super) async fn drive(self, parts: Arc<Parts>) {
        match self.lead {
            Some(term) => self.drive_here(&parts, term).await,
            None => self.drive_anywhere(&parts).await,
        }
    }

    /// Brings the group into the log here, in `term`, or gives it up.
    async fn drive_here(self, parts: &Parts, term: u64) {
        let now = *parts.leadership.borrow();
        let outcome = if now.is_leader && now.term == term {
            parts.proposer.propose(self.group, term).await
        } else {
            ForwardOutcome::NotLeader
        };
        let cause = match outcome {
            // The answer came, or comes, with the log.
            ForwardOutcome::Committed => return,
            ForwardOutcome::NotLeader => ProposeError::NoLeader,
            ForwardOutcome::Overloaded => ProposeError::Overloaded,
            ForwardOutcome::Lost => ProposeError::LeaderLost,
        };
        parts.waiters.fail(self.sequence, cause);
    }

    async fn drive_anywhere(self, parts: &Parts) {
        let mut leadership = parts.leadership.clone();
        let mut patience = parts.offer_max;
        // Whether an earlier offer may have put the group in the log.
        let mut at_large = false;
        while parts.waiters.waits(self.sequence) {
            if !at_large && !parts.waiters.is_wanted(self.sequence) {
                // Never proposed, and nobody is left to answer.
                return parts.waiters.fail(self.sequence, ProposeError::NoLeader);
            }
            let now = *leadership.borrow_and_update();
            let outcome = self
                .offer_for(parts, now, &mut leadership, &mut patience)
                .await;
            match outcome {
                // The answer came, or comes, with the log.
                ForwardOutcome::Committed => return,
                ForwardOutcome::Overloaded if !at_large => {
                    return parts.waiters.fail(self.sequence, ProposeError::Overloaded);
                }
                ForwardOutcome::Lost if self.repeatable => at_large = true,
                ForwardOutcome::Lost => {
                    self.superseded(parts, now.term).await;
                    continue;
                }
                ForwardOutcome::Overloaded | ForwardOutcome::NotLeader => {}
            }
            let left = self.deadline.saturating_sub(parts.clock.now());
            if left.is_zero() {
                let cause = unanswered(at_large, ProposeError::NoLeader);
                return parts.waiters.fail(self.sequence, cause);
            }
            // Cancel-safe: a missed change is seen by the next look.
            let pause = if now.leader.is_none() {
                left
            } else {
                RETRY_PAUSE
            };
            let changed = tokio::time::timeout(pause, leadership.changed()).await;
            if matches!(changed, Ok(Err(_))) {
                let cause = unanswered(at_large, ProposeError::Stopping);
                return parts.waiters.fail(self.sequence, cause);
            }
        }
    }

    async fn offer(&self, parts: &Parts, now: Leadership) -> ForwardOutcome {
        match now.leader {
            _ if now.is_leader => parts.proposer.propose(self.group.clone(), now.term).await,
            Some(leader) => {
                let group = self.group.clone();
                parts.forwarder.forward(leader, now.term, group).await
            }
            None => ForwardOutcome::NotLeader,
        }
    }

    /// Offers the group while the leader stays and, where it may be offered again at once, patience
    /// lasts.
    ///
    /// A leader that is cut off without a word answers nothing: the next one is asked as soon as
    /// it is known. When only the connection is dead, a new one is tried, with twice the patience,
    /// so that a slow link carries the group at last.
    async fn offer_for(
        &self,
        parts: &Parts,
        now: Leadership,
        leadership: &mut watch::Receiver<Leadership>,
        patience: &mut Duration,
    ) -> ForwardOutcome {
        let moved = |later: &Leadership| (later.leader, later.term) != (now.leader, now.term);
        // Every arm may be dropped: an offer without an answer counts as one that may still
        // succeed, and a change is seen by the next look.
        tokio::select! {
            outcome = self.offer(parts, now) => outcome,
            _ = leadership.wait_for(moved) => ForwardOutcome::Lost,
            () = sleep(*patience), if self.repeatable => {
                if let Some(leader) = now.leader.filter(|_| !now.is_leader) {
                    parts.forwarder.renew(leader);
                }
                *patience = patience.saturating_mul(2);
                ForwardOutcome::Lost
            }
        }
    }

    /// Waits until an entry of a later term than `term` is applied, or the group is answered.
    ///
    /// Entries of earlier terms come before those of later ones. When one of a later term is
    /// applied, every entry of `term` that will ever be committed has been applied, too.
    async fn superseded(&self, parts: &Parts, term: u64) {
        let mut applied = parts.applied.clone();
        let waits = || parts.waiters.waits(self.sequence);
        let later = applied.wait_for(|applied| applied.term > term || !waits());
        // When the time passes first, or the node stops, the group's outcome stays unknown.
        let seen = tokio::time::timeout(parts.request_timeout, later).await;
        if !matches!(seen, Ok(Ok(_))) {
            parts.waiters.fail(self.sequence, ProposeError::LeaderLost);
        }
    }
}

/// Why a group is given up: `definite` tells that nothing was proposed, which is untrue once an
/// offer may have put the group in the log.
const fn unanswered(at_large: bool, definite: ProposeError) -> ProposeError {
    if at_large {
        ProposeError::LeaderLost
    } else {
        definite
    }
}
