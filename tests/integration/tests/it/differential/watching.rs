//! Watch streams at both servers, and what came on them.
//!
//! How many revisions share a response is a matter of timing, so streams are compared by their
//! events; that a revision's events share one response is checked on each.

use std::{sync::Arc, time::Duration};

use tenure_proto::{
    etcdserverpb::{
        WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
        watch_client::WatchClient, watch_request::RequestUnion,
    },
    mvccpb::Event,
};
use tenure_testkit::{STATE_MAX, wait_until};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{ask::Settle, wire::Wire};

/// Requests on a stream that may wait for the transport.
const REQUESTS_MAX: usize = 16;
/// Responses that may wait for the test.
const RESPONSES_MAX: usize = 256;
/// How long a response may take.
const RESPONSE_MAX: Duration = Duration::from_secs(20);

/// A stream at each server.
#[derive(Debug)]
pub(crate) struct WatchPair {
    tenure: WatchSide,
    etcd: WatchSide,
}

/// A stream at one server.
#[derive(Debug)]
struct WatchSide {
    name: &'static str,
    requests: mpsc::Sender<WatchRequest>,
    responses: mpsc::Receiver<Result<WatchResponse, Status>>,
}

/// What a watcher was told, gathered in the background.
#[derive(Clone, Debug, Default)]
struct Told {
    responses: Arc<Mutex<Vec<WatchResponse>>>,
}

/// A watcher at each server, whose events are gathered while other things happen.
#[derive(Debug)]
pub(crate) struct Watched {
    what: WatchCreateRequest,
    refused: bool,
    /// The latest revision when it was created.
    present: i64,
    tenure: (mpsc::Sender<WatchRequest>, Told),
    etcd: (mpsc::Sender<WatchRequest>, Told),
}

impl WatchSide {
    /// Opens it in the background: etcd answers nothing at all before it was asked something.
    fn open(name: &'static str, wire: &Wire) -> Self {
        let (requests, asked) = mpsc::channel(REQUESTS_MAX);
        let (told, responses) = mpsc::channel(RESPONSES_MAX);
        let mut client = WatchClient::new(wire.channel().clone());
        tokio::spawn(async move {
            let opened = client.watch(ReceiverStream::new(asked)).await;
            let mut stream = match opened {
                Ok(opened) => opened.into_inner(),
                Err(status) => return drop(told.send(Err(status)).await),
            };
            while let Some(mut next) = stream.message().await.transpose() {
                if let Ok(response) = &mut next {
                    response.settle();
                }
                if told.send(next).await.is_err() {
                    break;
                }
            }
        });
        Self {
            name,
            requests,
            responses,
        }
    }

    async fn next(&mut self) -> WatchResponse {
        let next = tokio::time::timeout(RESPONSE_MAX, self.responses.recv()).await;
        let next = next.unwrap_or_else(|_| panic!("{} says nothing", self.name));
        let next = next.unwrap_or_else(|| panic!("{} ended the stream", self.name));
        next.unwrap_or_else(|status| panic!("{} ended with {status}", self.name))
    }

    fn gather(mut self) -> (mpsc::Sender<WatchRequest>, Told) {
        let told = Told::default();
        let responses = Arc::clone(&told.responses);
        tokio::spawn(async move {
            while let Some(Ok(response)) = self.responses.recv().await {
                responses.lock().await.push(response);
            }
        });
        (self.requests, told)
    }
}

impl WatchPair {
    pub(crate) fn open(tenure: &Wire, etcd: &Wire) -> Self {
        Self {
            tenure: WatchSide::open("tenure", tenure),
            etcd: WatchSide::open("etcd", etcd),
        }
    }

    /// Sends the same request on both.
    pub(crate) async fn send(&self, request: RequestUnion) {
        for side in [&self.tenure, &self.etcd] {
            let request = WatchRequest {
                request_union: Some(request.clone()),
            };
            side.requests
                .send(request)
                .await
                .expect("the stream is open");
        }
    }

    /// Creates a watcher, and returns the response that both gave.
    pub(crate) async fn create(&mut self, request: WatchCreateRequest) -> WatchResponse {
        self.send(RequestUnion::CreateRequest(request)).await;
        self.next().await
    }

    /// Asks to cancel a watcher.
    pub(crate) async fn cancel(&self, watch_id: i64) {
        let request = WatchCancelRequest { watch_id };
        self.send(RequestUnion::CancelRequest(request)).await;
    }

    /// Asks for progress.
    pub(crate) async fn ask_progress(&self) {
        self.send(RequestUnion::ProgressRequest(WatchProgressRequest {}))
            .await;
    }

    /// The next response, which both gave alike.
    pub(crate) async fn next(&mut self) -> WatchResponse {
        let [tenure, etcd] = self.next_of_each().await;
        assert_eq!(tenure, etcd, "tenure left, etcd right");
        etcd
    }

    /// The next response of each: tenure first.
    pub(crate) async fn next_of_each(&mut self) -> [WatchResponse; 2] {
        let (tenure, etcd) = tokio::join!(self.tenure.next(), self.etcd.next());
        [tenure, etcd]
    }

    /// Creates the stream's only watcher and gathers what it is told.
    pub(crate) async fn gather(mut self, what: WatchCreateRequest) -> Watched {
        let created = self.create(what.clone()).await;
        Watched {
            what,
            refused: created.canceled,
            present: created.header.unwrap_or_default().revision,
            tenure: self.tenure.gather(),
            etcd: self.etcd.gather(),
        }
    }
}

impl Watched {
    /// Waits until both were told the same events, and tenure has nothing more to tell.
    pub(crate) async fn settle(&self) {
        self.settle_tenure().await;
        let what = format!("both tell the same to {:?}", self.what);
        wait_until(&what, STATE_MAX, async || self.compare().await).await;
    }

    /// Whether it began with what had happened before.
    pub(crate) fn began_in_past(&self) -> bool {
        (1..=self.present).contains(&self.what.start_revision)
    }

    /// Waits until tenure tells of progress, which it does when everything before was told; not
    /// of a watcher that is over, or one that may not have begun yet.
    async fn settle_tenure(&self) {
        let (requests, told) = &self.tenure;
        if self.refused || self.what.start_revision > self.present {
            return;
        }
        let before = told.progress_count().await;
        wait_until("tenure tells of progress", STATE_MAX, async || {
            let request = WatchRequest {
                request_union: Some(RequestUnion::ProgressRequest(WatchProgressRequest {})),
            };
            requests.send(request).await.expect("the stream is open");
            let progress = told.progress_count().await > before || told.canceled().await;
            progress.then_some(()).ok_or("it does not")
        })
        .await;
    }

    /// Ends the watchers, and compares all that they were told up to their end.
    pub(crate) async fn end(self) {
        self.settle().await;
        let watch_id = self.what.watch_id;
        let request = RequestUnion::CancelRequest(WatchCancelRequest { watch_id });
        for (requests, told) in [&self.tenure, &self.etcd] {
            let request = WatchRequest {
                request_union: Some(request.clone()),
            };
            // One that never was, or that compaction ended, has nothing left to cancel.
            if self.refused || told.canceled().await {
                continue;
            }
            requests.send(request).await.expect("the stream is open");
            wait_until("the watcher is cancelled", STATE_MAX, async || {
                told.canceled().await.then_some(()).ok_or("it is not")
            })
            .await;
        }
        if let Err(difference) = self.compare().await {
            panic!("{:?} was told differently: {difference}", self.what);
        }
    }

    async fn compare(&self) -> Result<(), String> {
        let tenure = self.tenure.1.summary("tenure").await;
        let etcd = self.etcd.1.summary("etcd").await;
        if tenure == etcd {
            return Ok(());
        }
        let same = tenure
            .0
            .iter()
            .zip(&etcd.0)
            .take_while(|(t, e)| t == e)
            .count();
        let at = |events: &[Event]| events.get(same).map(|event| format!("{event:?}"));
        Err(format!(
            "after {same} equal events of {} and {} tenure goes on with {:?} and etcd with {:?}; \
             their ends are {:?} and {:?}",
            tenure.0.len(),
            etcd.0.len(),
            at(&tenure.0),
            at(&etcd.0),
            tenure.1,
            etcd.1
        ))
    }
}

impl Told {
    async fn canceled(&self) -> bool {
        let responses = self.responses.lock().await;
        responses.iter().any(|response| response.canceled)
    }

    async fn progress_count(&self) -> usize {
        let responses = self.responses.lock().await;
        responses
            .iter()
            .filter(|response| response.watch_id == -1)
            .count()
    }

    /// All events in order, and how the watcher ended if it did: reason and compact revision.
    async fn summary(&self, name: &str) -> (Vec<Event>, Option<(String, i64)>) {
        let responses = self.responses.lock().await;
        let mut events: Vec<Event> = Vec::new();
        let mut end = None;
        for response in responses.iter() {
            let revision = |event: &Event| event.kv.as_ref().map(|kv| kv.mod_revision);
            let (first, last) = (response.events.first(), events.last());
            if let (Some(first), Some(last)) = (first, last) {
                assert!(
                    revision(last) < revision(first),
                    "{name} split a revision or went back: {last:?} before {first:?}"
                );
            }
            events.extend(response.events.iter().cloned());
            if response.canceled {
                end = Some((response.cancel_reason.clone(), response.compact_revision));
            }
        }
        (events, end)
    }
}
