//! What is no request at all: bytes that are no message, frames that are none, calls that nobody
//! serves, metadata that is no text.
//!
//! The code is the one that etcd gives; the words are those of another gRPC library.

use prost::Message;
use tenure_proto::metadata::API_VERSION_METADATA;
use tonic::{
    Code,
    codegen::{Bytes, http::HeaderValue},
};

use super::case::{Case, Expected};
use crate::differential::{
    requests::get,
    wire::{Call, frame},
};

/// Every call with one request that is served, by its service.
const SERVED: [(&str, &[&str]); 5] = [
    ("KV", &["Range", "Put", "DeleteRange", "Txn", "Compact"]),
    (
        "Lease",
        &[
            "LeaseGrant",
            "LeaseRevoke",
            "LeaseTimeToLive",
            "LeaseLeases",
        ],
    ),
    (
        "Cluster",
        &[
            "MemberAdd",
            "MemberRemove",
            "MemberUpdate",
            "MemberList",
            "MemberPromote",
        ],
    ),
    (
        "Maintenance",
        &[
            "Alarm",
            "Status",
            "Defragment",
            "Hash",
            "HashKV",
            "MoveLeader",
        ],
    ),
    (
        "Auth",
        &[
            "AuthEnable",
            "AuthDisable",
            "Authenticate",
            "UserAdd",
            "UserGet",
            "RoleAdd",
        ],
    ),
];
const RANGE: &str = "/etcdserverpb.KV/Range";
/// A field of a kind that protobuf does not have.
const NO_MESSAGE: [u8; 1] = [0x0f];

pub(super) fn cases() -> Vec<Case> {
    let mut cases = messages();
    cases.extend(frames());
    cases.extend(unknown_calls());
    cases.extend(metadata());
    cases
}

fn status(code: Code, text: &str) -> Expected {
    Expected::Status(code, text.to_owned())
}

fn messages() -> Vec<Case> {
    let mut cases = Vec::new();
    for (service, methods) in SERVED {
        for method in methods {
            let call = Call::new(
                format!("/etcdserverpb.{service}/{method}"),
                frame(&NO_MESSAGE),
            );
            let text = "failed to decode Protobuf message: invalid wire type value: 7";
            let expected = status(Code::Internal, text);
            cases.push(Case::new(format!("{method} of no message"), call, expected).not_in_etcd());
        }
    }
    for (name, message, text) in [
        (
            "cut in a key",
            vec![0x0a, 5, b'a'],
            "RangeRequest.key: buffer underflow",
        ),
        ("with an endless number", vec![0xff; 11], "invalid varint"),
        ("with field zero", vec![0x00], "invalid tag value: 0"),
        (
            "with a number for a key",
            vec![0x08, 1],
            "RangeRequest.key: invalid wire type: Varint (expected LengthDelimited)",
        ),
    ] {
        let call = Call::new(RANGE, frame(&message));
        let expected = status(
            Code::Internal,
            &format!("failed to decode Protobuf message: {text}"),
        );
        cases.push(Case::new(format!("range {name}"), call, expected).not_in_etcd());
    }
    cases
}

fn frames() -> Vec<Case> {
    let range = get("a").encode_to_vec();
    let whole = frame(&range);
    let flagged = |flag: u8| -> Bytes { [&[flag], &whole[1..]].concat().into() };
    let internal = |text: &str| status(Code::Internal, text);
    let unfinished = "Unexpected EOF decoding stream.";
    let uncompressed =
        "protocol error: received message with compressed-flag but no grpc-encoding was specified";
    let unmarked = "protocol error: received message with invalid compression flag: 2 \
                    (valid flags are 0 and 1), while sending request";
    let endless = "grpc: received message larger than max (4294967295 vs. 2097152)";
    let endless_head = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]);
    [
        (
            "no message",
            Bytes::new(),
            internal("Missing request message."),
        ),
        ("half a frame head", whole.slice(..3), internal(unfinished)),
        (
            "half a message",
            whole.slice(..whole.len() - 1),
            internal(unfinished),
        ),
        (
            "a message marked as compressed",
            flagged(1),
            internal(uncompressed),
        ),
        (
            "a message with an unknown mark",
            flagged(2),
            internal(unmarked),
        ),
        (
            "an endless message",
            endless_head,
            status(Code::ResourceExhausted, endless),
        ),
    ]
    .into_iter()
    .map(|(name, body, expected)| {
        Case::new(format!("range of {name}"), Call::new(RANGE, body), expected).not_in_etcd()
    })
    .collect()
}

fn unknown_calls() -> Vec<Case> {
    [
        (
            "/etcdserverpb.KV/Nothing",
            "unknown method Nothing for service etcdserverpb.KV",
        ),
        (
            "/etcdserverpb.KV/range",
            "unknown method range for service etcdserverpb.KV",
        ),
        (
            "/etcdserverpb.Nothing/Range",
            "unknown service etcdserverpb.Nothing",
        ),
        ("/nothing.KV/Range", "unknown service nothing.KV"),
        ("/KV/Range", "unknown service KV"),
        (
            "/tenure.peer.v1.Peer/Stream",
            "unknown service tenure.peer.v1.Peer",
        ),
        ("/", "malformed method name: \"/\""),
        ("/Range", "malformed method name: \"/Range\""),
    ]
    .into_iter()
    .map(|(path, in_etcd)| {
        let call = Call::new(path, frame(&get("a").encode_to_vec()));
        let code = if in_etcd.starts_with("malformed") {
            Code::ResourceExhausted
        } else {
            Code::Unimplemented
        };
        Case::new(
            format!("call of {path}"),
            call,
            status(Code::Unimplemented, ""),
        )
        .etcd_says(code, in_etcd)
    })
    .collect()
}

fn metadata() -> Vec<Case> {
    let opaque = |bytes: &'static [u8]| HeaderValue::from_bytes(bytes).expect("no control bytes");
    let mut cases = Vec::new();
    for (method, message) in [
        ("KV/Range", get("a").encode_to_vec()),
        (
            "KV/Put",
            crate::differential::requests::put("a", "x").encode_to_vec(),
        ),
        ("Lease/LeaseLeases", Vec::new()),
        ("Maintenance/Status", Vec::new()),
        ("Cluster/MemberList", Vec::new()),
    ] {
        let mut call = Call::new(format!("/etcdserverpb.{method}"), frame(&message));
        call.metadata = vec![(API_VERSION_METADATA, opaque(b"\xff\xfe"))];
        let expected = status(
            Code::InvalidArgument,
            "etcdserver: invalid client api version",
        );
        cases.push(
            Case::new(
                format!("{method} of a version that is no text"),
                call,
                expected,
            )
            .not_in_etcd(),
        );
    }
    let mut squeezed = Call::new(RANGE, frame(&get("a").encode_to_vec()));
    squeezed.metadata = vec![("grpc-encoding", HeaderValue::from_static("squeezed"))];
    let expected = status(
        Code::Unimplemented,
        "Content is compressed with `squeezed` which isn't supported",
    );
    cases.push(Case::new("range in an unknown compression", squeezed, expected).not_in_etcd());
    cases
}
