//! Tests of the task of a WebSocket, on paused time.

use std::{collections::VecDeque, convert::Infallible, future::pending};

use prost::Message as _;
use tenure_proto::etcdserverpb::LeaseKeepAliveResponse;
use tokio::io::{DuplexStream, duplex};
use tonic::body::Body as TonicBody;

use super::*;
use crate::{
    rpc::gateway::{Access, GatewayLayer, routes::Found},
    share::Receiving,
};

/// A response that has not come.
type Never = std::future::Pending<Result<Response<TonicBody>, Infallible>>;

fn call<F>(path: &str, response: F) -> Call<F> {
    let layer = GatewayLayer::new(true, Access::default(), 1000, Receiving::default());
    let gateway = layer.gateway;
    let Some(Found::Method(route)) = gateway.routes.as_ref().map(|it| it.find(path)) else {
        panic!("no route");
    };
    let (route, refused) = (route.clone(), Refused::default());
    Call {
        response,
        gateway,
        route,
        refused,
    }
}

/// A WebSocket whose call is not answered: the client's end, the body, and its task.
fn open() -> (
    DuplexStream,
    mpsc::Receiver<Bytes>,
    tokio::task::JoinHandle<()>,
) {
    let (client, server) = duplex(1 << 20);
    let (objects, body) = mpsc::channel(1);
    let call: Call<Never> = call("/v3/watch", pending());
    (client, body, tokio::spawn(run(server, objects, call)))
}

/// All that the server sends until it closes the connection.
async fn all(mut client: DuplexStream) -> Vec<u8> {
    let mut sent = Vec::new();
    client.read_to_end(&mut sent).await.unwrap();
    sent
}

/// A frame of a client, with a mask of zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = 0x80 | u8::try_from(payload.len()).unwrap();
    [&[first, length, 0, 0, 0, 0][..], payload].concat()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_silent_is_pinged_and_closed_when_it_does_not_answer() {
    let (mut client, _body, _task) = open();
    let begun = Instant::now();
    let mut ping = [0; 2];
    client.read_exact(&mut ping).await.unwrap();
    assert_eq!(ping, [0x89, 0]);
    assert!(begun.elapsed() >= PING_AFTER);
    client.write_all(&frame(0x8a, b"")).await.unwrap();
    client.read_exact(&mut ping).await.unwrap();
    assert!(begun.elapsed() >= PING_AFTER * 2, "it answered");
    assert!(all(client).await.is_empty(), "it did not answer");
    assert!(begun.elapsed() >= PING_AFTER * 2 + PONG_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_message_or_a_frame_without_an_end_closes_the_websocket() {
    for begun in [
        frame(0x01, b"{"),
        frame(0x01, b""),
        vec![0x81],
        vec![0x81, 0x85, 0, 0, 0, 0, b'x'],
    ] {
        let (mut client, mut body, _task) = open();
        // The call takes what comes.
        tokio::spawn(async move { while body.recv().await.is_some() {} });
        client.write_all(&begun).await.unwrap();
        let start = Instant::now();
        let mut sent = [0; 4];
        client.read_exact(&mut sent).await.unwrap();
        assert_eq!(sent, [0x88, 2, 0x03, 0xf0], "1008 for {begun:?}");
        assert!(start.elapsed() >= UNFINISHED_MAX);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_call_takes_nothing_is_read_no_further() {
    let (mut client, body, task) = open();
    let message = frame(0x81, b"{}");
    let sending = async {
        loop {
            client.write_all(&message).await.unwrap();
        }
    };
    // What the stream between them holds, and what is read at once.
    assert!(timeout(Duration::from_secs(1), sending).await.is_err());
    drop(body);
    task.abort();
}

#[tokio::test(start_paused = true)]
async fn a_response_that_ends_closes_the_websocket_and_waits_for_the_client() {
    let message = LeaseKeepAliveResponse {
        id: 7,
        ..Default::default()
    }
    .encode_to_vec();
    let mut bytes = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
    bytes.extend(message);
    let body = TonicBody::new(String::from_utf8(bytes).unwrap());
    let call = call("/v3/lease/keepalive", async {
        Ok::<_, Infallible>(Response::new(body))
    });
    let (mut client, server) = duplex(1 << 10);
    let (objects, _body) = mpsc::channel(1);
    let task = tokio::spawn(run(server, objects, call));
    let expected = br#"{"result":{"ID":"7"}}"#;
    let mut seen = vec![0; 2 + expected.len() + 4];
    client.read_exact(&mut seen).await.unwrap();
    let mut frames = VecDeque::from(seen);
    assert_eq!(frames.drain(..2).collect::<Vec<_>>(), [0x81, 21]);
    assert_eq!(frames.drain(..21).collect::<Vec<_>>(), expected);
    assert_eq!(frames, [0x88, 2, 0x03, 0xe8]);
    assert!(!task.is_finished(), "it waits for the close of the client");
    client.write_all(&frame(0x88, &[0x03, 0xe8])).await.unwrap();
    task.await.unwrap();
    assert!(all(client).await.is_empty());
}
