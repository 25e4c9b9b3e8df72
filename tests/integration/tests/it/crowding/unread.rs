//! Large answers of every service that are left unread: what they may cost, and who else is served.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{StreamExt, future::join_all, stream};
use http_body::Frame;
use prost::Message;
use tenure_proto::{
    etcdserverpb::{LeaseGrantRequest, LeaseLeasesRequest},
    v1::{
        AcquireRequest, AcquireResponse, DiscoverRequest, Endpoint as InstanceEndpoint,
        InspectRequest, Instance, ObserveRequest, RegisterRequest, lock_client::LockClient,
        registry_client::RegistryClient,
    },
};
use tenure_testkit::Cluster;
use tonic::{
    Status, Streaming,
    body::Body,
    client::GrpcService,
    codegen::{
        Bytes,
        http::{Request, Response},
    },
    transport::{Channel, Endpoint},
};

use super::{SHORT_MAX, memory_bytes, resident_bytes, short_calls};
use crate::differential::wire::frame;

/// Claims that wait for one lock, and the bytes of what each says.
const WAITERS: usize = 32;
const VALUE_BYTES: usize = 1_000_000;
/// Instances of one service, and the bytes of each.
const INSTANCES: usize = 300;
const INSTANCE_BYTES: usize = 60_000;
const LEASES: usize = 20_000;
/// Calls under way while the store is filled.
const CONCURRENT: usize = 64;
/// Connections that read nothing, and calls of each kind on each.
const CONNECTIONS: usize = 10;
const CALLS: usize = 8;
/// What all of it may cost: what all answers may hold together, and as much again as the node takes
/// for being filled and for answers in the making. Unbounded it would be some gigabytes.
const UNREAD_BYTES_MAX: usize = 1100 << 20;
/// The window of a stream and of a connection, so that little of an answer leaves the node.
const WINDOW: u32 = 65_535;

async fn connect(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .connect()
        .await
        .unwrap()
}

/// Begins a call, and leaves its answer unread.
async fn open(mut channel: Channel, path: &str, message: Vec<u8>) -> Option<Response<Body>> {
    poll_fn(|context| GrpcService::<Body>::poll_ready(&mut channel, context))
        .await
        .unwrap();
    let request = Request::post(path)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Whole(Some(frame(&message)))))
        .unwrap();
    let called = GrpcService::call(&mut channel, request);
    let opened = tokio::time::timeout(Duration::from_secs(20), called).await;
    opened.ok()?.ok()
}

/// A body that is there at once.
struct Whole(Option<Bytes>);

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }
}

async fn queue(channel: &Channel) -> Vec<Streaming<AcquireResponse>> {
    let mut lock = LockClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
    let mut waiting = Vec::new();
    for _ in 0..WAITERS {
        let acquire = AcquireRequest {
            names: vec!["crowded".into()],
            ttl_ms: 600_000,
            value: vec![b'x'; VALUE_BYTES].into(),
            ..AcquireRequest::default()
        };
        let mut stream = lock.acquire(acquire).await.unwrap().into_inner();
        // Granted, or in the queue.
        stream.message().await.unwrap();
        waiting.push(stream);
    }
    waiting
}

async fn register(channel: &Channel) {
    let register = |number: usize| {
        let mut registry = RegistryClient::new(channel.clone());
        async move {
            let metadata = ("text".to_owned(), "x".repeat(INSTANCE_BYTES));
            let instance = Instance {
                service: "crowded".into(),
                id: format!("{number:04}"),
                endpoints: vec![InstanceEndpoint {
                    protocol: "http".into(),
                    host: "host".into(),
                    port: 80,
                }],
                metadata: [metadata].into(),
                ..Instance::default()
            };
            let request = RegisterRequest {
                instance: Some(instance),
                ttl_ms: 600_000,
                ..RegisterRequest::default()
            };
            registry.register(request).await.unwrap();
        }
    };
    let registering = stream::iter(0..INSTANCES).map(register);
    registering
        .buffer_unordered(CONCURRENT)
        .collect::<Vec<_>>()
        .await;
}

async fn grant(cluster: &Cluster) {
    let lease = cluster.node(0).calls().lease();
    let granting = stream::iter(0..LEASES).map(|_| {
        let mut lease = lease.clone();
        async move {
            let request = LeaseGrantRequest { ttl: 600, id: 0 };
            lease.lease_grant(request).await.unwrap();
        }
    });
    granting
        .buffer_unordered(CONCURRENT)
        .collect::<Vec<_>>()
        .await;
}

/// Calls of which each has a large answer: their paths and messages.
fn kinds() -> [(&'static str, Vec<u8>); 4] {
    let inspect = InspectRequest {
        name: "crowded".into(),
        limit: 0,
    };
    let observe = ObserveRequest {
        name: "crowded".into(),
    };
    let discover = DiscoverRequest {
        service: "crowded".into(),
        ..DiscoverRequest::default()
    };
    let leases = LeaseLeasesRequest {};
    [
        ("/tenure.v1.Lock/Inspect", inspect.encode_to_vec()),
        ("/tenure.v1.Election/Observe", observe.encode_to_vec()),
        ("/tenure.v1.Registry/Discover", discover.encode_to_vec()),
        ("/etcdserverpb.Lease/LeaseLeases", leases.encode_to_vec()),
    ]
}

#[tokio::test]
async fn large_answers_of_every_service_that_nobody_reads_are_bounded_together() {
    let cluster = Cluster::start(1).await;
    let node = cluster.node(0);
    let filling = Endpoint::from_shared(format!("http://{}", node.address())).unwrap();
    let filling = filling.connect().await.unwrap();
    let _waiting = queue(&filling).await;
    register(&filling).await;
    grant(&cluster).await;
    let kinds = kinds();
    let before = resident_bytes(node);
    let (mut channels, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..CONNECTIONS {
        let channel = connect(node.address()).await;
        channels.push(channel.clone());
        let kinds = &kinds;
        // One after the other, so that none is refused because so many are read at once.
        calls.push(async move {
            let mut answers = Vec::new();
            for (path, message) in kinds {
                for _ in 0..CALLS {
                    answers.push(open(channel.clone(), path, message.clone()).await);
                }
            }
            answers
        });
    }
    let others = node.calls();
    let short = short_calls(&others, Duration::from_secs(10));
    let (answers, longest) = tokio::join!(join_all(calls), short);
    // One that is refused has its outcome among the headers.
    let answers: Vec<_> = answers.into_iter().flatten().collect();
    let served = answers.iter().flatten();
    let served = served.filter(|answer| !answer.headers().contains_key("grpc-status"));
    let served = served.count();
    // What is not read ends, so the most counts that there was.
    let grown = memory_bytes(node, "VmHWM:").saturating_sub(before);
    println!(
        "{served} of {} unread answers were begun: {} MiB, {longest:?}",
        answers.len(),
        grown >> 20
    );
    assert!(served > CONNECTIONS, "most are refused");
    assert!(grown < UNREAD_BYTES_MAX, "{} MiB", grown >> 20);
    assert!(longest < SHORT_MAX, "a short call took {longest:?}");
}
