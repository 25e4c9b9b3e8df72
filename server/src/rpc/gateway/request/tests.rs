//! Tests of the bodies of calls: which messages they become, and why they fail.

use std::{collections::VecDeque, future::poll_fn};

use prost::Message as _;
use tenure_proto::etcdserverpb::{PutRequest, WatchRequest};
use tokio::time::Instant;

use super::*;
use crate::{
    rpc::gateway::{Access, GatewayLayer, routes::Found},
    share::Receiving,
};

const REQUEST_BYTES: usize = 1536 * 1024;

/// A body that yields these pieces, and then ends or stays pending.
struct Pieces {
    pieces: VecDeque<Bytes>,
    ends: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.pieces.pop_front() {
            Some(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

fn gateway(receiving: &Receiving) -> Arc<Gateway> {
    GatewayLayer::new(true, Access::default(), REQUEST_BYTES, receiving.clone()).gateway
}

/// The body of a call of `path` that arrives in pieces of this size.
fn body(
    receiving: &Receiving,
    path: &str,
    text: &[u8],
    size: usize,
    ends: bool,
) -> JsonBody<Pieces> {
    let gateway = gateway(receiving);
    let Some(Found::Method(route)) = gateway.routes.as_ref().map(|it| it.find(path)) else {
        panic!("no route");
    };
    let pieces = text.chunks(size).map(Bytes::copy_from_slice).collect();
    let (head, ()) = http::Request::new(()).into_parts();
    let source = Pieces { pieces, ends };
    JsonBody::new(&gateway, route, &head, Source::Body(source), None).expect("an encoding")
}

async fn next(body: &mut JsonBody<Pieces>) -> Option<Result<Bytes, BoxError>> {
    poll_fn(|context| body.poll_message(context)).await
}

/// The messages of a body, without their prefixes, or the failure.
async fn messages(path: &str, text: &[u8], size: usize) -> Result<Vec<Bytes>, String> {
    let receiving = Receiving::default();
    let mut body = body(&receiving, path, text, size, true);
    let mut found = Vec::new();
    while let Some(message) = next(&mut body).await {
        match message {
            Ok(message) => {
                let length = u32::try_from(message.len() - PREFIX_BYTES).expect("short");
                assert_eq!(
                    message[..PREFIX_BYTES],
                    [&[0], &length.to_be_bytes()[..]].concat()
                );
                found.push(message.slice(PREFIX_BYTES..));
            }
            Err(error) => {
                let told = body.refused().take().expect("the response is told");
                assert_eq!(told.to_string(), error.to_string());
                assert!(next(&mut body).await.is_none(), "it is over");
                return Err(told.message().to_owned());
            }
        }
    }
    drop(body);
    assert_eq!(receiving.bytes(), 0);
    Ok(found)
}

#[tokio::test]
async fn objects_become_messages_wherever_the_body_is_cut() {
    let text = br#" {"create_request":{"key":"YQ=="}} {"cancel_request":{}}
        {"progressRequest":{}}"#;
    for size in 1..=text.len() {
        let found = messages("/v3/watch", text, size).await.expect("messages");
        let read = found
            .into_iter()
            .map(|it| WatchRequest::decode(it).expect("a message"));
        assert_eq!(
            read.filter(|it| it.request_union.is_some()).count(),
            3,
            "{size}"
        );
    }
    assert_eq!(messages("/v3/watch", b"", 1).await, Ok(vec![]));
}

#[tokio::test]
async fn a_missing_body_is_the_message_without_fields() {
    for text in [&b""[..], b" \n", b"{}", b" {} \n"] {
        assert_eq!(
            messages("/v3/kv/put", text, 2).await,
            Ok(vec![Bytes::new()])
        );
    }
}

#[tokio::test]
async fn a_large_object_becomes_a_message_like_a_small_one() {
    for length in [LARGE_BYTES / 2, REQUEST_BYTES] {
        let key = "A".repeat(length / 3 * 4);
        let text = format!("{{\"key\":\"{key}\"}}");
        let found = messages("/v3/kv/put", text.as_bytes(), 16 << 10).await;
        let put = PutRequest::decode(found.expect("a message").remove(0)).expect("a message");
        assert_eq!(put.key.len(), length / 3 * 3);
    }
}

#[tokio::test]
async fn a_body_that_is_not_the_json_of_its_message_fails() {
    let invalid = Reason::JsonInvalid.text();
    for (text, cause) in [
        (
            "{\"key\":7}",
            "field key: invalid type: integer `7`, expected base64",
        ),
        ("{\"key\":\"YQ==\"", "the text ends within an object"),
        ("{}{}", "the body has more than one object"),
        ("{} x", "expected an object"),
        ("[]", "expected an object"),
    ] {
        let refused = messages("/v3/kv/put", text.as_bytes(), 3)
            .await
            .expect_err(text);
        assert!(
            refused.starts_with(&format!("{invalid}: {cause}")),
            "{refused}"
        );
    }
    let deep = "{\"a\":".repeat(100_000);
    let refused = messages("/v3/kv/put", deep.as_bytes(), 1000)
        .await
        .expect_err("deep");
    assert!(refused.ends_with("nested more than 120 deep"), "{refused}");
    let large = format!("{{\"key\":\"{}\"}}", "A".repeat(4 << 20));
    let refused = messages("/v3/kv/put", large.as_bytes(), 16 << 10).await;
    assert_eq!(refused, Err(Reason::RequestTooLarge.text().to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_object_of_a_stream_must_be_complete_in_time() {
    let receiving = Receiving::default();
    let mut halting = body(&receiving, "/v3/watch", b"{}{\"a\":", 100, false);
    next(&mut halting)
        .await
        .expect("a message")
        .expect("a message");
    let begin = Instant::now();
    let failed = next(&mut halting)
        .await
        .expect("a failure")
        .expect_err("a failure");
    assert_eq!(
        failed.to_string(),
        Status::from(Reason::RequestUnfinished).to_string()
    );
    assert!(begin.elapsed() >= UNFINISHED_MAX);

    let mut idle = body(&receiving, "/v3/watch", b"{} ", 100, false);
    next(&mut idle)
        .await
        .expect("a message")
        .expect("a message");
    let silence = tokio::time::timeout(UNFINISHED_MAX * 100, next(&mut idle));
    assert!(silence.await.is_err(), "between two objects it may be idle");
}

#[tokio::test(start_paused = true)]
async fn what_is_held_of_an_object_is_counted_until_it_is_mapped() {
    let receiving = Receiving::default();
    let text = format!("{{\"key\":\"{}", "A".repeat(100_000));
    let mut halting = body(&receiving, "/v3/kv/put", text.as_bytes(), 1000, false);
    assert!(futures::poll!(Box::pin(next(&mut halting))).is_pending());
    assert_eq!(receiving.bytes(), text.len() - crate::share::COVERED_BYTES);
    drop(halting);
    assert_eq!(receiving.bytes(), 0);

    let mut others = receiving.begin(None);
    assert!(others.set(crate::share::UNFINISHED_BYTES_MAX));
    let mut refused = body(&receiving, "/v3/kv/put", text.as_bytes(), 1000, false);
    let failed = next(&mut refused)
        .await
        .expect("a failure")
        .expect_err("a failure");
    assert_eq!(
        failed.to_string(),
        Status::from(Reason::TooManyRequests).to_string()
    );
}
