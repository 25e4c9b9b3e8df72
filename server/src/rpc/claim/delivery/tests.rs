//! Grants over a connection whose client stops reading.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::{StreamExt, stream};
use hyper_util::rt::TokioIo;
use tenure_proto::v1::{
    AcquireRequest, AcquireResponse, acquire_response::State, lock_client::LockClient,
};
use tenure_statemachine::{Command, LeaseGrant, LeaseId, Ttl};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    sync::watch,
    time::timeout,
};
use tonic::{
    Streaming,
    transport::{Channel, Endpoint, Server, Uri},
};
use tower::service_fn;

use crate::{
    rpc::{Limits, fake::FakeNode},
    tasks,
    transport::{Connection, Io},
};

/// Bytes that fit between the two ends: less than a grant.
const PIPE_BYTES: usize = 256;
const PATIENCE: Duration = Duration::from_secs(20);

/// The server's end; notes when a write finds no room.
struct Stuck {
    inner: DuplexStream,
    stuck: Arc<AtomicBool>,
}

/// The client's end; reads only while permitted.
struct Gated {
    inner: DuplexStream,
    open: watch::Receiver<bool>,
}

impl Io for Stuck {
    fn peer_addr(&self) -> Option<SocketAddr> {
        None
    }
}

impl AsyncRead for Stuck {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncRead for Gated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !*self.open.borrow() {
            // Closed for good: no wake-up follows.
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

macro_rules! write_through {
    ($end:ident, $note:expr) => {
        impl AsyncWrite for $end {
            fn poll_write(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
                bytes: &[u8],
            ) -> Poll<io::Result<usize>> {
                let written = Pin::new(&mut self.inner).poll_write(context, bytes);
                let note: fn(&Self, bool) = $note;
                note(&self, written.is_pending());
                Poll::Ready(ready!(written))
            }

            fn poll_flush(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.inner).poll_flush(context)
            }

            fn poll_shutdown(
                mut self: Pin<&mut Self>,
                context: &mut Context<'_>,
            ) -> Poll<io::Result<()>> {
                Pin::new(&mut self.inner).poll_shutdown(context)
            }
        }
    };
}

write_through!(Stuck, |end, stuck| end.stuck.store(stuck, Ordering::SeqCst));
write_through!(Gated, |_, _| {});

struct Fixture {
    node: Arc<FakeNode>,
    channel: Channel,
    stuck: Arc<AtomicBool>,
    open: watch::Sender<bool>,
}

/// A node with leases 1 to 3, and a client on the only connection.
async fn connect() -> Fixture {
    let node = FakeNode::leading();
    for id in 1..4 {
        node.apply(&Command::LeaseGrant(LeaseGrant {
            id: LeaseId(id),
            ttl: Ttl::from_secs(1000),
        }));
    }
    let routes = crate::rpc::routes(node.services(Limits::standard()));
    let (client, server) = tokio::io::duplex(PIPE_BYTES);
    let stuck = Arc::<AtomicBool>::default();
    let connection = Connection::new(Stuck {
        inner: server,
        stuck: Arc::clone(&stuck),
    });
    let incoming = stream::iter([Ok::<_, io::Error>(connection)]).chain(stream::pending());
    tasks::spawn("test-server", async move {
        let server = Server::builder().add_routes(routes);
        server.serve_with_incoming(incoming).await
    });
    let (open, opened) = watch::channel(true);
    let mut end = Some(Gated {
        inner: client,
        open: opened,
    });
    let connector = service_fn(move |_: Uri| {
        let end = end.take().ok_or_else(|| io::Error::other("used up"));
        async move { end.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://node")
        .connect_with_connector(connector)
        .await
        .expect("connected");
    Fixture {
        node,
        channel,
        stuck,
        open,
    }
}

impl Fixture {
    async fn acquire(&self, lease: i64) -> Streaming<AcquireResponse> {
        let request = AcquireRequest {
            names: vec!["a".into()],
            lease,
            principal: "p".repeat(2 * PIPE_BYTES),
            ..AcquireRequest::default()
        };
        let mut locks = LockClient::new(self.channel.clone());
        let answer = locks.acquire(request).await.expect("admitted");
        answer.into_inner()
    }

    async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let reached = async {
            while !reached(self) {
                tokio::task::yield_now().await;
            }
        };
        let outcome = timeout(PATIENCE, reached).await;
        outcome.unwrap_or_else(|_| panic!("{what}; keys: {:?}", self.node.keys()));
    }
}

async fn state(states: &mut Streaming<AcquireResponse>) -> State {
    let answer = states
        .message()
        .await
        .expect("no failure")
        .expect("a response");
    answer.state.expect("a state")
}

#[tokio::test]
async fn a_grant_that_did_not_leave_before_the_call_was_reset_is_given_back() {
    let it = connect().await;
    let mut first = it.acquire(1).await;
    assert!(matches!(state(&mut first).await, State::Granted(_)));
    let mut second = it.acquire(2).await;
    assert!(matches!(state(&mut second).await, State::Queued(_)));
    it.open.send_replace(false);
    it.node.apply(&Command::LeaseRevoke(LeaseId(1)));
    it.until("the grant is stuck on its way", |it| {
        it.stuck.load(Ordering::SeqCst)
    })
    .await;
    assert_eq!(it.node.keys(), ["a/2"]);
    drop(second);
    it.until("the claim is given back", |it| it.node.keys().is_empty())
        .await;
}

#[tokio::test]
async fn a_grant_that_left_is_kept_when_the_call_is_reset() {
    let it = connect().await;
    let mut only = it.acquire(3).await;
    assert!(matches!(state(&mut only).await, State::Granted(_)));
    drop(only);
    // The reset of the dropped call is read before this one is answered.
    let mut next = it.acquire(1).await;
    assert!(matches!(state(&mut next).await, State::Queued(_)));
    assert_eq!(it.node.keys(), ["a/1", "a/3"]);
}
