//! One watch on one node, on the wire's own messages, without any resuming.

use std::time::Duration;

use tenure_proto::{
    etcdserverpb::{
        WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
        watch_request::RequestUnion,
    },
    mvccpb::Event,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::calls::{Calls, prefix_end};

/// Requests that may wait to be sent on one watch stream.
const REQUESTS_MAX: usize = 16;

/// A watch stream with one watch on it.
#[derive(Debug)]
pub struct Watching {
    requests: mpsc::Sender<WatchRequest>,
    responses: Streaming<WatchResponse>,
    watch_id: i64,
}

impl Watching {
    /// Watches every key that begins with `prefix`, from `revision` on; 0 means from now on.
    /// Returns when the node has confirmed it.
    ///
    /// # Errors
    /// What the server said.
    pub async fn prefix(calls: &Calls, prefix: &str, revision: i64) -> Result<Self, Status> {
        let create = WatchCreateRequest {
            key: prefix.to_owned().into(),
            range_end: prefix_end(prefix).into(),
            start_revision: revision,
            ..WatchCreateRequest::default()
        };
        Self::create(calls, create).await
    }

    /// Creates a watch and returns when the node has confirmed it.
    ///
    /// # Errors
    /// What the server said.
    pub async fn create(calls: &Calls, create: WatchCreateRequest) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let request = WatchRequest {
            request_union: Some(RequestUnion::CreateRequest(create)),
        };
        requests.try_send(request).expect("a new queue has room");
        let stream = calls.watch().watch(ReceiverStream::new(receiver)).await?;
        let mut responses = stream.into_inner();
        let created = responses.message().await?;
        let created = created.ok_or_else(|| Status::unavailable("the stream ended"))?;
        if !created.created || created.canceled {
            return Err(Status::failed_precondition(format!(
                "not created: {created:?}"
            )));
        }
        Ok(Self {
            requests,
            responses,
            watch_id: created.watch_id,
        })
    }

    /// The next response.
    ///
    /// # Errors
    /// What ended the stream; `DeadlineExceeded` when nothing came within `limit`.
    ///
    /// # Cancel safety
    /// No response is lost.
    pub async fn next(&mut self, limit: Duration) -> Result<WatchResponse, Status> {
        match timeout(limit, self.responses.message()).await {
            Ok(response) => response?.ok_or_else(|| Status::unavailable("the stream ended")),
            Err(_) => Err(Status::deadline_exceeded(format!(
                "no response in {limit:?}"
            ))),
        }
    }

    /// At least `count` events, in order, with the responses that have none left out.
    ///
    /// # Errors
    /// What ended the stream; `DeadlineExceeded` when an event did not come within `limit`.
    pub async fn events(&mut self, count: usize, limit: Duration) -> Result<Vec<Event>, Status> {
        let mut events = Vec::new();
        while events.len() < count {
            events.extend(self.next(limit).await?.events);
        }
        Ok(events)
    }

    /// Asks where the stream is.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn ask_progress(&self) -> Result<(), Status> {
        let request = RequestUnion::ProgressRequest(WatchProgressRequest {});
        self.send(request).await
    }

    /// Cancels the watch; the confirmation is a response.
    ///
    /// # Errors
    /// When the stream has ended.
    pub async fn cancel(&self) -> Result<(), Status> {
        let watch_id = self.watch_id;
        self.send(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }))
            .await
    }

    async fn send(&self, request: RequestUnion) -> Result<(), Status> {
        let request = WatchRequest {
            request_union: Some(request),
        };
        let sent = self.requests.send(request).await;
        sent.map_err(|_| Status::unavailable("the stream ended"))
    }
}
