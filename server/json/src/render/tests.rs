//! Tests of responses: what is rendered, wherever it is cut, and what is no encoding.

use std::sync::LazyLock;

use proptest::prelude::*;
use prost::Message;
use tenure_proto::{
    etcdserverpb::{
        AlarmMember, AlarmResponse, HashResponse, PutResponse, RangeResponse, ResponseHeader,
        ResponseOp, TxnResponse, WatchCreateRequest, WatchRequest, WatchResponse,
        response_op::Response, watch_request::RequestUnion,
    },
    mvccpb::{Event, KeyValue},
    v1::{self, WatchEndpointsResponse, watch_endpoints_response::Change},
};

use super::*;
use crate::to_wire;

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| Schema::new(tenure_proto::PUBLIC_DESCRIPTOR_SET).expect("supported"));

fn output(method: &str) -> MessageId {
    let method = SCHEMA.methods().iter().find(|it| it.name == method);
    method.expect("a method").output
}

/// The text of an encoding that arrives in pieces of this size.
fn render(message: MessageId, wire: &[u8], size: usize) -> Result<String, Malformed> {
    let mut out = Vec::new();
    let mut renderer = Renderer::new(message, wire.len(), &mut out);
    let mut is_complete = renderer.render(&SCHEMA, &[], &mut out)?;
    for piece in wire.chunks(size) {
        assert!(!is_complete);
        is_complete = renderer.render(&SCHEMA, piece, &mut out)?;
    }
    if !is_complete {
        return Err(Malformed);
    }
    String::from_utf8(out).map_err(|_| Malformed)
}

/// As [`render`], and the same for every size of the pieces.
fn rendered(message: MessageId, wire: &[u8]) -> String {
    let whole = render(message, wire, usize::MAX).expect("an encoding");
    for size in 1..wire.len().min(70) {
        assert_eq!(render(message, wire, size).as_ref(), Ok(&whole), "{size}");
    }
    whole
}

fn header() -> Option<ResponseHeader> {
    Some(ResponseHeader {
        cluster_id: u64::MAX,
        revision: -1,
        ..ResponseHeader::default()
    })
}

#[test]
fn names_numbers_and_bytes_are_etcds() {
    let kv = |key: &'static str| KeyValue {
        key: key.into(),
        create_revision: 2,
        version: i64::MAX,
        value: vec![0xfb, 0xff].into(),
        ..KeyValue::default()
    };
    let response = RangeResponse {
        header: header(),
        kvs: vec![kv("a"), KeyValue::default(), kv("bc")],
        more: true,
        count: 3,
    };
    let expected = concat!(
        r#"{"header":{"cluster_id":"18446744073709551615","revision":"-1"},"kvs":[{"key":"Y"#,
        r#"Q==","create_revision":"2","version":"9223372036854775807","value":"+/8="},{},{""#,
        r#"key":"YmM=","create_revision":"2","version":"9223372036854775807","value":"+/8=""#,
        r#"}],"more":true,"count":"3"}"#,
    );
    assert_eq!(
        rendered(output("Range"), &response.encode_to_vec()),
        expected
    );
    assert_eq!(rendered(output("Range"), &[]), "{}");
    let hash = HashResponse {
        header: Some(ResponseHeader::default()),
        hash: u32::MAX,
    };
    let expected = r#"{"header":{},"hash":4294967295}"#;
    assert_eq!(rendered(output("Hash"), &hash.encode_to_vec()), expected);
}

#[test]
fn enumerations_alternatives_and_nested_lists_are_rendered() {
    let alarm = |alarm| AlarmMember {
        member_id: 7,
        alarm,
    };
    let response = AlarmResponse {
        header: None,
        alarms: vec![alarm(1), alarm(0), alarm(77), alarm(-1)],
    };
    let expected = concat!(
        r#"{"alarms":[{"memberID":"7","alarm":"NOSPACE"},{"memberID":"7"},{"memberID":"7",""#,
        r#"alarm":77},{"memberID":"7","alarm":-1}]}"#,
    );
    assert_eq!(
        rendered(output("Alarm"), &response.encode_to_vec()),
        expected
    );
    let put = ResponseOp {
        response: Some(Response::ResponsePut(PutResponse {
            header: header(),
            prev_kv: None,
        })),
    };
    let inner = TxnResponse {
        responses: vec![put, ResponseOp::default()],
        ..TxnResponse::default()
    };
    let outer = TxnResponse {
        header: None,
        succeeded: true,
        responses: vec![ResponseOp {
            response: Some(Response::ResponseTxn(inner)),
        }],
    };
    let expected = concat!(
        r#"{"succeeded":true,"responses":[{"response_txn":{"responses":[{"response_put":{"h"#,
        r#"eader":{"cluster_id":"18446744073709551615","revision":"-1"}}},{}]}}]}"#,
    );
    assert_eq!(rendered(output("Txn"), &outer.encode_to_vec()), expected);
    let progress = WatchEndpointsResponse {
        header: None,
        change: Some(Change::Progress(false)),
    };
    let expected = r#"{"progress":false}"#;
    assert_eq!(
        rendered(output("WatchEndpoints"), &progress.encode_to_vec()),
        expected
    );
}

#[test]
fn texts_are_escaped_and_maps_are_objects() {
    let instance = v1::Instance {
        service: "\"\\\n\r\t\u{1}\u{1f}ä😀".to_owned(),
        metadata: [("a", "\""), ("b", ""), ("", "c")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        tags: vec!["x".to_owned(), String::new()],
        ..v1::Instance::default()
    };
    let response = WatchEndpointsResponse {
        header: None,
        change: Some(Change::Snapshot(v1::Snapshot {
            registrations: vec![v1::Registration {
                instance: Some(instance),
                ..v1::Registration::default()
            }],
            all: true,
        })),
    };
    let expected = concat!(
        r#"{"snapshot":{"registrations":[{"instance":{"service":"\"\\\n\r\t\u0001\u001fä😀","#,
        r#""metadata":{"":"c","a":"\"","b":""},"tags":["x",""]}}],"all":true}}"#,
    );
    let text = rendered(output("WatchEndpoints"), &response.encode_to_vec());
    assert_eq!(text, expected);
    serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
}

#[test]
fn packed_numbers_and_unknown_fields_are_read() {
    let request = WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(WatchCreateRequest {
            filters: vec![1, 0, 77],
            watch_id: 5,
            ..WatchCreateRequest::default()
        })),
    };
    let method = SCHEMA.methods().iter().find(|it| it.name == "Watch");
    let input = method.expect("a method").input;
    let expected = r#"{"create_request":{"filters":["NODELETE","NOPUT",77],"watch_id":"5"}}"#;
    assert_eq!(rendered(input, &request.encode_to_vec()), expected);
    // Fields 100 to 103: a number, 64 bits, a text, 32 bits; then the header.
    let unknown = [
        &[0xa0, 0x06, 0xff, 0x01][..],
        &[0xa9, 0x06, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xb2, 0x06, 3, b'a', b'b', b'c'],
        &[0xbd, 0x06, 1, 2, 3, 4],
        &[0x0a, 0x00],
        &[0xb2, 0x06, 0],
    ]
    .concat();
    assert_eq!(rendered(output("Hash"), &unknown), r#"{"header":{}}"#);
}

#[test]
fn what_is_not_the_encoding_of_the_message_is_refused() {
    for wire in [
        // A truncated tag, value, length and message.
        &[0x80][..],
        &[0x10],
        &[0x10, 0x80],
        &[0x0a],
        &[0x0a, 0x02, 0x08],
        &[0x0a, 0x01, 0x80, 0x01],
        // A wrong wire type, a group, a number that is too long, a length beyond the end.
        &[0x08, 0x01],
        &[0x12, 0x01, 0x00],
        &[0xa3, 0x06],
        &[
            0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
        ],
        &[
            0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
        ],
    ] {
        for size in 1..=wire.len() {
            assert_eq!(
                render(output("Hash"), wire, size),
                Err(Malformed),
                "{wire:?}"
            );
        }
    }
}

proptest! {
    #[test]
    fn bytes_that_are_no_encoding_never_panic(wire in prop::collection::vec(any::<u8>(), 0..200)) {
        for message in 0..SCHEMA.messages.len() {
            if let Ok(text) = render(MessageId(message), &wire, 7) {
                // Fields in any order may give a name twice, which is still well-formed.
                serde_json::from_str::<serde::de::IgnoredAny>(&text).expect("JSON");
            }
        }
    }

    #[test]
    fn what_is_rendered_is_read_back(
        keys in prop::collection::vec((any::<Vec<u8>>(), any::<i64>(), 0..3_i32), 0..5),
        cancel_reason in ".*",
        watch_id in any::<i64>(),
    ) {
        let event = |(key, version, kind): (Vec<u8>, i64, i32)| Event {
            r#type: kind,
            kv: Some(KeyValue { key: key.into(), version, ..KeyValue::default() }),
            prev_kv: None,
        };
        let response = WatchResponse {
            header: header(),
            watch_id,
            cancel_reason,
            events: keys.into_iter().map(event).collect(),
            ..WatchResponse::default()
        };
        let text = rendered(output("Watch"), &response.encode_to_vec());
        let mut wire = Vec::new();
        to_wire(&SCHEMA, output("Watch"), text.as_bytes(), &mut wire).expect("JSON");
        prop_assert_eq!(WatchResponse::decode(wire.as_slice()).expect("an encoding"), response);
    }
}
