//! A running watch: reads its stream, and resumes it after a break.
//!
//! It has no background task: it advances while [`Watcher::next`] is awaited, so a slow reader is
//! bounded by the flow control of the connection and not by memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::{Stream, stream};
use parking_lot::Mutex;
use tenure_proto::{
    etcdserverpb::{
        WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
        watch_client::WatchClient, watch_request::RequestUnion,
    },
    metadata::REQUIRE_LEADER_METADATA,
};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status, Streaming, metadata::MetadataValue, transport::Channel};

use super::{Update, Watch, position::Position, reassembly::Reassembly};
use crate::{
    call::Call,
    channel::Lane,
    client::{Client, RECEIVE_BYTES_MAX},
    error::{Error, ErrorKind, Operation},
    id::Revision,
    prefix::Prefix,
    response::{Event, Header},
    retry::Backoff,
};

/// Queued requests of a stream: the creation, a cancellation and some progress requests. Further
/// progress requests are refused, because they would give no new information.
const REQUESTS_MAX: usize = 8;

#[derive(Debug)]
struct Link {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
}

/// State shared by a [`Watcher`] and its [`WatchControl`]s.
#[derive(Debug, Default)]
struct Shared {
    requests: Mutex<Option<(mpsc::Sender<WatchRequest>, i64)>>,
    cancelled: AtomicBool,
    /// Notified of a cancellation that could not be sent to the server.
    unsent: Notify,
}

/// A running watch. Dropping it ends the watch.
#[derive(Debug)]
#[must_use = "a watch ends when its watcher is dropped"]
pub struct Watcher {
    client: Client,
    prefix: Prefix,
    request: WatchCreateRequest,
    require_leader: bool,
    timeout: Option<Duration>,
    link: Option<Link>,
    shared: Arc<Shared>,
    position: Position,
    reassembly: Reassembly,
    backoff: Backoff,
    header: Header,
    /// The token was rejected, and another is fetched; until the next update.
    renewed: bool,
    ended: bool,
}

/// Requests progress of a [`Watcher`] or cancels it, while another task awaits its updates.
#[derive(Debug, Clone)]
pub struct WatchControl {
    shared: Arc<Shared>,
}

impl WatchControl {
    /// Requests progress; the response is a progress [`Update`]. Servers respond only once the
    /// watch has caught up, and a request is lost when the connection breaks.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) while the watch is reconnecting or too many requests
    /// are queued: retry.
    pub fn request_progress(&self) -> Result<(), Error> {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {}))
    }

    /// Cancels the watch: [`Watcher::next`] returns `None` after the updates already under way, or
    /// at once while the watch is reconnecting or too many requests are queued.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
        let watch_id = self
            .shared
            .requests
            .lock()
            .as_ref()
            .map_or(0, |(_, id)| *id);
        let request = WatchCancelRequest { watch_id };
        if self.send(RequestUnion::CancelRequest(request)).is_err() {
            // There is no stream, or its queue is full; closing the stream cancels the watch as
            // well.
            self.shared.unsent.notify_one();
        }
    }

    fn send(&self, union: RequestUnion) -> Result<(), Error> {
        let requests = self.shared.requests.lock();
        let sent = requests.as_ref().is_some_and(|(requests, _)| {
            requests
                .try_send(WatchRequest {
                    request_union: Some(union),
                })
                .is_ok()
        });
        let text = "the watch is reconnecting or its request queue is full";
        if sent {
            Ok(())
        } else {
            Err(Error::local(ErrorKind::Unavailable, text))
        }
    }
}

impl Watcher {
    pub(super) async fn open(mut watch: Watch) -> Result<Self, Error> {
        watch.prefix.add_to(&mut watch.request)?;
        let mut watcher = Self {
            client: watch.client,
            prefix: watch.prefix,
            position: Position::starting_at(watch.request.start_revision),
            request: watch.request,
            require_leader: watch.require_leader,
            timeout: watch.timeout,
            link: None,
            shared: Arc::default(),
            reassembly: Reassembly::default(),
            backoff: Backoff::default(),
            header: Header::default(),
            renewed: false,
            ended: false,
        };
        watcher.connect().await?;
        Ok(watcher)
    }

    /// The next update; `None` once the watch was cancelled through [`WatchControl`] or has ended
    /// with an error.
    ///
    /// Broken connections and transient failures of servers are not errors: the watch resumes at
    /// another endpoint, without gaps or duplicates.
    ///
    /// # Errors
    /// [`Compacted`](ErrorKind::Compacted) when undelivered changes are compacted: read the keys
    /// again and watch from [`Error::compact_revision`]. [`Cancelled`](ErrorKind::Cancelled) when
    /// the server ended the watch for another reason, and any permanent refusal by the server.
    ///
    /// # Cancel safety
    /// Cancel safe: no update is lost when the future is dropped.
    pub async fn next(&mut self) -> Option<Result<Update, Error>> {
        if self.ended {
            return None;
        }
        let update = self.advance().await.transpose();
        self.ended = !matches!(update, Some(Ok(_)));
        update
    }

    /// The updates as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Update, Error>> {
        stream::unfold(self, |mut watcher| async move {
            watcher.next().await.map(|update| (update, watcher))
        })
    }

    /// A handle that requests progress or cancels the watch.
    #[must_use]
    pub fn control(&self) -> WatchControl {
        WatchControl {
            shared: Arc::clone(&self.shared),
        }
    }

    /// The first revision that has not been delivered, for another watch to resume from.
    #[must_use]
    pub fn next_revision(&self) -> Revision {
        Revision::new(self.position.start_revision())
    }

    /// The header of the last response, including the one that ended the watch.
    #[must_use]
    pub fn header(&self) -> Header {
        self.header
    }

    async fn advance(&mut self) -> Result<Option<Update>, Error> {
        let shared = Arc::clone(&self.shared);
        loop {
            let Some(link) = &mut self.link else {
                if shared.cancelled.load(Ordering::Acquire) {
                    return Ok(None);
                }
                // Both are cancel safe: a connection is stored once it is complete, and the
                // notification of a cancellation is kept until it is received.
                tokio::select! {
                    outcome = self.reconnect() => outcome?,
                    () = shared.unsent.notified() => {}
                }
                continue;
            };
            // Both are cancel safe: a response stays on the stream until it is returned.
            let message = tokio::select! {
                message = link.responses.message() => message,
                () = shared.unsent.notified() => {
                    self.disconnect();
                    continue;
                }
            };
            match message {
                Ok(Some(response)) => {
                    if response.canceled && self.shared.cancelled.load(Ordering::Acquire) {
                        return Ok(None);
                    }
                    match self.take(response) {
                        Ok(Some(update)) => return Ok(Some(update)),
                        Ok(None) => {}
                        Err(error) if self.renews_token(&error) => self.disconnect(),
                        Err(error) => return Err(error),
                    }
                }
                Ok(None) => self.disconnect(),
                Err(status) => {
                    let error = Error::from_status(status, Operation::Read, "server");
                    if !error.allows_resume() && !self.renews_token(&error) {
                        return Err(error);
                    }
                    tracing::debug!(%error, "watch stream broke");
                    self.disconnect();
                }
            }
        }
    }

    /// The update to deliver for a response, if any.
    fn take(&mut self, response: WatchResponse) -> Result<Option<Update>, Error> {
        self.header = Header::of(response.header).unwrap_or_default();
        if response.canceled {
            return Err(cancellation(&response));
        }
        if response.created {
            return Ok(None);
        }
        self.backoff.reset();
        self.renewed = false;
        let Some(mut response) = self.reassembly.push(response)? else {
            return Ok(None);
        };
        if response.events.is_empty() {
            if self.reassembly.is_holding() {
                return Ok(None);
            }
            self.position.progressed(self.header.revision().get());
        } else {
            self.position.deliver(&mut response.events);
            if response.events.is_empty() {
                return Ok(None);
            }
        }
        self.prefix.strip_from(&mut response);
        let events = response.events.into_iter().map(Event::of).collect();
        Ok(Some(Update::new(self.header, events)))
    }

    fn disconnect(&mut self) {
        self.link = None;
        *self.shared.requests.lock() = None;
        self.reassembly.clear();
    }

    async fn reconnect(&mut self) -> Result<(), Error> {
        tokio::time::sleep(self.backoff.next_pause()).await;
        match self.connect().await {
            Err(error) if error.allows_resume() => {
                tracing::debug!(%error, "watch could not be resumed");
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Whether the watch was refused for its token alone, and another can be fetched: once, until
    /// an update shows that it is accepted. Servers say so in a response, which ends no call.
    fn renews_token(&mut self, error: &Error) -> bool {
        let token = self.client.token();
        let renews = error.is_stale_token() && token.renewable() && !self.renewed;
        if renews {
            self.renewed = true;
            token.reject(&token.current());
        }
        renews
    }

    async fn connect(&mut self) -> Result<(), Error> {
        match self.connect_once().await {
            Err(error) if self.renews_token(&error) => self.connect_once().await,
            outcome => outcome,
        }
    }

    async fn connect_once(&mut self) -> Result<(), Error> {
        let start_revision = self.position.start_revision();
        let request = WatchCreateRequest {
            start_revision,
            ..self.request.clone()
        };
        let call = Call::stream(Lane::Bulk, self.timeout);
        let require_leader = self.require_leader;
        let (link, created) = self
            .client
            .run(call, request, |channel, mut request| async move {
                if require_leader {
                    let value = MetadataValue::from_static("true");
                    request
                        .metadata_mut()
                        .insert(REQUIRE_LEADER_METADATA, value);
                }
                start(channel, request).await
            })
            .await?;
        self.header = Header::of(created.header).unwrap_or_default();
        if created.canceled {
            return Err(cancellation(&created));
        }
        self.position.created(self.header.revision().get());
        *self.shared.requests.lock() = Some((link.requests.clone(), created.watch_id));
        self.link = Some(link);
        Ok(())
    }
}

/// Opens a stream with one watch, and waits until the server has created it.
async fn start(
    channel: Channel,
    request: Request<WatchCreateRequest>,
) -> Result<(Link, WatchResponse), Status> {
    let (requests, outgoing) = mpsc::channel(REQUESTS_MAX);
    let first = requests
        .clone()
        .try_reserve_owned()
        .expect("a new channel has room");
    let request = request.map(|create| {
        first.send(WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        });
        ReceiverStream::new(outgoing)
    });
    let mut watch = WatchClient::new(channel).max_decoding_message_size(RECEIVE_BYTES_MAX);
    let mut responses = watch.watch(request).await?.into_inner();
    let created = responses.message().await?;
    let created = created.ok_or_else(|| Status::unavailable("the watch stream was closed"))?;
    Ok((
        Link {
            requests,
            responses,
        },
        created,
    ))
}

fn cancellation(response: &WatchResponse) -> Error {
    if response.compact_revision > 0 {
        let floor = Revision::new(response.compact_revision);
        // The text of etcd's own client, regardless of the server's text.
        return Error::compacted(
            floor,
            "etcdserver: mvcc: required revision has been compacted",
        );
    }
    Error::watch_cancelled(&response.cancel_reason)
}
