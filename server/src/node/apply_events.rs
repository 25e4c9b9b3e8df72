//! What happens when entries are applied: time, watchers, waiters and gauges hear of it.

use std::{sync::Arc, time::Duration};

use tenure_statemachine::{EndCause, Meta, Outcome, Reply, Revision, Signal};
use tokio::sync::watch;
use tracing::warn;

use super::{
    cluster_clock::ClusterClock, error::ProposeError, progress::Applied, slow_apply::SlowApply,
    waiters::Waiters,
};
use crate::{
    events::{ClaimHub, LeaseFeed, WatchHub},
    metrics::Metrics,
    raft::{AppliedGroup, ApplyListener, ApplyTimes},
};

/// Hears of every applied entry. Nothing in here waits.
#[derive(Debug)]
pub(super) struct ApplyEvents {
    pub(super) origin: u64,
    pub(super) hub: Arc<WatchHub>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) clock: Arc<ClusterClock>,
    pub(super) applied: watch::Sender<Applied>,
    pub(super) meta: watch::Sender<Meta>,
    /// Apart from the rest, so that who waits for it is not woken by every batch.
    pub(super) floor: watch::Sender<Revision>,
    pub(super) leases: Arc<LeaseFeed>,
    pub(super) claims: Arc<ClaimHub>,
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

    /// Publishes what the commands changed, in order.
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

/// Tells who watches keys and who waits for claims what a command changed; takes its events.
pub(crate) fn hand_on(hub: &WatchHub, claims: &ClaimHub, outcome: &mut Outcome) {
    claims.observe(outcome);
    let events = std::mem::take(&mut outcome.events);
    if !events.is_empty() {
        hub.publish(outcome.revision, events);
    } else if outcome.revision > hub.revision() {
        // Too many to be handed on: who watches reads them. Signals are never left out.
        hub.reset(outcome.revision);
        claims.events_left_out();
    }
}

/// Tells of claims that were ended by force, and why: every member keeps such a record.
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
        for group in &mut groups {
            self.publish(&mut group.outcomes, each);
        }
        // Before the new position is known: a group that still waits then was not applied.
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
        // Before the answers: who hears that a write is done finds it in any later read.
        self.advance(meta);
        for (answer, outcomes) in answers {
            answer.complete(outcomes);
        }
        self.slow.observe(meta.applied_index, commands, took.whole);
    }

    fn restored(&self, meta: &Meta) {
        // A group may be in the snapshot, and its outcome is not. Before the new position is
        // known, so that nobody offers such a group again.
        self.waiters.fail_all(ProposeError::LeaderLost);
        self.hub.reset(meta.revision);
        self.claims.reset();
        self.advance(meta);
    }
}
