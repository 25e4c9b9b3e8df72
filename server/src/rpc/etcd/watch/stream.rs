//! One watch stream: a task that owns its watchers and is the only one that writes its responses.
//!
//! Every watcher is either *live*, told of changes by the hub, or *behind*, reading history step
//! by step until it meets the present. A client that does not read makes this task wait, the hub's
//! queue for it fill, and its watchers fall behind; nobody else notices.
//!
//! Invariant: per watcher, responses are in revision order without gap or repeat, all events of a
//! revision are in one response unless fragments were asked for, no response is larger than its
//! bound for more than that, and after a progress response no
//! event at or below its revision follows.

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
    rpc::answer::{
        outbox::{Closed, Outbox},
        reply::Headers,
        share::Share,
        status::Reason,
    },
};

/// The watch id of responses that are about no watcher, or about all.
const NO_WATCHER: i64 = -1;

/// What holds for a stream from its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamSettings {
    /// Time between progress responses of a watcher that nothing was sent to, jitter included.
    pub(crate) progress_interval: Duration,
    /// Size that no response reaches, unless one revision, or one event of it if the client takes
    /// fragments, is larger.
    pub(crate) response_bytes: usize,
}

/// A watch stream; run it as a task.
pub(crate) struct WatchStream<I> {
    replica: Arc<dyn Replica>,
    history: Arc<History>,
    headers: Headers,
    settings: StreamSettings,
    hub: Subscription,
    inbound: I,
    inbound_open: bool,
    outbox: Arc<Outbox<WatchResponse>>,
    watchers: HashMap<WatcherKey, Watcher>,
    /// What their key ranges take.
    ranges: StreamRanges,
    keys: HashMap<i64, WatcherKey>,
    /// The watchers that are not live.
    behind: BTreeSet<WatcherKey>,
    /// Every change up to here that the hub told this stream of was passed on.
    delivered: Revision,
    keys_used: WatcherKey,
    next_id: i64,
    /// The watcher whose turn it was to begin a step through history.
    turn: WatcherKey,
    step: Option<JoinHandle<Step>>,
    /// Whether the client asked for progress while a watcher was behind, and was not answered yet.
    progress_asked: bool,
}

impl<I> Drop for WatchStream<I> {
    fn drop(&mut self) {
        // It may wait for memory, and need not any more.
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
        history: Arc<History>,
        settings: StreamSettings,
        inbound: I,
        outbox: Outbox<WatchResponse>,
    ) -> Self {
        Self {
            headers: Headers::of(replica.as_ref()),
            replica,
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

    /// Serves until the client leaves or `stop` says why to end.
    ///
    /// # Cancel safety
    /// Dropping it closes the stream; nothing else is affected.
    pub(crate) async fn run(mut self, stop: impl Future<Output = Status> + Send) {
        let outbox = Arc::clone(&self.outbox);
        let history = Arc::clone(&self.history);
        // Every arm ends the stream, so what the other futures had taken no longer matters.
        let status = tokio::select! {
            ended = self.serve() => match ended {
                Ok(never) => match never {},
                Err(Closed) => return,
            },
            status = stop => status,
            () = outbox.closed() => return,
            () = outbox.overdue(history.account()) => {
                // What it holds of history is given back now, and not when the client reads.
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
                    // The client sends nothing more but may still listen.
                    None => self.inbound_open = false,
                },
                // Cancel-safe as documented there.
                delivery = self.hub.next() => match delivery {
                    Some(delivery) => self.deliver(delivery).await?,
                    None => self.fall_behind(),
                },
                // Cancel-safe: the step stays in its place until it has resolved.
                step = behind::resolved(&mut self.step) => {
                    self.step = None;
                    self.advance(step).await?;
                    self.answer_late_progress().await?;
                }
                // Cancel-safe: a tick that was not taken comes again.
                _ = progress.tick() => self.report_progress().await?,
            }
        }
    }

    async fn handle(&mut self, request: WatchRequest) -> Result<(), Closed> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request).await,
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id).await,
            Some(RequestUnion::ProgressRequest(_)) => self.answer_progress().await,
            // Nothing asked: nothing to answer, and no reason to end the other watchers.
            None => Ok(()),
        }
    }
}

impl<I> WatchStream<I> {
    /// Sends what there is for a watcher; nothing when there is nothing. `latest` is what the
    /// header says, or else the last revision in the response; `share` is what covers the events.
    async fn tell(
        &mut self,
        key: WatcherKey,
        events: Vec<mvccpb::Event>,
        latest: Option<Revision>,
        share: Option<&Arc<Share>>,
    ) -> Result<(), Closed> {
        if events.is_empty() {
            return Ok(());
        }
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
            return self.tell_part(whole, latest, share).await;
        }
        for part in fragment::split(response, events, bytes_max, unit) {
            self.tell_part(part, latest, share).await?;
        }
        Ok(())
    }

    async fn tell_part(
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
        let engine = self.replica.engine();
        let revision = match Reader::new(engine.as_ref()) {
            Ok(reader) => reader.meta().revision,
            Err(fault) => fatal::stop(&fault),
        };
        revision.max(self.hub.published())
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
