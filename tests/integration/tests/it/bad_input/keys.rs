//! Ranges, puts, deletes, compactions.

use tenure_proto::etcdserverpb::{PutRequest, RangeRequest};
use tonic::Code;

use super::{
    FLOOR, LATEST, LEASE,
    case::{Case, Expected},
};
use crate::differential::{
    known::{COMPACTED, FUTURE_REVISION, KEY_NOT_FOUND, LEASE_NOT_FOUND},
    requests::{compact, delete, get, get_at, put, put_on_lease, range},
    wire::{Call, frame},
};
use prost::Message;

pub(super) const NO_KEY: &str = "etcdserver: key is not provided";
pub(super) const BAD_SORT: &str = "etcdserver: invalid sort option";
pub(super) const VALUE_PROVIDED: &str = "etcdserver: value is provided";
pub(super) const LEASE_PROVIDED: &str = "etcdserver: lease is provided";
/// Beyond the largest request, below what the transport takes.
const TOO_LARGE_BYTES: usize = 1536 * 1024;
/// What the transport takes.
const TRANSPORT_BYTES: usize = 2 * 1024 * 1024;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = ranges();
    cases.extend(streams());
    cases.extend(puts());
    cases.extend(sizes());
    cases.push(Case::invalid("delete without key", &delete("", ""), NO_KEY));
    cases.push(Case::invalid(
        "delete range without key",
        &delete("", "z"),
        NO_KEY,
    ));
    for (revision, text) in [
        (LATEST + 1, FUTURE_REVISION),
        (i64::MAX, FUTURE_REVISION),
        (FLOOR, COMPACTED),
        (FLOOR - 1, COMPACTED),
        (0, COMPACTED),
        (-1, COMPACTED),
        (i64::MIN, COMPACTED),
    ] {
        let name = format!("compact at {revision}");
        cases.push(Case::refused(
            name,
            &compact(revision),
            Code::OutOfRange,
            text,
        ));
    }
    cases
}

fn ranges() -> Vec<Case> {
    let mut cases = vec![
        Case::invalid("range without key", &get(""), NO_KEY),
        Case::invalid("range without key, with end", &range("", "z"), NO_KEY),
    ];
    for (name, sorted) in bad_sorts() {
        let name = format!("range with {name}");
        cases.push(Case::invalid(name, &sorted, BAD_SORT).not_in_etcd());
    }
    for (revision, text) in [
        (LATEST + 1, FUTURE_REVISION),
        (i64::MAX, FUTURE_REVISION),
        (FLOOR - 1, COMPACTED),
        (1, COMPACTED),
    ] {
        for serializable in [false, true] {
            let at = RangeRequest {
                serializable,
                ..get_at("a", revision)
            };
            let name = format!("range at {revision}, serializable {serializable}");
            cases.push(Case::refused(name, &at, Code::OutOfRange, text));
        }
    }
    cases
}

/// Sorts that the protocol does not have. etcd 3.4 does not look, and some of them end its process.
pub(super) fn bad_sorts() -> Vec<(String, RangeRequest)> {
    let orders = [3, -1, i32::MAX].map(|order| {
        let sorted = RangeRequest {
            sort_order: order,
            ..get("a")
        };
        (format!("sort order {order}"), sorted)
    });
    let targets = [5, -1, i32::MIN].map(|target| {
        let sorted = RangeRequest {
            sort_target: target,
            ..get("a")
        };
        (format!("sort target {target}"), sorted)
    });
    orders.into_iter().chain(targets).collect()
}

/// Streamed ranges, which etcd has since 3.7.
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn streams() -> Vec<Case> {
    let sort = |sort_order, sort_target| RangeRequest {
        sort_order,
        sort_target,
        ..range("a", "z")
    };
    let sorted = "RangeStream does not support custom sort orders";
    let filtered = "RangeStream does not support revision filters";
    let all = || range("a", "z");
    [
        ("without key", get(""), Code::InvalidArgument, NO_KEY),
        (
            "with sort order 3",
            sort(3, 0),
            Code::InvalidArgument,
            BAD_SORT,
        ),
        ("descending", sort(2, 0), Code::Unimplemented, sorted),
        ("by version", sort(1, 1), Code::Unimplemented, sorted),
        (
            "by value, descending",
            sort(2, 4),
            Code::Unimplemented,
            sorted,
        ),
        (
            "from a create revision",
            RangeRequest {
                min_create_revision: 1,
                ..all()
            },
            Code::Unimplemented,
            filtered,
        ),
        (
            "to a create revision",
            RangeRequest {
                max_create_revision: 1,
                ..all()
            },
            Code::Unimplemented,
            filtered,
        ),
        (
            "from a revision",
            RangeRequest {
                min_mod_revision: 1,
                ..all()
            },
            Code::Unimplemented,
            filtered,
        ),
        (
            "to a revision",
            RangeRequest {
                max_mod_revision: 1,
                ..all()
            },
            Code::Unimplemented,
            filtered,
        ),
        (
            "of the future",
            get_at("a", LATEST + 1),
            Code::OutOfRange,
            FUTURE_REVISION,
        ),
        (
            "of what was compacted",
            get_at("a", 1),
            Code::OutOfRange,
            COMPACTED,
        ),
    ]
    .into_iter()
    .map(|(name, request, code, text)| {
        let call = Call::new(
            "/etcdserverpb.KV/RangeStream",
            frame(&request.encode_to_vec()),
        );
        let expected = Expected::Status(code, text.to_owned());
        Case::new(format!("streamed range {name}"), call, expected).etcd_says(
            Code::Unimplemented,
            "unknown method RangeStream for service etcdserverpb.KV",
        )
    })
    .collect()
}

fn puts() -> Vec<Case> {
    let keep_value = |key| PutRequest {
        ignore_value: true,
        ..put(key, "")
    };
    let keep_lease = |key| PutRequest {
        ignore_lease: true,
        ..put(key, "1")
    };
    let with_value = PutRequest {
        value: "1".into(),
        ..keep_value("a")
    };
    let with_lease = PutRequest {
        lease: LEASE,
        ..keep_lease("a")
    };
    let keep_both = PutRequest {
        ignore_lease: true,
        ..keep_value("absent")
    };
    let not_found = |name: &str, request: &PutRequest| {
        Case::refused(name, request, Code::NotFound, LEASE_NOT_FOUND)
    };
    vec![
        Case::invalid("put without key", &put("", "1"), NO_KEY),
        Case::invalid("put of nothing", &PutRequest::default(), NO_KEY),
        Case::invalid(
            "put that keeps and gives the value",
            &with_value,
            VALUE_PROVIDED,
        ),
        Case::invalid(
            "put that keeps and gives the lease",
            &with_lease,
            LEASE_PROVIDED,
        ),
        Case::invalid(
            "put without key that keeps and gives the value",
            &PutRequest {
                key: "".into(),
                ..with_value.clone()
            },
            NO_KEY,
        ),
        Case::invalid(
            "put that keeps the value of nothing",
            &keep_value("absent"),
            KEY_NOT_FOUND,
        ),
        Case::invalid(
            "put that keeps the lease of nothing",
            &keep_lease("absent"),
            KEY_NOT_FOUND,
        ),
        Case::invalid("put that keeps all of nothing", &keep_both, KEY_NOT_FOUND),
        not_found("put on an unknown lease", &put_on_lease("a", "1", 8)),
        not_found("put on a negative lease", &put_on_lease("a", "1", -1)),
        not_found("put on the least lease", &put_on_lease("a", "1", i64::MIN)),
        not_found(
            "put on an unknown lease that keeps the value of nothing",
            &PutRequest {
                lease: 8,
                ..keep_value("absent")
            },
        ),
    ]
}

fn sizes() -> Vec<Case> {
    let large = |bytes: usize| PutRequest {
        key: "large".into(),
        value: vec![b'x'; bytes].into(),
        ..PutRequest::default()
    };
    let beyond = large(TRANSPORT_BYTES);
    let length = beyond.encoded_len();
    vec![
        Case::invalid(
            "put larger than a request may be",
            &large(TOO_LARGE_BYTES),
            "etcdserver: request is too large",
        ),
        Case::refused(
            "put larger than the transport takes",
            &beyond,
            Code::ResourceExhausted,
            &format!("grpc: received message larger than max ({length} vs. {TRANSPORT_BYTES})"),
        ),
    ]
}
