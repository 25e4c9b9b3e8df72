//! Brings a group into the log: offers it to the leader until it is answered.
//!
//! # Invariants
//! A group takes effect at most once. Every replica skips a *repeatable* group that it has already
//! applied, so such a group may be offered again at any time, to any node. A group of the older
//! format is offered again only once the log shows that the earlier offer can no longer succeed.
//! Lease expiries are proposed only by the node that observed them, during the same leadership. A
//! term does not identify a leadership, since two leaders can share a term, one after the other.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{sync::watch, time::sleep};

use super::{batcher::Parts, error::ProposeError, status::Leadership};
use crate::raft::ForwardOutcome;

/// Pause before a group is offered again. A reset connection is reopened within it, and a leader
/// that refuses is not asked more often than heartbeats would arrive.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A group and the conditions under which it may be offered.
#[derive(Debug)]
pub(super) struct Offer {
    pub(super) group: Bytes,
    pub(super) sequence: u64,
    /// Time on the node's clock at which its callers give up.
    pub(super) deadline: Duration,
    /// Whether it may be offered while an earlier offer may still succeed.
    pub(super) repeatable: bool,
    /// The only term in which the group may be proposed, and only by this node.
    pub(super) lead: Option<u64>,
}

impl Offer {
    /// Offers the group to the leader until it is answered or its deadline has passed.
    pub(super) async fn drive(self, parts: Arc<Parts>) {
        match self.lead {
            Some(term) => self.drive_here(&parts, term).await,
            None => self.drive_anywhere(&parts).await,
        }
    }

    /// Proposes the group on this node in `term`, or fails it.
    async fn drive_here(self, parts: &Parts, term: u64) {
        let now = *parts.leadership.borrow();
        let outcome = if now.is_leader && now.term == term {
            parts.proposer.propose(self.group, term).await
        } else {
            ForwardOutcome::NotLeader
        };
        let cause = match outcome {
            // The log delivers the answer.
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
        // Whether an earlier offer may have put the group into the log.
        let mut at_large = false;
        while parts.waiters.waits(self.sequence) {
            if !at_large && !parts.waiters.is_wanted(self.sequence) {
                // Never proposed, and all callers have given up.
                return parts.waiters.fail(self.sequence, ProposeError::NoLeader);
            }
            let now = *leadership.borrow_and_update();
            let outcome = self
                .offer_for(parts, now, &mut leadership, &mut patience)
                .await;
            match outcome {
                // The log delivers the answer.
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
            // Cancel-safe: a missed change is seen by the next iteration.
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

    /// Offers the group while the leader stays and, if it is repeatable, the patience lasts.
    ///
    /// A leader that is cut off never answers, so the next one is tried as soon as it is known.
    /// When only the connection is dead, a new one is tried with twice the patience, so that a slow
    /// link carries the group eventually.
    async fn offer_for(
        &self,
        parts: &Parts,
        now: Leadership,
        leadership: &mut watch::Receiver<Leadership>,
        patience: &mut Duration,
    ) -> ForwardOutcome {
        let moved = |later: &Leadership| (later.leader, later.term) != (now.leader, now.term);
        // Every arm may be dropped: an offer without an answer counts as one that may still
        // succeed, and a missed change is seen by the next iteration.
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
    /// Entries of earlier terms precede those of later ones. Once an entry of a later term is
    /// applied, every entry of `term` that will ever be committed has been applied, too.
    async fn superseded(&self, parts: &Parts, term: u64) {
        let mut applied = parts.applied.clone();
        let waits = || parts.waiters.waits(self.sequence);
        let later = applied.wait_for(|applied| applied.term > term || !waits());
        // On a timeout, or when the node stops, the group's outcome stays unknown.
        let seen = tokio::time::timeout(parts.request_timeout, later).await;
        if !matches!(seen, Ok(Ok(_))) {
            parts.waiters.fail(self.sequence, ProposeError::LeaderLost);
        }
    }
}

/// The error for a group that is given up: `definite` states that nothing was proposed, and applies
/// only while no offer may have put the group into the log.
const fn unanswered(at_large: bool, definite: ProposeError) -> ProposeError {
    if at_large {
        ProposeError::LeaderLost
    } else {
        definite
    }
}
