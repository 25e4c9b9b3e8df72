//! Watches against a server in this process that plays what a test tells it to: how a watch ends,
//! and where it goes on.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    collections::VecDeque,
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt, stream, stream::BoxStream};
use parking_lot::Mutex;
use tenure::{Client, ErrorKind, Revision};
use tenure_proto::{
    etcdserverpb::{
        ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse,
        watch_request::RequestUnion,
        watch_server::{Watch, WatchServer},
    },
    mvccpb::{Event, KeyValue},
};
use tokio::{net::TcpListener, sync::mpsc, task::yield_now, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// Far more than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than any test takes: what waits for it waits in vain.
const NEVER: Duration = Duration::from_secs(600);
/// More openings than any test makes.
const OPENINGS_MAX: usize = 16;

/// What the server says on one stream, and whether it closes it then.
struct Scene {
    responses: Vec<WatchResponse>,
    closes: bool,
}

/// Plays one scene per stream; streams beyond the last scene are not answered.
struct Stage {
    scenes: Mutex<VecDeque<Scene>>,
    openings: mpsc::Sender<WatchCreateRequest>,
    said: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Watch for Stage {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.unwrap();
        let Some(RequestUnion::CreateRequest(create)) = first.request_union else {
            return Err(Status::invalid_argument("a watch is created first"));
        };
        self.openings.send(create).await.unwrap();
        let Some(scene) = self.scenes.lock().pop_front() else {
            return pending().await;
        };
        let count = Arc::clone(&self.said);
        // Each in a frame of its own, as a server sends them that has one at a time.
        let said = stream::iter(scene.responses).then(move |response| {
            count.fetch_add(1, Ordering::Relaxed);
            async {
                yield_now().await;
                Ok(response)
            }
        });
        if scene.closes {
            return Ok(Response::new(said.boxed()));
        }
        // The requests stay open and unread.
        let open = stream::once(async move {
            let _requests = requests;
            pending().await
        });
        Ok(Response::new(said.chain(open).boxed()))
    }
}

/// A client of a server that plays these scenes, and the openings that arrive there.
async fn play(
    scenes: impl IntoIterator<Item = Scene>,
) -> (Client, mpsc::Receiver<WatchCreateRequest>) {
    play_counted(scenes, Arc::default()).await
}

/// As [`play`], and counts what was said.
async fn play_counted(
    scenes: impl IntoIterator<Item = Scene>,
    said: Arc<AtomicUsize>,
) -> (Client, mpsc::Receiver<WatchCreateRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, openings) = mpsc::channel(OPENINGS_MAX);
    let stage = Stage {
        scenes: Mutex::new(scenes.into_iter().collect()),
        openings: sender,
        said,
    };
    let server = Server::builder().add_service(WatchServer::new(stage));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    let builder = Client::builder().endpoints([address]).timeout(NEVER);
    (builder.connect().await.unwrap(), openings)
}

/// Who answers, with the store at `revision`.
fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader {
        revision,
        ..ResponseHeader::default()
    })
}

fn created() -> WatchResponse {
    WatchResponse {
        header: header(2),
        created: true,
        ..WatchResponse::default()
    }
}

/// A piece of revision 3, and not the last.
fn piece() -> WatchResponse {
    piece_of(3)
}

fn piece_of(revision: i64) -> WatchResponse {
    let kv = KeyValue {
        key: "k".into(),
        mod_revision: revision,
        ..KeyValue::default()
    };
    let event = Event {
        kv: Some(kv),
        ..Event::default()
    };
    WatchResponse {
        header: header(revision),
        events: vec![event],
        fragment: true,
        ..WatchResponse::default()
    }
}

fn progress(revision: i64) -> WatchResponse {
    WatchResponse {
        header: header(revision),
        ..WatchResponse::default()
    }
}

#[tokio::test]
async fn a_watch_that_is_cancelled_while_it_reconnects_ends() {
    let scene = Scene {
        responses: vec![created()],
        closes: true,
    };
    let (client, mut openings) = play([scene]).await;
    let mut watcher = client.watch("k").await.unwrap();
    let control = watcher.control();
    let reading = tokio::spawn(async move { watcher.next().await });
    openings.recv().await.unwrap();
    timeout(PATIENCE, openings.recv())
        .await
        .expect("the watch is opened again");
    control.cancel();
    let ended = timeout(PATIENCE, reading).await;
    assert!(ended.expect("it does not wait").unwrap().is_none());
}

#[tokio::test]
async fn a_watch_whose_requests_are_stuck_can_be_cancelled() {
    let scene = Scene {
        responses: vec![created()],
        closes: false,
    };
    let (client, _openings) = play([scene]).await;
    let mut watcher = client.watch("k").await.unwrap();
    let control = watcher.control();
    // Nothing else runs meanwhile, so nothing is taken out again.
    let refused = loop {
        if let Err(error) = control.request_progress() {
            break error;
        }
    };
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    control.cancel();
    let ended = timeout(PATIENCE, watcher.next()).await;
    assert!(ended.expect("it does not wait").is_none());
    assert!(watcher.next().now_or_never().unwrap().is_none());
}

#[tokio::test]
async fn word_of_progress_between_two_pieces_skips_nothing() {
    let scene = Scene {
        responses: vec![created(), piece(), progress(10)],
        closes: true,
    };
    let (client, mut openings) = play([scene]).await;
    let mut watcher = client
        .watch("k")
        .start_revision(Revision::new(3))
        .await
        .unwrap();
    let control = watcher.control();
    let reading = tokio::spawn(async move { watcher.next().await });
    assert_eq!(openings.recv().await.unwrap().start_revision, 3);
    let again = timeout(PATIENCE, openings.recv()).await;
    let again = again.expect("the watch is opened again").unwrap();
    assert_eq!(again.start_revision, 3, "the last piece is still to come");
    control.cancel();
    assert!(reading.await.unwrap().is_none(), "nothing was delivered");
}

#[tokio::test]
async fn a_watch_that_is_read_late_keeps_its_connection() {
    const CHANGES: usize = 20_000;
    let change = |number: usize| WatchResponse {
        fragment: false,
        ..piece_of(3 + number as i64)
    };
    let scene = Scene {
        responses: [created()]
            .into_iter()
            .chain((0..CHANGES).map(change))
            .collect(),
        closes: false,
    };
    let said = Arc::<AtomicUsize>::default();
    let (client, mut openings) = play_counted([scene], Arc::clone(&said)).await;
    let mut watcher = client
        .watch("k")
        .start_revision(Revision::new(3))
        .await
        .unwrap();
    openings.recv().await.unwrap();
    // Everything waits before the first of it is read.
    let all_said = async {
        while said.load(Ordering::Relaxed) <= CHANGES {
            yield_now().await;
        }
    };
    timeout(PATIENCE, all_said).await.expect("all is said");
    let mut told = 0;
    while told < CHANGES {
        let update = timeout(PATIENCE, watcher.next()).await;
        let update = update.expect("in time").expect("it goes on").unwrap();
        told += update.events().len();
    }
    assert_eq!(told, CHANGES);
    assert!(openings.try_recv().is_err(), "the watch was opened once");
}
