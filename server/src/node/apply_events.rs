//! Publishes applied entries: cluster time, watch events, outcomes for waiting callers, metrics.

use std::{sync::Arc, time::Duration};

use tenure_statemachine::{EndCause, Meta, Outcome, Reply, Revision, Signal};
use tokio::sync::watch;
use tracing::warn;

use super::{
    cluster_clock::ClusterClock, error::ProposeError, integrity::IntegrityFeed, progress::Applied,
    slow_apply::SlowApply, waiters::Waiters,
};
use crate::{
    events::{ClaimHub, LeaseFeed, WatchHub},
    metrics::Metrics,
    raft::{AppliedGroup, ApplyListener, ApplyTimes},
};

/// The [`ApplyListener`] of a node. No method blocks.
#[derive(Debug)]
pub(super) struct ApplyEvents {
    pub(super) origin: u64,
    pub(super) hub: Arc<WatchHub>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) clock: Arc<ClusterClock>,
    pub(super) applied: watch::Sender<Applied>,
    pub(super) meta: watch::Sender<Meta>,
    /// Separate from `meta`, so that tasks waiting for a new floor are not woken by every batch.
    pub(super) floor: watch::Sender<Revision>,
    pub(super) leases: Arc<LeaseFeed>,
    pub(super) claims: Arc<ClaimHub>,
    pub(super) integrity: IntegrityFeed,
    pub(super) metrics: Arc<Metrics>,
    pub(super) slow: SlowApply,
}

impl ApplyEvents {
    fn advance(&self, meta: &Meta) {
        self.clock.observe(meta.now);
        let level = &self.metrics.server.feature_level;
        level.set(meta.level.0.into());
        self.meta.send_replace(*meta);
        self.floor.send_if_modified(|floor| {
            let moved = *floor != meta.floor;
            *floor = meta.floor;
            moved
        });
        self.applied.send_replace(Applied {
            index: meta.applied_index,
            term: meta.applied_term,
        });
    }

    fn count(&self, outcome: &Outcome) {
        let facts = &outcome.facts;
        self.metrics.mvcc.put.inc_by(facts.keys_put);
        self.metrics.mvcc.delete.inc_by(facts.keys_deleted);
        let leases = &self.metrics.lease;
        leases.granted.inc_by(facts.leases_granted.len() as u64);
        leases.revoked.inc_by(facts.leases_revoked);
        match &outcome.reply {
            Ok(Reply::Txn(_)) => self.metrics.mvcc.txn.inc(),
            Ok(Reply::LeaseRenew(renewed)) => {
                leases
                    .renewed
                    .inc_by(renewed.iter().flatten().count() as u64);
            }
            Ok(Reply::LeaseExpire(expired)) => leases.expired.inc_by(expired.len() as u64),
            Ok(_) | Err(_) => {}
        }
    }

    /// Publishes the effects of the commands, in log order.
    fn publish(&self, outcomes: &mut [Outcome], each: Duration) {
        for outcome in outcomes {
            self.metrics.apply.observe(outcome, each);
            self.leases.observe(outcome);
            self.count(outcome);
            audit(&outcome.signals);
            hand_on(&self.hub, &self.claims, outcome);
        }
    }
}

/// Publishes the effects of one command to watchers and to waiters for claims; takes its events.
pub(crate) fn hand_on(hub: &WatchHub, claims: &ClaimHub, outcome: &mut Outcome) {
    claims.observe(outcome);
    if outcome.facts.auth_changed {
        hub.auth_changed();
    }
    let events = std::mem::take(&mut outcome.events);
    if !events.is_empty() {
        hub.publish(outcome.revision, events);
    } else if outcome.revision > hub.revision() {
        // Too many events to carry: watchers read them. Signals are never left out.
        hub.reset(outcome.revision);
        claims.events_left_out();
    }
}

fn changes_alarms(group: &AppliedGroup) -> bool {
    let replies = group.outcomes.iter().map(|outcome| &outcome.reply);
    replies
        .into_iter()
        .any(|reply| matches!(reply, Ok(Reply::Alarm(_))))
}

/// Logs forced ends of claims, with the reason, to the audit log of every member.
fn audit(signals: &[Signal]) {
    let mut why = "";
    for signal in signals {
        if let Signal::Forced(reason) = signal {
            why = reason;
        } else if let Signal::Ended(claim, EndCause::Forced) = signal {
            let (name, key) = (claim.name.escape_ascii(), claim.key.escape_ascii());
            warn!(
                target: "audit",
                %name,
                %key,
                lease = %claim.lease,
                token = %claim.token,
                held = claim.held,
                principal = claim.principal,
                why,
                "a claim was ended by force"
            );
        }
    }
}

impl ApplyListener for ApplyEvents {
    fn awaits(&self, origin: u64) -> bool {
        origin == self.origin
    }

    fn applied(&self, meta: &Meta, mut groups: Vec<AppliedGroup>, took: ApplyTimes) {
        self.metrics
            .disk
            .backend_commit_duration
            .observe(took.commit.as_secs_f64());
        self.metrics.disk.wal_write_bytes.inc_by(took.bytes);
        let commands = groups.iter().map(|group| group.outcomes.len()).sum();
        let each = took.whole / u32::try_from(commands).unwrap_or(u32::MAX).max(1);
        if groups.iter().any(changes_alarms) {
            self.integrity.look();
        }
        for group in &mut groups {
            self.publish(&mut group.outcomes, each);
        }
        // Waiters leave the table before the new position is published: a group that still waits
        // afterwards was not applied.
        let mut answers = Vec::new();
        for group in groups {
            if group.origin != self.origin {
                continue;
            }
            if group.is_void {
                self.waiters.fail(group.sequence, ProposeError::LeaderLost);
            } else if let Some(answer) = self.waiters.take(group.sequence) {
                answers.push((answer, group.outcomes));
            }
        }
        // The position is published before the answers: a caller that learns that its write is done
        // finds it in every later read.
        self.advance(meta);
        for (answer, outcomes) in answers {
            answer.complete(outcomes);
        }
        self.slow.observe(meta.applied_index, commands, took.whole);
    }

    fn restored(&self, meta: &Meta) {
        // A snapshot may contain a group but not its outcome. Waiters fail before the new position
        // is published, so that no such group is offered again.
        self.waiters.fail_all(ProposeError::LeaderLost);
        self.integrity.look();
        self.hub.auth_changed();
        self.hub.reset(meta.revision);
        self.claims.reset();
        self.advance(meta);
    }
}
