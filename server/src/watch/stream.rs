//! One watch stream: a task that owns its watchers and is the only one that writes its responses.
//!
//! Every watcher is either *live*, told of changes by the hub, or *behind*, reading history step
//! by step until it meets the present. A client that does not read makes this task wait, the hub's
//! queue for it fill, and its watchers fall behind; nobody else notices.
//!
//! Invariant: per watcher, responses are in revision order without gap or repeat, all events of a
//! revision are in one response unless fragments were asked for, and after a progress response no
//! event at or below its revision follows.

mod behind;
mod progress;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    fmt,
    future::Future,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tenure_proto::{
    etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse, watch_request::RequestUnion},
    mvccpb,
};
use tenure_statemachine::{KeyRange, Reader, Revision};
use tokio::{sync::mpsc, task::JoinHandle};
use tonic::Status;

use super::{
    fragment,
    history::{History, Step},
    hub::{Delivery, Hub, Subscription, WatcherKey},
    watcher::{Interest, Watcher},
};
use crate::{
    fatal,
    rpc::{backend::Backend, reply::Headers, status::Reason},
};

/// Watchers on one stream. Far above what clients make; a client that leaks watchers is told so
/// before it fills memory.
const WATCHERS_MAX: usize = 100_000;
/// Events that are gathered from the queue into one round of responses.
const ROUND_EVENTS_MAX: usize = 1000;
/// The watch id of responses that are about no watcher, or about all.
const NO_WATCHER: i64 = -1;

/// What holds for a stream from its beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamSettings {
    /// Time between progress responses of a watcher that nothing was sent to, jitter included.
    pub(crate) progress_interval: Duration,
    /// Size at which a response is split when the client allows it.
    pub(crate) fragment_bytes: usize,
}

/// The client is gone, or ended the stream.
#[derive(Debug)]
struct Closed;

/// A watch stream; run it as a task.
pub(crate) struct WatchStream<I> {
    backend: Arc<dyn Backend>,
    history: Arc<History>,
    headers: Headers,
    settings: StreamSettings,
    hub: Subscription,
    inbound: I,
    inbound_open: bool,
    responses: mpsc::Sender<Result<WatchResponse, Status>>,
    watchers: HashMap<WatcherKey, Watcher>,
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
        hub: &Arc<Hub>,
        backend: Arc<dyn Backend>,
        history: Arc<History>,
        settings: StreamSettings,
        inbound: I,
        responses: mpsc::Sender<Result<WatchResponse, Status>>,
    ) -> Self {
        Self {
            headers: Headers::of(backend.as_ref()),
            backend,
            history,
            settings,
            hub: hub.open(),
            inbound,
            inbound_open: true,
            responses,
            watchers: HashMap::new(),
            keys: HashMap::new(),
            behind: BTreeSet::new(),
            delivered: Revision::default(),
            keys_used: 0,
            next_id: 0,
            turn: 0,
            step: None,
        }
    }

    /// Serves until the client leaves or `stop` says why to end.
    ///
    /// # Cancel safety
    /// Dropping it closes the stream; nothing else is affected.
    pub(crate) async fn run(mut self, stop: impl Future<Output = Status> + Send) {
        let responses = self.responses.clone();
        // Every arm ends the stream, so what the other futures had taken no longer matters.
        let status = tokio::select! {
            ended = self.serve() => match ended {
                Ok(never) => match never {},
                Err(Closed) => return,
            },
            status = stop => status,
            () = responses.closed() => return,
        };
        // A client that does not read delays this until its connection ends.
        let _ = responses.send(Err(status)).await;
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

    async fn create(&mut self, mut request: WatchCreateRequest) -> Result<(), Closed> {
        let revision = self.revision();
        if request.key.is_empty() {
            request.key = Bytes::from_static(&[0]);
        }
        let range = KeyRange::from_wire(request.key.clone(), request.range_end.clone());
        let id = match self.admit(&request, &range) {
            Ok(id) => id,
            Err(reason) => {
                let mut response = self.response(NO_WATCHER, revision);
                response.created = true;
                response.canceled = true;
                response.cancel_reason = reason.to_owned();
                return self.send(response).await;
            }
        };
        self.keys_used += 1;
        let key = self.keys_used;
        let start = Revision(request.start_revision);
        let next = if start.0 == 0 { revision.next() } else { start };
        if !self.hub.attach(key, &range, next) {
            self.behind.insert(key);
        }
        let watcher = Watcher {
            id,
            interest: Interest::new(range, &request),
            next,
            start,
            progress: request.progress_notify,
            quiet: true,
            fragment: request.fragment,
        };
        self.watchers.insert(key, watcher);
        self.keys.insert(id, key);
        self.hub.set_behind(self.behind.len());
        let mut response = self.response(id, revision);
        response.created = true;
        self.send(response).await
    }

    /// The id of the watcher to be, or etcd's words for why there will be none.
    fn admit(
        &mut self,
        request: &WatchCreateRequest,
        range: &KeyRange,
    ) -> Result<i64, &'static str> {
        if request.start_revision < 0 {
            return Err(Reason::Compacted.text());
        }
        if range.is_empty() {
            return Err("mvcc: watcher range is empty");
        }
        if self.watchers.len() >= WATCHERS_MAX {
            return Err(Reason::TooManyRequests.text());
        }
        if request.watch_id != 0 {
            if self.keys.contains_key(&request.watch_id) {
                return Err("mvcc: duplicate watch ID provided on the WatchStream");
            }
            return Ok(request.watch_id);
        }
        while self.keys.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        Ok(self.next_id - 1)
    }

    async fn cancel(&mut self, id: i64) -> Result<(), Closed> {
        let Some(&key) = self.keys.get(&id) else {
            return Ok(());
        };
        self.forget(key);
        let mut response = self.response(id, self.revision());
        response.canceled = true;
        self.send(response).await
    }
}

impl<I> WatchStream<I> {
    fn forget(&mut self, key: WatcherKey) {
        self.hub.detach(key);
        if let Some(watcher) = self.watchers.remove(&key) {
            self.keys.remove(&watcher.id);
        }
        self.behind.remove(&key);
        self.hub.set_behind(self.behind.len());
    }

    /// Tells live watchers of `first` and of what waits behind it, one response per watcher.
    async fn deliver(&mut self, first: Delivery) -> Result<(), Closed> {
        let mut round: BTreeMap<WatcherKey, Vec<mvccpb::Event>> = BTreeMap::new();
        let mut events = 0;
        let mut delivery = Some(first);
        while let Some(Delivery {
            events: changes,
            watchers,
            ..
        }) = delivery
        {
            let last = changes.last().map(|event| event.kv.mod_revision);
            self.delivered = self.delivered.max(last.unwrap_or_default());
            for key in watchers {
                let Some(watcher) = self.watchers.get_mut(&key) else {
                    continue;
                };
                let told = changes
                    .iter()
                    .filter_map(|event| watcher.interest.tell(event, watcher.next));
                let batch = round.entry(key).or_default();
                let before = batch.len();
                batch.extend(told);
                events += batch.len() - before;
                watcher.next = watcher.next.max(self.delivered.next());
            }
            delivery = if events < ROUND_EVENTS_MAX {
                self.hub.try_next()
            } else {
                None
            };
        }
        for (key, batch) in round {
            self.tell(key, batch, None).await?;
        }
        Ok(())
    }

    /// Sends what there is for a watcher; nothing when there is nothing.
    async fn tell(
        &mut self,
        key: WatcherKey,
        events: Vec<mvccpb::Event>,
        through: Option<Revision>,
    ) -> Result<(), Closed> {
        let Some(last) = events.last().and_then(|event| event.kv.as_ref()) else {
            return Ok(());
        };
        let revision = through.unwrap_or(Revision(last.mod_revision));
        let Some(watcher) = self.watchers.get_mut(&key) else {
            return Ok(());
        };
        watcher.quiet = false;
        let (id, fragment) = (watcher.id, watcher.fragment);
        let mut response = self.response(id, revision);
        response.events = events;
        if !fragment {
            return self.send(response).await;
        }
        for part in fragment::split(response, self.settings.fragment_bytes) {
            self.send(part).await?;
        }
        Ok(())
    }

    /// The latest revision that this node knows.
    fn revision(&self) -> Revision {
        let engine = self.backend.engine();
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
        self.responses.send(Ok(response)).await.map_err(|_| Closed)
    }
}

#[cfg(test)]
mod tests;
