//! Tests of responses as JSON: chunks, ends, and what breaks off.

use std::{collections::VecDeque, future::poll_fn};

use http::HeaderMap;
use http_body::Frame;
use prost::Message as _;
use tenure_proto::etcdserverpb::RangeResponse;

use super::*;
use crate::{
    rpc::{
        answer::status::{self, Reason},
        gateway::{Access, GatewayLayer, routes::Found},
    },
    share::Receiving,
};

/// A body of these frames.
struct Frames(VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.pop_front().map(Ok))
    }
}

fn framed(count: i64) -> Vec<u8> {
    let message = RangeResponse {
        count,
        ..RangeResponse::default()
    };
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("short");
    [&[0], &length.to_be_bytes()[..], &message].concat()
}

/// The messages of a body that arrives in pieces of this size, and ends with these trailers.
fn messages(form: Form, body: &[u8], size: usize, trailers: Option<HeaderMap>) -> Messages<Frames> {
    let layer = GatewayLayer::new(true, Access::default(), 1000, Receiving::default());
    let routes = layer.gateway.routes.as_ref().expect("it is enabled");
    let Found::Method(route) = routes.find("/v3/kv/range") else {
        panic!("no route");
    };
    let pieces = body
        .chunks(size)
        .map(|it| Frame::data(Bytes::copy_from_slice(it)));
    let frames = pieces.chain(trailers.map(Frame::trailers)).collect();
    let (output, gateway) = (route.output, Arc::clone(&layer.gateway));
    Messages::new(gateway, output, form, Refused::default(), Frames(frames))
}

/// The chunks of a response, and how it ended.
async fn chunks(mut messages: Messages<Frames>) -> (Vec<String>, Option<Ended>) {
    let mut found = Vec::new();
    loop {
        match poll_fn(|context| messages.poll_chunk(context)).await {
            Some(Ok(chunk)) => found.push(String::from_utf8(chunk.to_vec()).expect("text")),
            Some(Err(ended)) => return (found, Some(ended)),
            None => return (found, None),
        }
    }
}

#[tokio::test]
async fn every_message_is_one_chunk_wherever_the_body_is_cut() {
    let body = [framed(7), framed(0), framed(8)].concat();
    for size in 1..=body.len() {
        let ok = status::trailers(&Status::ok(""));
        let (found, ended) = chunks(messages(Form::Lines, &body, size, Some(ok))).await;
        let expected = [
            "{\"result\":{\"count\":\"7\"}}\n",
            "{\"result\":{}}\n",
            "{\"result\":{\"count\":\"8\"}}\n",
        ];
        assert_eq!(found, expected, "{size}");
        assert!(ended.is_none(), "{ended:?}");
    }
    let (found, _) = chunks(messages(Form::Events, &framed(7), 3, None)).await;
    assert_eq!(found, ["data: {\"count\":\"7\"}\n\n"]);
    let (found, _) = chunks(messages(Form::Whole, &framed(7), 3, None)).await;
    assert_eq!(found, ["{\"count\":\"7\"}"]);
}

#[tokio::test]
async fn a_large_message_is_sent_before_it_is_complete() {
    let kv = tenure_proto::mvccpb::KeyValue {
        value: vec![7; 1000].into(),
        ..Default::default()
    };
    let message = RangeResponse {
        kvs: vec![kv; 1000],
        ..RangeResponse::default()
    };
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("short");
    let body = [&[0], &length.to_be_bytes()[..], &message].concat();
    let (found, ended) = chunks(messages(Form::Whole, &body, 16 << 10, None)).await;
    assert!(ended.is_none(), "{ended:?}");
    assert!(found.len() > 10, "{}", found.len());
    assert!(found.iter().all(|chunk| chunk.len() < 2 * CHUNK_BYTES));
    let text: serde_json::Value = serde_json::from_str(&found.concat()).expect("JSON");
    assert_eq!(text["kvs"].as_array().map(Vec::len), Some(1000));
}

#[tokio::test]
async fn a_call_that_fails_between_messages_says_so() {
    let failed = status::trailers(&Reason::NoLeader.into());
    let (found, ended) = chunks(messages(Form::Lines, &framed(7), 3, Some(failed))).await;
    assert_eq!(found.len(), 1);
    let Some(Ended::Failed(status)) = ended else {
        panic!("{ended:?}");
    };
    assert_eq!(status.message(), Reason::NoLeader.text());
    let told = Form::Lines.failure(&Told::from(&*status));
    let line = concat!(
        r#"{"error":{"grpc_code":14,"http_code":503,"message":"etcdserver: no leader","#,
        "\"http_status\":\"Service Unavailable\",\"code\":14}}\n"
    );
    assert_eq!(String::from_utf8(told).expect("text"), line);
}

#[tokio::test]
async fn a_response_that_breaks_off_within_a_message_is_no_end() {
    let body = framed(7);
    for cut in 1..body.len() {
        for trailers in [None, Some(status::trailers(&Status::ok("")))] {
            let (found, ended) = chunks(messages(Form::Lines, &body[..cut], 2, trailers)).await;
            assert!(found.is_empty());
            assert!(matches!(ended, Some(Ended::Broken(_))), "{cut}: {ended:?}");
        }
    }
    for bad in [
        &[1, 0, 0, 0, 0][..],
        &[0, 0, 0, 0, 1, 0xff],
        &[0, 0, 0, 0, 1, 0x80, 0],
    ] {
        let (_, ended) = chunks(messages(Form::Lines, bad, 10, None)).await;
        assert!(
            matches!(ended, Some(Ended::Broken(_))),
            "{bad:?}: {ended:?}"
        );
    }
}
