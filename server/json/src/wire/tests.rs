//! Tests of requests: every spelling, and what is refused.

use std::sync::LazyLock;

use prost::Message;
use tenure_proto::{
    etcdserverpb::{
        AlarmRequest, Compare, LeaseGrantRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
        WatchRequest, compare::TargetUnion, request_op::Request, watch_request::RequestUnion,
    },
    v1::{Endpoint, Instance, RegisterRequest},
};

use super::*;

static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| Schema::new(tenure_proto::PUBLIC_DESCRIPTOR_SET).expect("supported"));

fn input(method: &str) -> MessageId {
    let method = SCHEMA.methods().iter().find(|it| it.name == method);
    method.expect("a method").input
}

fn read<M: Message + Default>(method: &str, json: &str) -> Result<M, Fault> {
    let mut wire = Vec::new();
    to_wire(&SCHEMA, input(method), json.as_bytes(), &mut wire)?;
    Ok(M::decode(wire.as_slice()).expect("an encoding"))
}

fn refusal(method: &str, json: &str) -> String {
    let read = to_wire(&SCHEMA, input(method), json.as_bytes(), &mut Vec::new());
    read.expect_err(json).to_string()
}

#[test]
fn every_spelling_of_a_field_is_the_same_field() {
    let expected = RangeRequest {
        key: "a".into(),
        range_end: vec![0xfb, 0xff].into(),
        limit: 7,
        sort_target: 3,
        keys_only: true,
        ..RangeRequest::default()
    };
    for json in [
        r#"{"key":"YQ==","range_end":"+/8=","limit":7,"sort_target":"MOD","keys_only":true}"#,
        r#"{"key":"YQ","rangeEnd":"-_8","limit":"7","sortTarget":3,"keysOnly":true}"#,
        r#"{"key":"YQ","range_end":"-_8=","limit":7.0,"sortTarget":3.0,"keysOnly":true}"#,
        r#" {"key" : "Y\u0051==", "range_end":"+\/8", "limit":"7.0", "sort_target":"MOD",
            "keys_only":true, "revision":null, "unknown":{"a":[1,{"b":null}]}, "sort_order":"NO"}"#,
    ] {
        assert_eq!(
            read::<RangeRequest>("Range", json).as_ref(),
            Ok(&expected),
            "{json}"
        );
    }
    let none = read::<RangeRequest>("Range", "{}");
    assert_eq!(none, Ok(RangeRequest::default()));
}

#[test]
fn numbers_keep_every_digit_and_their_bounds() {
    let put = |lease: &str| {
        let put = read::<PutRequest>("Put", &format!("{{\"lease\":{lease}}}"));
        put.map(|put| put.lease)
    };
    for lease in [i64::MAX, i64::MIN, -1, 0, 1 << 53 | 1] {
        assert_eq!(put(&lease.to_string()), Ok(lease));
        assert_eq!(put(&format!("\"{lease}\"")), Ok(lease));
    }
    for lease in [
        "9223372036854775808",
        "1.5",
        "1e40",
        "\"x\"",
        "\"\"",
        "true",
        "{}",
        "[1]",
    ] {
        let refused = put(lease).expect_err(lease).to_string();
        assert!(
            refused.starts_with("field lease: invalid type: "),
            "{refused}"
        );
        assert!(
            refused.contains("expected a whole number that fits at line 1"),
            "{refused}"
        );
    }
    let alarm = |member: &str| {
        read::<AlarmRequest>("Alarm", &format!("{{\"memberID\":{member}}}")).map(|it| it.member_id)
    };
    assert_eq!(alarm("18446744073709551615"), Ok(u64::MAX));
    assert!(alarm("-1").is_err());
}

#[test]
fn nested_messages_and_lists_are_read() {
    let json = r#"{"compare":[{"key":"YQ==","createRevision":"0","result":"GREATER"},
        {"key":"YQ==","target":"VALUE","value":""}],
        "success":[{"requestPut":{"key":"YQ=="}},{"request_txn":{"failure":[{}]}}],
        "failure":null}"#;
    let expected = TxnRequest {
        compare: vec![
            Compare {
                key: "a".into(),
                result: 1,
                target_union: Some(TargetUnion::CreateRevision(0)),
                ..Compare::default()
            },
            Compare {
                key: "a".into(),
                target: 3,
                target_union: Some(TargetUnion::Value("".into())),
                ..Compare::default()
            },
        ],
        success: vec![
            RequestOp {
                request: Some(Request::RequestPut(PutRequest {
                    key: "a".into(),
                    ..PutRequest::default()
                })),
            },
            RequestOp {
                request: Some(Request::RequestTxn(TxnRequest {
                    failure: vec![RequestOp::default()],
                    ..TxnRequest::default()
                })),
            },
        ],
        failure: vec![],
    };
    assert_eq!(read::<TxnRequest>("Txn", json), Ok(expected));
    let json = r#"{"create_request":{"filters":["NODELETE",0,"NEW"]}}"#;
    let watch = read::<WatchRequest>("Watch", json).expect("a request");
    let Some(RequestUnion::CreateRequest(create)) = watch.request_union else {
        panic!("no creation: {watch:?}");
    };
    assert_eq!(create.filters, [1, 0]);
}

#[test]
fn maps_texts_and_small_numbers_are_read() {
    let json = r#"{"instance":{"id":"ä\n\ud83d\ude00","endpoints":[{"port":80,"host":"h"}],
        "metadata":{"a":"b","":""},"tags":["x","y"],"readiness":"READY"},"ttl_ms":"500"}"#;
    let expected = RegisterRequest {
        instance: Some(Instance {
            id: "ä\n😀".to_owned(),
            endpoints: vec![Endpoint {
                port: 80,
                host: "h".to_owned(),
                ..Endpoint::default()
            }],
            metadata: [("a", "b"), ("", "")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            tags: vec!["x".to_owned(), "y".to_owned()],
            readiness: 1,
            ..Instance::default()
        }),
        ttl_ms: 500,
        ..RegisterRequest::default()
    };
    assert_eq!(read::<RegisterRequest>("Register", json), Ok(expected));
}

/// Checks the texts of refusals, each before its place.
fn check(cases: &[(&str, &str, &str)]) {
    for (method, json, expected) in cases {
        let refused = refusal(method, json);
        let (cause, place) = refused.split_once(" at ").expect(&refused);
        assert_eq!(cause, *expected);
        assert!(place.starts_with("line 1 column "), "{refused}");
    }
}

#[test]
fn values_of_a_wrong_type_are_refused_with_the_field_and_the_place() {
    check(&[
        (
            "Put",
            r#"{"key":"!"}"#,
            "field key: invalid type: this text, expected base64",
        ),
        (
            "Put",
            r#"{"key":7}"#,
            "field key: invalid type: integer `7`, expected base64",
        ),
        (
            "Put",
            r#"{"prev_kv":"true"}"#,
            "field prev_kv: invalid type: this text, expected true or false",
        ),
        (
            "Txn",
            r#"{"success":{}}"#,
            "field success: invalid type: map, expected an array",
        ),
        (
            "Txn",
            r#"{"success":[null]}"#,
            "field success: invalid type: null, expected an object",
        ),
        (
            "Txn",
            r#"{"success":[{"requestPut":{"key":[]}}]}"#,
            "field success.request_put.key: invalid type: sequence, expected base64",
        ),
        (
            "Register",
            r#"{"instance":{"tags":[["a"]]}}"#,
            "field instance.tags: invalid type: sequence, expected text",
        ),
        (
            "Register",
            r#"{"instance":{"metadata":{"a":null}}}"#,
            "field instance.metadata: invalid type: null, expected a string",
        ),
        (
            "Register",
            r#"{"instance":[]}"#,
            "field instance: invalid type: sequence, expected an object",
        ),
    ]);
}

#[test]
fn repeated_fields_and_malformed_texts_are_refused() {
    check(&[
        (
            "Put",
            r#"{"key":"YQ==","key":"Yg=="}"#,
            "field key: given twice, or beside its alternative",
        ),
        (
            "Range",
            r#"{"range_end":"YQ==","rangeEnd":"YQ=="}"#,
            "field range_end: given twice, or beside its alternative",
        ),
        (
            "Txn",
            r#"{"success":[{"requestPut":{},"requestRange":{}}]}"#,
            "field success.request_range: given twice, or beside its alternative",
        ),
        ("Put", r#"{"key"}"#, "field key: expected `:`"),
        ("Put", r#"{"key":"YQ=="}}"#, "trailing characters"),
        (
            "Put",
            r#"{"key":"\ud800"}"#,
            "field key: unexpected end of hex escape",
        ),
        ("Put", "{key:1}", "key must be a string"),
        ("Put", "[]", "invalid type: sequence, expected an object"),
    ]);
    assert!(refusal("Put", "{\"key\":\"\u{1}\"}").contains("control character"));
}

#[test]
fn an_alternative_that_is_null_was_not_given() {
    let json = r#"{"create_request":null,"cancel_request":{"watch_id":"7"}}"#;
    let watch = read::<WatchRequest>("Watch", json).expect("a request");
    assert!(
        matches!(watch.request_union, Some(RequestUnion::CancelRequest(it)) if it.watch_id == 7)
    );
    let json = r#"{"ID":"7","id":"8","TTL":null}"#;
    let grant = read::<LeaseGrantRequest>("LeaseGrant", json).expect("a request");
    assert_eq!(
        (grant.id, grant.ttl),
        (7, 0),
        "names are told apart by case"
    );
}

#[test]
fn a_nested_message_of_any_length_has_its_length() {
    for length in [0, 1, 127, 128, 20_000, 3_000_000] {
        let value = "A".repeat(length / 3 * 4);
        let json = format!(r#"{{"success":[{{"requestPut":{{"value":"{value}"}}}}]}}"#);
        let txn = read::<TxnRequest>("Txn", &json).expect("a request");
        let Some(Request::RequestPut(put)) = &txn.success[0].request else {
            panic!("no put");
        };
        assert_eq!(put.value.len(), length / 3 * 3);
    }
}
