//! Watches against a server in this process that plays what a test tells it to: how a watch ends,
//! and where it goes on.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{collections::VecDeque, future::pending, time::Duration};

use futures::{FutureExt, StreamExt, stream, stream::BoxStream};
use parking_lot::Mutex;
use tenure::{
    Client, ErrorKind,
    wire::{
        etcdserverpb::{
            ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse,
            watch_request::RequestUnion,
        },
        mvccpb::{Event, KeyValue},
    },
};
use tenure_proto::etcdserverpb::watch_server::{Watch, WatchServer};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
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
        let said = stream::iter(scene.responses.into_iter().map(Ok));
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
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, openings) = mpsc::channel(OPENINGS_MAX);
    let stage = Stage {
        scenes: Mutex::new(scenes.into_iter().collect()),
        openings: sender,
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
    let kv = KeyValue {
        key: "k".into(),
        mod_revision: 3,
        ..KeyValue::default()
    };
    let event = Event {
        kv: Some(kv),
        ..Event::default()
    };
    WatchResponse {
        header: header(3),
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
    let mut watcher = client.watch("k").start_revision(3).await.unwrap();
    let control = watcher.control();
    let reading = tokio::spawn(async move { watcher.next().await });
    assert_eq!(openings.recv().await.unwrap().start_revision, 3);
    let again = timeout(PATIENCE, openings.recv()).await;
    let again = again.expect("the watch is opened again").unwrap();
    assert_eq!(again.start_revision, 3, "the last piece is still to come");
    control.cancel();
    assert!(reading.await.unwrap().is_none(), "nothing was delivered");
}
