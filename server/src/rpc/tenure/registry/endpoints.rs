//! One stream that follows the endpoints of a service: a snapshot, then changes.
//!
//! It keeps no list of what was sent: an event contains the previous value of its key, which
//! determines whether the instance was selected, and so sent. When the hub dropped changes of the
//! stream, or its selection changes as a whole, it reads the service again and sends another
//! snapshot; it never reads history, so no compaction can end it.
//!
//! The responses that wait for the client are bounded as on watch streams, by the same account: a
//! response that is not small holds a share. When there is no share for a change, the stream waits
//! for one that covers a snapshot, and reads that.
//!
//! Invariant: responses are in revision order; after each, the client's view is the selection at
//! the revision of its header.

use std::{collections::BTreeMap, convert::Infallible, future::Future, sync::Arc, time::Duration};

use tenure_proto::v1::{self as wire, watch_endpoints_response::Change};
use tenure_statemachine::{Event, EventKind, KeyRange, KeyValue, Revision, service_range};
use tokio::{
    sync::watch,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tonic::Status;

use super::{
    Selected, record, select,
    selector::{Selector, Standing, Tally},
};
use crate::{
    events::{Delivery, Subscription},
    rpc::{
        admission::Permit,
        answer::{
            failure::Failure,
            outbox::{Closed, Outbox},
            share::{STEP_BYTES_MAX, Share},
            status::Reason,
        },
        services::Services,
    },
};

/// Time between progress responses while nothing changes. A client takes a stream that is silent
/// for a few of these intervals for dead, and reconnects elsewhere.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// Events that are gathered from the queue into one response.
const ROUND_EVENTS_MAX: usize = 1000;
/// As above, in bytes.
const ROUND_BYTES_MAX: usize = 256 * 1024;
/// The one watcher of the stream's subscription.
const WATCHER: u64 = 1;

/// Why a stream ended by itself.
enum Ended {
    /// The client is gone.
    Closed,
    /// The state cannot be read.
    Failed(Failure),
}

impl From<Closed> for Ended {
    fn from(_: Closed) -> Self {
        Self::Closed
    }
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// A change of an instance since the last response.
struct Changed {
    /// Its standing in the last response.
    before: Standing,
    /// Its present standing, if it exists.
    now: Option<(Standing, wire::Registration)>,
}

/// A stream; run it as a task.
pub(super) struct EndpointsStream {
    services: Arc<Services>,
    /// To read the instances of the service.
    permit: Permit,
    auth_changes: watch::Receiver<u64>,
    hub: Subscription,
    service: String,
    range: KeyRange,
    selector: Selector,
    outbox: Arc<Outbox<wire::WatchEndpointsResponse>>,
    tally: Tally,
    /// Whether all are selected, whatever their readiness, as of the last snapshot.
    all: bool,
    /// Every change up to this revision was processed.
    seen: Revision,
    /// Changes that were processed and not sent yet, by instance.
    changed: BTreeMap<String, Changed>,
    /// Whether nothing was sent since progress was last due.
    quiet: bool,
}

impl EndpointsStream {
    pub(super) fn new(
        services: Arc<Services>,
        permit: Permit,
        (service, selector): (String, Selector),
        outbox: Outbox<wire::WatchEndpointsResponse>,
    ) -> Self {
        Self {
            hub: services.hub.open(),
            auth_changes: services.hub.auth_changes(),
            range: service_range(&service),
            permit,
            services,
            service,
            selector,
            outbox: Arc::new(outbox),
            tally: Tally::default(),
            all: false,
            seen: Revision::default(),
            changed: BTreeMap::new(),
            quiet: true,
        }
    }

    /// Serves until the client is gone or `stop` resolves with a status.
    ///
    /// # Cancel safety
    /// Dropping the future closes the stream; nothing else is affected.
    pub(super) async fn run(mut self, stop: impl Future<Output = Status> + Send) {
        let outbox = Arc::clone(&self.outbox);
        let services = Arc::clone(&self.services);
        // Every arm ends the stream, so the state of the other futures does not matter.
        let status = tokio::select! {
            ended = self.serve() => match ended {
                Ok(never) => match never {},
                Err(Ended::Closed) => return,
                Err(Ended::Failed(failure)) => failure.into(),
            },
            status = stop => status,
            () = outbox.closed() => return,
            () = outbox.overdue(services.history.account()) => {
                // Releases its shares now, and not when the client reads.
                outbox.abandon(Reason::WatchUnread.into());
                return;
            }
        };
        outbox.end(status);
    }

    async fn serve(&mut self) -> Result<Infallible, Ended> {
        self.begin().await?;
        let mut progress = ticker();
        loop {
            tokio::select! {
                // Cancel-safe: a change that was not seen is seen by the next call.
                Ok(()) = self.auth_changes.changed() => self.recheck()?,
                // Cancel-safe as documented there.
                delivery = self.hub.next() => match delivery {
                    Some(delivery) => {
                        // Changes of permissions come before later changes of keys.
                        self.recheck()?;
                        self.deliver(delivery).await?;
                    }
                    None => self.resubscribe().await?,
                },
                // Cancel-safe: a missed tick fires again.
                _ = progress.tick() => self.report_progress().await?,
            }
        }
    }

    /// Ends the stream of a caller who may not read the instances any more.
    fn recheck(&self) -> Result<(), Ended> {
        if !self.services.authenticates()? {
            return Ok(());
        }
        let permit = &self.permit;
        Ok(self.services.latest(|reader| permit.check(reader))?)
    }

    /// Subscribes to the hub, then sends a snapshot: a change that is published in between is in
    /// the queue or in the snapshot. One that is in both is skipped.
    async fn begin(&mut self) -> Result<(), Ended> {
        self.hub.attach_now(WATCHER, &self.range);
        self.send_snapshot().await
    }

    /// The hub dropped changes of this stream.
    async fn resubscribe(&mut self) -> Result<(), Ended> {
        if self.hub.surrender().is_some() {
            self.begin().await?;
        }
        Ok(())
    }

    /// Reads the selection, under a share that covers it, and sends it.
    async fn send_snapshot(&mut self) -> Result<(), Ended> {
        let services = Arc::clone(&self.services);
        let account = services.history.account();
        let mut needed = STEP_BYTES_MAX;
        loop {
            let mut share = account.take(needed).await;
            // Many streams may need one at once, and most of so many reads would be refused.
            let permit = services.history.permit().await;
            let (allowed, service) = (self.permit.clone(), self.service.clone());
            let selected = select(&services, allowed, service, self.selector.clone()).await?;
            drop(permit);
            needed = selected.registrations.iter().map(held_bytes).sum();
            if self.outbox.takes_uncharged(needed) {
                drop(share);
                return self.send_selected(selected, needed, None).await;
            }
            if account.grow(&mut share, needed) {
                return self.send_selected(selected, needed, Some(share)).await;
            }
            // Read again once there is memory for it; nothing is held meanwhile.
        }
    }

    async fn send_selected(
        &mut self,
        selected: Selected,
        bytes: usize,
        share: Option<Share>,
    ) -> Result<(), Ended> {
        let Selected {
            revision,
            registrations,
            all,
            tally,
        } = selected;
        self.changed.clear();
        (self.seen, self.all, self.tally) = (revision, all, tally);
        let snapshot = Change::Snapshot(wire::Snapshot { registrations, all });
        self.send(revision, snapshot, bytes, share).await
    }

    /// Processes `first` and the changes queued behind it, and sends them as one response.
    async fn deliver(&mut self, first: Delivery) -> Result<(), Ended> {
        let (mut taken, mut bytes) = (0, 0);
        let mut delivery = Some(first);
        while let Some(changes) = delivery {
            taken += changes.events.len();
            bytes += changes.bytes();
            self.take(&changes.events);
            delivery = if taken < ROUND_EVENTS_MAX && bytes < ROUND_BYTES_MAX {
                self.hub.try_next()
            } else {
                None
            };
        }
        self.send_changes().await
    }

    /// Processes the events of one command.
    fn take(&mut self, events: &[Event]) {
        for event in events {
            let revision = event.kv.mod_revision;
            if revision > self.seen && self.range.contains(&event.kv.key) {
                self.take_event(event);
            }
        }
        let last = events.last().map(|event| event.kv.mod_revision);
        self.seen = self.seen.max(last.unwrap_or_default());
    }

    fn take_event(&mut self, event: &Event) {
        let stands = |kv: &KeyValue| {
            let registration = record::registration(kv)?;
            let standing = self.selector.standing(registration.instance.as_ref()?);
            Some((standing, registration))
        };
        let before = event.previous.as_ref().and_then(stands);
        let now = match event.kind {
            EventKind::Put => stands(&event.kv),
            EventKind::Delete => None,
        };
        let id_of = |(_, found): &(Standing, wire::Registration)| {
            found.instance.as_ref().map(|instance| instance.id.clone())
        };
        let Some(id) = now.as_ref().or(before.as_ref()).and_then(id_of) else {
            return;
        };
        let before = before.map_or(Standing::Other, |(standing, _)| standing);
        self.tally.remove(before);
        if let Some((standing, _)) = now {
            self.tally.add(standing);
        }
        let changed = self
            .changed
            .entry(id)
            .or_insert(Changed { before, now: None });
        changed.now = now;
    }

    async fn send_changes(&mut self) -> Result<(), Ended> {
        let all = self.selector.takes_all(self.tally);
        if all != self.all {
            // Unchanged instances enter or leave the selection too.
            return self.send_snapshot().await;
        }
        let mut delta = wire::Delta::default();
        for (id, changed) in std::mem::take(&mut self.changed) {
            match changed.now {
                Some((standing, registration)) if standing.is_selected(all) => {
                    delta.updated.push(registration);
                }
                Some(_) | None if changed.before.is_selected(all) => delta.removed.push(id),
                Some(_) | None => {}
            }
        }
        if delta.updated.is_empty() && delta.removed.is_empty() {
            return Ok(());
        }
        let bytes = delta_bytes(&delta);
        if self.outbox.takes_uncharged(bytes) {
            let change = Change::Delta(delta);
            return self.send(self.seen, change, bytes, None).await;
        }
        let services = Arc::clone(&self.services);
        match services.history.account().take_now(bytes) {
            Some(share) => {
                let change = Change::Delta(delta);
                self.send(self.seen, change, bytes, Some(share)).await
            }
            // The snapshot includes later changes too.
            None => self.send_snapshot().await,
        }
    }

    /// Sends the revision up to which the client is complete, if nothing was sent for a while.
    async fn report_progress(&mut self) -> Result<(), Ended> {
        let quiet = std::mem::replace(&mut self.quiet, true);
        if !quiet {
            return Ok(());
        }
        let published = self.hub.published();
        while self.seen <= published {
            match self.hub.try_next() {
                Some(delivery) => self.deliver(delivery).await?,
                None => break,
            }
        }
        // A response that was just sent has its revision; dropped changes are sent with a snapshot
        // soon.
        if !std::mem::replace(&mut self.quiet, true) || self.hub.has_lost() {
            return Ok(());
        }
        self.seen = self.seen.max(published);
        self.send(self.seen, Change::Progress(true), 0, None)
            .await?;
        self.quiet = true;
        Ok(())
    }

    /// Sends a change whose registrations take `bytes` of memory.
    async fn send(
        &mut self,
        revision: Revision,
        change: Change,
        bytes: usize,
        share: Option<Share>,
    ) -> Result<(), Ended> {
        self.quiet = false;
        let response = wire::WatchEndpointsResponse {
            header: Some(self.services.headers.own(revision)),
            change: Some(change),
        };
        let bytes = size_of_val(&response) + bytes;
        let share = share.map(Arc::new);
        Ok(self.outbox.send(response, bytes, share).await?)
    }
}

fn delta_bytes(delta: &wire::Delta) -> usize {
    let removed = delta
        .removed
        .iter()
        .map(|id| size_of::<String>() + id.len());
    removed.sum::<usize>() + delta.updated.iter().map(held_bytes).sum::<usize>()
}

/// Size of a registration in memory.
fn held_bytes(registration: &wire::Registration) -> usize {
    size_of::<wire::Registration>() + registration.instance.as_ref().map_or(0, instance_bytes)
}

fn instance_bytes(instance: &wire::Instance) -> usize {
    let named = [&instance.service, &instance.id, &instance.zone];
    let texts = named.map(String::len).iter().sum::<usize>() + instance.version.len();
    let endpoints = instance.endpoints.iter().map(|endpoint| {
        size_of::<wire::Endpoint>() + endpoint.protocol.len() + endpoint.host.len()
    });
    let metadata = instance
        .metadata
        .iter()
        .map(|(key, value)| size_of::<(String, String)>() + key.len() + value.len());
    let tags = instance.tags.iter();
    let tags = tags.map(|tag| size_of::<String>() + tag.len());
    texts + endpoints.sum::<usize>() + metadata.sum::<usize>() + tags.sum::<usize>()
}

/// Ticks when progress is due; missed ticks do not accumulate.
fn ticker() -> Interval {
    let mut ticker = interval_at(Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

#[cfg(test)]
mod tests;
