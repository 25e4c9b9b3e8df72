//! Proposes the end of leases whose time has come, while this node leads.
//!
//! It decides nothing: the state machine ends a lease only when its deadline has passed in cluster
//! time and no renewal got in between. What this adds is patience. While the quorum was not to be
//! had nobody could renew, so after such a gap every lease is given time to: as long as the gap
//! was, but no longer than the lease lives and within bounds. A gap before a change of leader
//! counts from the last that was heard of the old leader, not from its last entry: quiet is no gap.
//!
//! Invariant: nothing is proposed without the quorum's confirmation a moment ago that this node
//! leads, and nothing before a lease's deadline. The pause that is made here between two
//! confirmations never counts as a gap.

mod deadlines;
mod grace;

use std::{fmt, sync::Arc, time::Duration};

use tenure_statemachine::{
    ClusterTime, Fault, Lease, LeaseExpire, LeaseExpiry, LeaseId, Meta, Reader, Ttl,
};
use tokio::{sync::watch, task::JoinHandle, time::sleep};
use tracing::{debug, info, warn};

use self::{deadlines::Deadlines, grace::Graces};
use crate::{
    events::{LeaseFeed, NewLeases},
    fatal,
    node::{Leadership, Replica, reply_to},
    tasks,
};

/// Leases that one command ends. Each with keys is a revision of its own, so a command must stay
/// small enough not to hold up the writes behind it. The state machine ends fewer of them when they
/// have many keys or costly wills; the others are proposed again.
const EXPIRIES_PER_COMMAND_MAX: usize = 500;
/// Leases known here beyond those that exist before all are looked at anew: those that were revoked
/// stay until their time would have come.
const STALE_MAX: usize = 65_536;

/// Longest time between looks; etcd's.
const PACE_MAX: Duration = Duration::from_millis(100);
/// Longest time without the quorum's confirmation after which it is asked for.
const CONFIRM_EVERY_MAX: Duration = Duration::from_millis(500);
/// Looks in an election timeout, at least: two of them must not look like a gap.
const LOOKS_PER_ELECTION: u32 = 5;
/// Confirmations in an election timeout, at least.
const CONFIRMATIONS_PER_ELECTION: u32 = 2;

/// How the expirer paces itself.
#[derive(Clone, Copy, Debug)]
pub struct ExpirerSettings {
    /// Time between looks at what is due; leases end up to this much after their deadline.
    pub pace: Duration,
    /// Time without the quorum's confirmation after which it is asked for.
    pub confirm_every: Duration,
    /// Time without a heartbeat after which a follower stands for election.
    pub election_timeout: Duration,
}

impl ExpirerSettings {
    /// The settings for an election timeout.
    #[must_use]
    pub fn of(election_timeout: Duration) -> Self {
        Self {
            pace: PACE_MAX.min(election_timeout / LOOKS_PER_ELECTION),
            confirm_every: CONFIRM_EVERY_MAX.min(election_timeout / CONFIRMATIONS_PER_ELECTION),
            election_timeout,
        }
    }
}

/// Proposes the end of leases; runs as a task until the node stops.
pub struct Expirer {
    replica: Arc<dyn Replica>,
    feed: Arc<LeaseFeed>,
    settings: ExpirerSettings,
    deadlines: Deadlines,
    /// Cluster time when the quorum was last known to follow this node.
    confirmed: ClusterTime,
    /// Cluster time when it was last left alone, because that was known.
    content: ClusterTime,
    graces: Graces,
    /// The term that this node leads in: what it proposes is void in the next.
    term: u64,
}

impl Expirer {
    /// Starts the expirer of a node. `feed` is told of outcomes by the apply path.
    pub fn spawn(
        replica: Arc<dyn Replica>,
        feed: Arc<LeaseFeed>,
        settings: ExpirerSettings,
    ) -> JoinHandle<()> {
        let expirer = Self {
            replica,
            feed,
            settings,
            deadlines: Deadlines::default(),
            confirmed: ClusterTime::default(),
            content: ClusterTime::default(),
            graces: Graces::default(),
            term: 0,
        };
        tasks::spawn("lease-expirer", expirer.run())
    }

    /// Ends when nobody tells any more who leads: the node is gone.
    async fn run(mut self) {
        let mut leadership = self.replica.leadership();
        let mut led = false;
        loop {
            let now = *leadership.borrow_and_update();
            let leads = now.is_leader;
            if leads && now.term != self.term {
                self.term = now.term;
                self.take_over().await;
            } else if leads && !led {
                // A leader that lost its quorum and kept its term. How long the gap was is known
                // from what was last confirmed, and the look gives time for it.
                self.scan().await;
                info!(
                    leases = self.deadlines.len(),
                    "leading again: leases end here"
                );
            }
            if leads {
                self.look().await;
            } else {
                self.deadlines.clear();
            }
            led = leads;
            if !pause(&mut leadership, leads.then_some(self.settings.pace)).await {
                return;
            }
        }
    }

    /// Learns all leases, and gives them time: they could not be renewed while there was no leader.
    async fn take_over(&mut self) {
        let meta = self.scan().await;
        let now = self.replica.cluster_time();
        // It was elected a moment ago, so the quorum follows; the time before is made up for here.
        self.confirmed = now;
        self.content = now;
        // The old leader served until its last entry at least, and for as long as it was heard.
        let quiet = meta
            .now
            .until(now)
            .min(millis(self.replica.leaderless_for()));
        self.graces.give(now, quiet.max(self.elections(2)));
        info!(leases = self.deadlines.len(), "leading: leases end here");
    }

    async fn look(&mut self) {
        self.learn().await;
        // Each command may take long, and nobody renews meanwhile.
        while self.deadlines.len() > 0 && self.confirm().await {
            let now = self.replica.cluster_time();
            let due = self.deadlines.take_due(now, EXPIRIES_PER_COMMAND_MAX);
            if due.is_empty() {
                return;
            }
            let expiries = self.examine(due, now).await;
            if !expiries.is_empty() && !self.expire(expiries, now).await {
                return;
            }
        }
    }

    /// Takes in new leases.
    async fn learn(&mut self) {
        match self.feed.take() {
            Some(NewLeases(mut leases)) => {
                leases.sort_unstable();
                leases.dedup();
                if !leases.is_empty() {
                    self.look_up(leases).await;
                }
            }
            None => {
                self.scan().await;
            }
        }
        let leases = usize::try_from(self.meta().leases).unwrap_or(usize::MAX);
        if self.deadlines.len() > leases.saturating_add(STALE_MAX) {
            self.scan().await;
        }
    }

    /// Learns when each of these leases ends.
    async fn look_up(&mut self, ids: Vec<LeaseId>) {
        for (id, lease) in self.read(move |reader| find(reader, ids)).await {
            if let Some(lease) = lease {
                self.deadlines.set(id, lease.deadline);
            }
        }
    }

    /// Learns all leases anew.
    async fn scan(&mut self) -> Meta {
        drop(self.feed.take());
        let (meta, leases) = self
            .read(|reader| Ok((*reader.meta(), reader.leases()?)))
            .await;
        self.deadlines.clear();
        for lease in leases {
            self.deadlines.set(lease.id, lease.deadline);
        }
        meta
    }

    /// Whether the quorum followed this node a moment ago; asks it when that is not known.
    async fn confirm(&mut self) -> bool {
        let now = self.replica.cluster_time();
        // What was applied was committed, so the quorum followed when it was stamped.
        let last = self.confirmed.max(self.meta().now);
        let quiet = last.until(now);
        if quiet <= millis(self.settings.confirm_every) {
            self.confirmed = last;
            self.content = now;
            return true;
        }
        if let Err(error) = self.replica.read_barrier().await {
            debug!(%error, "quorum not confirmed, no lease ends");
            return false;
        }
        // The quorum may have come back only while it was asked.
        let now = self.replica.cluster_time();
        if self.content.max(last).until(now) > self.elections(1) {
            let gap = last.until(now);
            warn!(
                gap_ms = gap.0,
                "gap in cluster time, leases get time to renew"
            );
            self.graces.give(now, gap);
        }
        self.confirmed = now;
        self.content = now;
        true
    }

    /// Which of `due` are to end; looks at the others again when their time comes.
    async fn examine(&mut self, due: Vec<LeaseId>, now: ClusterTime) -> Vec<LeaseExpiry> {
        let mut expiries = Vec::new();
        for (id, lease) in self.read(move |reader| find(reader, due)).await {
            let Some(lease) = lease else { continue };
            let end = self.graces.end_of(&lease);
            if end <= now {
                expiries.push(LeaseExpiry {
                    id,
                    generation: lease.generation,
                    term: self.term,
                });
            } else {
                self.deadlines.set(id, end);
            }
        }
        expiries
    }

    /// Whether the command was applied. Leases that did not end are looked at again.
    async fn expire(&mut self, expiries: Vec<LeaseExpiry>, now: ClusterTime) -> bool {
        let ids: Vec<LeaseId> = expiries.iter().map(|expiry| expiry.id).collect();
        let outcome = self.replica.propose(LeaseExpire(expiries).into()).await;
        let ended = match outcome.map(reply_to::<LeaseExpire>) {
            Ok((_, Ok(ended))) => Some(ended),
            Ok((_, Err(refusal))) => {
                warn!(%refusal, "leases did not end");
                None
            }
            Err(error) => {
                debug!(%error, "end of leases not replicated, trying again");
                None
            }
        };
        let again = now.after(millis(self.settings.pace));
        let applied = ended.is_some();
        let mut ended = ended.unwrap_or_default();
        ended.sort_unstable();
        for id in ids {
            if ended.binary_search(&id).is_err() {
                self.deadlines.set(id, again);
            }
        }
        applied
    }

    /// The time of so many elections.
    fn elections(&self, count: u64) -> Ttl {
        Ttl(millis(self.settings.election_timeout)
            .0
            .saturating_mul(count))
    }

    /// The counters of the present state: one row, so read on the spot.
    fn meta(&self) -> Meta {
        let engine = self.replica.engine();
        match Reader::new(engine.as_ref()) {
            Ok(reader) => *reader.meta(),
            Err(fault) => fatal::stop(&fault),
        }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> T {
        let replica = Arc::clone(&self.replica);
        let reading = tasks::spawn_blocking(move || {
            let engine = replica.engine();
            let view = engine.snapshot()?;
            read(&Reader::new(view.as_ref())?)
        });
        match reading.await.expect("a read neither panics nor is aborted") {
            Ok(found) => found,
            Err(fault) => fatal::stop(&fault),
        }
    }
}

impl fmt::Debug for Expirer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expirer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Waits for a change of leadership, or for `pace` when there is one. Whether to go on.
async fn pause(leadership: &mut watch::Receiver<Leadership>, pace: Option<Duration>) -> bool {
    let Some(pace) = pace else {
        return leadership.changed().await.is_ok();
    };
    tokio::select! {
        // Cancel-safe: a change that was not seen is seen by the next call.
        changed = leadership.changed() => changed.is_ok(),
        // Cancel-safe: begins anew.
        () = sleep(pace) => true,
    }
}

/// The leases of these ids, where they exist.
fn find(reader: &Reader<'_>, ids: Vec<LeaseId>) -> Result<Vec<(LeaseId, Option<Lease>)>, Fault> {
    ids.into_iter()
        .map(|id| Ok((id, reader.lease(id)?)))
        .collect()
}

fn millis(duration: Duration) -> Ttl {
    Ttl(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
