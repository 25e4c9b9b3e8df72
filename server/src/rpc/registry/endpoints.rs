//! One stream that follows the endpoints of a service: a snapshot, then what changes.
//!
//! It keeps no list of what was told: an event says what its key was before, so whether that was
//! selected, and told, follows from the event. A stream that the hub could not tell everything, or
//! whose selection changes as a whole, reads the service anew and tells another snapshot; history
//! is never needed, so no compaction can end it.
//!
//! Invariant: responses are in the order of revisions; after each, what a client was told is what
//! is selected at the revision of its header.

use std::{collections::BTreeMap, convert::Infallible, future::Future, sync::Arc, time::Duration};

use tenure_proto::v1::{self as wire, watch_endpoints_response::Change};
use tenure_statemachine::{Event, EventKind, KeyRange, KeyValue, Revision, service_range};
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at},
};
use tonic::Status;

use super::{
    Selected, record, select,
    selector::{Selector, Standing, Tally},
};
use crate::{
    rpc::{services::Services, status::Reason},
    watch::{Delivery, Subscription},
};

/// Time between two marks of progress while nothing changes. A client takes a stream that is
/// silent for a few of them for dead, and goes elsewhere.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// Events that are gathered from the queue into one response.
const ROUND_EVENTS_MAX: usize = 1000;
/// The one watcher of the stream's subscription.
const WATCHER: u64 = 1;

/// Why a stream ended by itself.
enum Ended {
    /// The client is gone.
    Closed,
    /// The state cannot be read.
    Failed(Reason),
}

impl From<Reason> for Ended {
    fn from(reason: Reason) -> Self {
        Self::Failed(reason)
    }
}

/// What became of an instance since the last response.
struct Changed {
    /// How it stood then.
    before: Standing,
    /// How it stands, if it is still there.
    now: Option<(Standing, wire::Registration)>,
}

/// A stream; run it as a task.
pub(super) struct EndpointsStream {
    services: Arc<Services>,
    hub: Subscription,
    service: String,
    range: KeyRange,
    selector: Selector,
    responses: mpsc::Sender<Result<wire::WatchEndpointsResponse, Status>>,
    tally: Tally,
    /// Whether all are selected, whatever their readiness; as it was told.
    all: bool,
    /// Every change up to here was taken in.
    seen: Revision,
    /// Changes that were taken in and not told yet, by instance.
    changed: BTreeMap<String, Changed>,
    /// Whether nothing was told since progress was last due.
    quiet: bool,
}

impl EndpointsStream {
    pub(super) fn new(
        services: Arc<Services>,
        service: String,
        selector: Selector,
        responses: mpsc::Sender<Result<wire::WatchEndpointsResponse, Status>>,
    ) -> Self {
        Self {
            hub: services.hub.open(),
            range: service_range(&service),
            services,
            service,
            selector,
            responses,
            tally: Tally::default(),
            all: false,
            seen: Revision::default(),
            changed: BTreeMap::new(),
            quiet: true,
        }
    }

    /// Serves until the client leaves or `stop` says why to end.
    ///
    /// # Cancel safety
    /// Dropping it closes the stream; nothing else is affected.
    pub(super) async fn run(mut self, stop: impl Future<Output = Status> + Send) {
        let responses = self.responses.clone();
        // Every arm ends the stream, so what the other futures had taken no longer matters.
        let status = tokio::select! {
            ended = self.serve() => match ended {
                Ok(never) => match never {},
                Err(Ended::Closed) => return,
                Err(Ended::Failed(reason)) => reason.into(),
            },
            status = stop => status,
            () = responses.closed() => return,
        };
        // A client that does not read delays this until its connection ends.
        let _ = responses.send(Err(status)).await;
    }

    async fn serve(&mut self) -> Result<Infallible, Ended> {
        self.begin().await?;
        let mut progress = ticker();
        loop {
            tokio::select! {
                // Cancel-safe as documented there.
                delivery = self.hub.next() => match delivery {
                    Some(delivery) => self.deliver(delivery).await?,
                    None => self.begin_anew().await?,
                },
                // Cancel-safe: a tick that was not taken comes again.
                _ = progress.tick() => self.report_progress().await?,
            }
        }
    }

    /// Attaches to the hub, then tells a snapshot: what is published after the first is in the
    /// queue or in the second, or in both, and then it is passed over.
    async fn begin(&mut self) -> Result<(), Ended> {
        self.hub.attach_now(WATCHER, &self.range);
        self.tell_snapshot().await
    }

    /// The hub lost changes for this stream.
    async fn begin_anew(&mut self) -> Result<(), Ended> {
        if self.hub.surrender().is_some() {
            self.begin().await?;
        }
        Ok(())
    }

    async fn tell_snapshot(&mut self) -> Result<(), Ended> {
        let Selected {
            revision,
            registrations,
            all,
            tally,
        } = select(&self.services, self.service.clone(), self.selector.clone()).await?;
        self.changed.clear();
        (self.seen, self.all, self.tally) = (revision, all, tally);
        let snapshot = Change::Snapshot(wire::Snapshot { registrations, all });
        self.send(revision, snapshot).await
    }

    /// Takes in `first` and what waits behind it, and tells it as one.
    async fn deliver(&mut self, first: Delivery) -> Result<(), Ended> {
        let mut taken = 0;
        let mut delivery = Some(first);
        while let Some(Delivery { events, .. }) = delivery {
            taken += events.len();
            self.take(&events);
            delivery = if taken < ROUND_EVENTS_MAX {
                self.hub.try_next()
            } else {
                None
            };
        }
        self.tell_changes().await
    }

    /// Takes in the events of one command.
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

    async fn tell_changes(&mut self) -> Result<(), Ended> {
        let all = self.selector.takes_all(self.tally);
        if all != self.all {
            // Also those enter or leave the selection that did not change.
            return self.tell_snapshot().await;
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
        self.send(self.seen, Change::Delta(delta)).await
    }

    /// Tells how far the client has been told, if nothing was told for a while.
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
        // What was told just now tells as much; and what was lost is told soon.
        if !std::mem::replace(&mut self.quiet, true) || self.hub.has_lost() {
            return Ok(());
        }
        self.seen = self.seen.max(published);
        self.send(self.seen, Change::Progress(true)).await?;
        self.quiet = true;
        Ok(())
    }

    async fn send(&mut self, revision: Revision, change: Change) -> Result<(), Ended> {
        self.quiet = false;
        let response = wire::WatchEndpointsResponse {
            header: Some(self.services.headers.own(revision)),
            change: Some(change),
        };
        let sent = self.responses.send(Ok(response)).await;
        sent.map_err(|_| Ended::Closed)
    }
}

/// Ticks when progress is due; late ticks do not pile up.
fn ticker() -> Interval {
    let mut ticker = interval_at(Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticker
}

#[cfg(test)]
mod tests;
