//! Proposes the expiry of leases whose deadline has passed, while this node leads.
//!
//! The state machine decides: it ends a lease only when the deadline has passed in cluster time and
//! no renewal came before. The expirer adds grace periods: leases cannot be renewed without a
//! quorum, so after such a gap every lease gets time to renew, as long as the gap but at most its
//! TTL and `grace::GRACE_MAX`. A gap before a change of leader counts from the last contact with
//! the old leader, not from its last entry: an idle leader is no gap.
//!
//! Invariant: the expirer proposes only with a recent confirmation by the quorum that this node
//! leads, and never before the deadline of a lease. Its own pause between two confirmations never
//! counts as a gap.

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
    node::{Integrity, Leadership, Replica, reply_to},
    tasks,
};

/// Leases per command. Each lease with keys takes a revision, so the bound keeps a command from
/// delaying the writes behind it. The state machine ends fewer when they have many keys or costly
/// wills; the others are proposed again.
const EXPIRIES_PER_COMMAND_MAX: usize = 500;
/// Entries in excess of the existing leases that cause a new scan: a revoked lease keeps its entry
/// until its deadline.
const STALE_MAX: usize = 65_536;

/// Upper bound of [`ExpirerSettings::pace`]; etcd's value.
const PACE_MAX: Duration = Duration::from_millis(100);
/// Upper bound of [`ExpirerSettings::confirm_every`].
const CONFIRM_EVERY_MAX: Duration = Duration::from_millis(500);
/// Checks per election timeout, at least: the time between two must not look like a gap.
const LOOKS_PER_ELECTION: u32 = 5;
/// Confirmations per election timeout, at least.
const CONFIRMATIONS_PER_ELECTION: u32 = 2;

/// Intervals of the expirer.
#[derive(Clone, Copy, Debug)]
pub struct ExpirerSettings {
    /// Time between two checks for due leases; leases end up to this much after their deadline.
    pub pace: Duration,
    /// Time after a confirmation by the quorum before the next is requested.
    pub confirm_every: Duration,
    /// Time without a heartbeat after which a follower stands for election.
    pub election_timeout: Duration,
}

impl ExpirerSettings {
    /// Derives the settings from an election timeout.
    #[must_use]
    pub fn of(election_timeout: Duration) -> Self {
        Self {
            pace: PACE_MAX.min(election_timeout / LOOKS_PER_ELECTION),
            confirm_every: CONFIRM_EVERY_MAX.min(election_timeout / CONFIRMATIONS_PER_ELECTION),
            election_timeout,
        }
    }
}

/// Proposes the expiry of leases; runs as a task until the node stops.
pub struct Expirer {
    replica: Arc<dyn Replica>,
    feed: Arc<LeaseFeed>,
    settings: ExpirerSettings,
    deadlines: Deadlines,
    /// Latest cluster time at which the quorum was known to follow this node.
    confirmed: ClusterTime,
    /// Cluster time of the last successful [`Self::confirm`].
    content: ClusterTime,
    graces: Graces,
    /// The term in which this node leads; its proposals have no effect in later terms.
    term: u64,
}

impl Expirer {
    /// Starts the expirer of a node. The apply path passes outcomes to `feed`.
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

    /// Returns when the leadership channel closes: the node has stopped.
    async fn run(mut self) {
        let mut leadership = self.replica.leadership();
        let integrity = self.replica.integrity();
        let mut led = false;
        loop {
            let now = *leadership.borrow_and_update();
            // Leases end by this node's state, which must not be one that an alarm is about.
            let leads = now.is_leader && *integrity.borrow() == Integrity::Sound;
            if leads && now.term != self.term {
                self.term = now.term;
                self.take_over().await;
            } else if leads && !led {
                // The leader lost its quorum and kept its term. `look` computes the gap from the
                // last confirmation, and grants grace for it.
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
            if !pause(&mut leadership, now.is_leader.then_some(self.settings.pace)).await {
                return;
            }
        }
    }

    /// Scans all leases and grants them grace for the time without a leader.
    async fn take_over(&mut self) {
        let meta = self.scan().await;
        let now = self.replica.cluster_time();
        // The election confirmed the quorum; the grace below covers the time before it.
        self.confirmed = now;
        self.content = now;
        // The old leader served at least until its last entry and the last contact with it.
        let quiet = meta
            .now
            .until(now)
            .min(millis(self.replica.leaderless_for()));
        self.graces.give(now, quiet.max(self.elections(2)));
        info!(leases = self.deadlines.len(), "leading: leases end here");
    }

    async fn look(&mut self) {
        self.learn().await;
        // Each command may take long, and no lease is renewed meanwhile.
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

    /// Adds new leases from the feed; scans all after an overflow or with too many stale entries.
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

    /// Reads the deadlines of these leases from the state.
    async fn look_up(&mut self, ids: Vec<LeaseId>) {
        for (id, lease) in self.read(move |reader| find(reader, ids)).await {
            if let Some(lease) = lease {
                self.deadlines.set(id, lease.deadline);
            }
        }
    }

    /// Rebuilds the deadlines from all leases in the state.
    async fn scan(&mut self) -> Meta {
        _ = self.feed.take();
        let (meta, leases) = self
            .read(|reader| Ok((*reader.meta(), reader.leases()?)))
            .await;
        self.deadlines.clear();
        for lease in leases {
            self.deadlines.set(lease.id, lease.deadline);
        }
        meta
    }

    /// Whether the quorum confirmed this node recently; requests a read barrier if not.
    async fn confirm(&mut self) -> bool {
        let now = self.replica.cluster_time();
        // Applied entries were committed, so the quorum followed at their stamps.
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
        // The quorum may have returned only during the read barrier.
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

    /// Returns those of `due` that are to end, and schedules the others for their new deadlines.
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

    /// Proposes the expiries and returns whether they were applied. Reschedules leases that did not
    /// end.
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

    /// Returns the time of `count` election timeouts.
    fn elections(&self, count: u64) -> Ttl {
        Ttl(millis(self.settings.election_timeout)
            .0
            .saturating_mul(count))
    }

    /// Counters of the current state: one row, so read on the runtime thread.
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

/// Waits for a change of leadership, or for `pace` if given. Returns false when the node has
/// stopped.
async fn pause(leadership: &mut watch::Receiver<Leadership>, pace: Option<Duration>) -> bool {
    let Some(pace) = pace else {
        return leadership.changed().await.is_ok();
    };
    tokio::select! {
        // Cancel-safe: the next call sees an unseen change.
        changed = leadership.changed() => changed.is_ok(),
        // Cancel-safe: the timer restarts with the next call.
        () = sleep(pace) => true,
    }
}

/// Looks up these leases; `None` for those that do not exist.
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
