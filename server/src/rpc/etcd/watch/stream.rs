//! One watch stream: a task that owns its watchers and alone sends its responses.
//!
//! A watcher is either *live*, fed by the hub, or *behind*, reading history step by step until it
//! has caught up. When a client does not read, this task waits, the hub's queue for it fills, and
//! its watchers fall behind; other streams are not affected.
//!
//! Invariant: per watcher, responses are in revision order without gap or repeat; all events of a
//! revision are in one response unless the client takes fragments; a response exceeds its bound
//! only when a single unit does; after a progress response no event at or below its revision
//! follows.

mod behind;
mod live;
mod progress;
mod watchers;

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    fmt,
    future::Future,
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt};
use tenure_proto::{
    etcdserverpb::{WatchRequest, WatchResponse, watch_request::RequestUnion},
    mvccpb,
};
use tenure_statemachine::{Reader, Revision};
use tokio::task::JoinHandle;
use tonic::Status;

use super::{
    fragment,
    history::{History, Step},
    watcher::Watcher,
};
use crate::{
    events::{StreamRanges, Subscription, WatchHub, WatcherKey},
    fatal,
    node::Replica,
    rpc::{
        admission::StreamCaller,
        answer::{
            outbox::{Closed, Outbox},
            reply::Headers,
            share::Share,
            status::Reason,
        },
    },
};

/// The watch id of responses that concern no watcher, or all.
const NO_WATCHER: i64 = -1;

/// Settings of a stream, fixed when it opens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamSettings {
    /// Time between progress responses to an idle watcher, jitter included.
    pub(crate) progress_interval: Duration,
    /// Size that no response reaches, unless one revision, or one event of it if the client takes
    /// fragments, is larger.
    pub(crate) response_bytes: usize,
}

/// A watch stream; run it as a task.
pub(crate) struct WatchStream<I> {
    replica: Arc<dyn Replica>,
    caller: StreamCaller,
    history: Arc<History>,
    headers: Headers,
    settings: StreamSettings,
    hub: Subscription,
    inbound: I,
    inbound_open: bool,
    outbox: Arc<Outbox<WatchResponse>>,
    watchers: HashMap<WatcherKey, Watcher>,
    /// Size of their key ranges.
    ranges: StreamRanges,
    keys: HashMap<i64, WatcherKey>,
    /// The watchers that are behind.
    behind: BTreeSet<WatcherKey>,
    /// Every published change up to this revision was sent.
    delivered: Revision,
    keys_used: WatcherKey,
    next_id: i64,
    /// The watcher at which the last step through history began.
    turn: WatcherKey,
    step: Option<JoinHandle<Step>>,
    /// Whether the client requested progress while a watcher was behind, and has no response yet.
    progress_asked: bool,
}

impl<I> Drop for WatchStream<I> {
    fn drop(&mut self) {
        // The step may wait for memory that is no longer needed.
        if let Some(step) = &self.step {
            step.abort();
        }
    }
}

impl<I> fmt::Debug for WatchStream<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchStream")
            .field("watchers", &self.watchers)
            .finish_non_exhaustive()
    }
}

impl<I> WatchStream<I>
where
    I: Stream<Item = Result<WatchRequest, Status>> + Send + Unpin,
{
    pub(crate) fn new(
        hub: &Arc<WatchHub>,
        replica: Arc<dyn Replica>,
        caller: StreamCaller,
        history: Arc<History>,
        settings: StreamSettings,
        inbound: I,
        outbox: Outbox<WatchResponse>,
    ) -> Self {
        Self {
            headers: Headers::of(replica.as_ref()),
            replica,
            caller,
            history,
            settings,
            hub: hub.open(),
            inbound,
            inbound_open: true,
            outbox: Arc::new(outbox),
            watchers: HashMap::new(),
            ranges: hub.ranges().of_stream(),
            keys: HashMap::new(),
            behind: BTreeSet::new(),
            delivered: Revision::default(),
            keys_used: 0,
            next_id: 0,
            turn: 0,
            step: None,
            progress_asked: false,
        }
    }

    /// Serves until the client is gone or `stop` resolves with a status.
    ///
    /// # Cancel safety
    /// Dropping the future closes the stream; nothing else is affected.
    pub(crate) async fn run(mut self, stop: impl Future<Output = Status> + Send) {
        let outbox = Arc::clone(&self.outbox);
        let history = Arc::clone(&self.history);
        // Every arm ends the stream, so the state of the other futures does not matter.
        let status = tokio::select! {
            ended = self.serve() => match ended {
                Ok(never) => match never {},
                Err(Closed) => return,
            },
            status = stop => status,
            () = outbox.closed() => return,
            () = outbox.overdue(history.account()) => {
                // Releases the shares of history now, and not when the client reads.
                outbox.abandon(Reason::WatchUnread.into());
                return;
            }
        };
        outbox.end(status);
    }

    async fn serve(&mut self) -> Result<Infallible, Closed> {
        let mut progress = progress::ticker(self.settings.progress_interval);
        loop {
            self.begin_step();
            tokio::select! {
                // Cancel-safe: a request that was not yielded stays in the stream.
                request = self.inbound.next(), if self.inbound_open => match request {
                    Some(Ok(request)) => self.handle(request).await?,
                    Some(Err(_)) => return Err(Closed),
                    // The client sends no more requests but may still receive.
                    None => self.inbound_open = false,
                },
                // Cancel-safe as documented there.
                delivery = self.hub.next() => match delivery {
                    Some(delivery) => self.deliver(delivery).await?,
                    None => self.fall_behind(),
                },
                // Cancel-safe: the step stays in its field until it has resolved.
                step = behind::resolved(&mut self.step) => {
                    self.step = None;
                    self.advance(step).await?;
                    self.answer_late_progress().await?;
                }
                // Cancel-safe as documented there.
                () = self.caller.changed() => self.recheck().await?,
                // Cancel-safe: a missed tick fires again.
                _ = progress.tick() => self.report_progress().await?,
            }
        }
    }

    async fn handle(&mut self, request: WatchRequest) -> Result<(), Closed> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request).await,
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id).await,
            Some(RequestUnion::ProgressRequest(_)) => self.answer_progress().await,
            // An empty request has no response, and does not end the other watchers.
            None => Ok(()),
        }
    }
}

impl<I> WatchStream<I> {
    /// Sends the events of a watcher, if there are any. The header has the revision `latest`, or
    /// else the last revision in the response; `share` covers the events.
    async fn send_events(
        &mut self,
        key: WatcherKey,
        events: Vec<mvccpb::Event>,
        latest: Option<Revision>,
        share: Option<&Arc<Share>>,
    ) -> Result<(), Closed> {
        if events.is_empty() {
            return Ok(());
        }
        // Changes of keys come after the changes of permissions before them.
        self.recheck().await?;
        let Some(watcher) = self.watchers.get_mut(&key) else {
            return Ok(());
        };
        watcher.quiet = false;
        let (id, unit) = (watcher.id, watcher.unit);
        let response = WatchResponse {
            watch_id: id,
            ..WatchResponse::default()
        };
        let bytes_max = self.settings.response_bytes;
        if fragment::is_one(&events, bytes_max) {
            let whole = WatchResponse { events, ..response };
            return self.send_part(whole, latest, share).await;
        }
        for part in fragment::split(response, events, bytes_max, unit) {
            self.send_part(part, latest, share).await?;
        }
        Ok(())
    }

    async fn send_part(
        &self,
        mut part: WatchResponse,
        latest: Option<Revision>,
        share: Option<&Arc<Share>>,
    ) -> Result<(), Closed> {
        let last = part.events.last().and_then(|event| event.kv.as_ref());
        let last = Revision(last.map_or(0, |kv| kv.mod_revision));
        part.header = Some(self.headers.at(latest.unwrap_or(last).max(last)));
        self.send_under(part, share.cloned()).await
    }

    /// The latest revision that this node knows.
    fn revision(&self) -> Revision {
        let revision = self.read(|reader| reader.meta().revision);
        revision.max(self.hub.published())
    }

    /// Reads a few rows of the present state.
    fn read<T>(&self, read: impl FnOnce(&Reader<'_>) -> T) -> T {
        let engine = self.replica.engine();
        match Reader::new(engine.as_ref()) {
            Ok(reader) => read(&reader),
            Err(fault) => fatal::stop(&fault),
        }
    }

    fn response(&self, watch_id: i64, revision: Revision) -> WatchResponse {
        WatchResponse {
            header: Some(self.headers.at(revision)),
            watch_id,
            ..WatchResponse::default()
        }
    }

    async fn send(&self, response: WatchResponse) -> Result<(), Closed> {
        self.send_under(response, None).await
    }

    async fn send_under(
        &self,
        response: WatchResponse,
        share: Option<Arc<Share>>,
    ) -> Result<(), Closed> {
        let bytes = fragment::response_bytes(&response);
        self.outbox.send(response, bytes, share).await
    }
}

#[cfg(test)]
mod tests;
