//! Transactions: every bad operation in every place that it can be in.

use tenure_proto::etcdserverpb::{
    Compare, PutRequest, RequestOp, TxnRequest,
    compare::{CompareResult, TargetUnion},
};
use tonic::Code;

use super::{
    FLOOR, LATEST,
    case::{Case, Expected},
    keys::{BAD_SORT, LEASE_PROVIDED, NO_KEY, VALUE_PROVIDED, bad_sorts},
};
use crate::differential::{
    known::{COMPACTED, FUTURE_REVISION, KEY_NOT_FOUND, LEASE_NOT_FOUND},
    requests::{absent, all_of, delete, get, get_at, is, op, put, put_on_lease, txn},
};

const DUPLICATE: &str = "etcdserver: duplicate key given in txn request";
const TOO_MANY: &str = "etcdserver: too many operations in txn request";
const BAD_COMPARE: &str = "etcdserver: invalid compare option";
/// Most operations in a list.
const OPERATIONS_MAX: usize = 128;
/// Transactions within one another, beyond what a message may nest.
const DEPTH_BEYOND: usize = 60;

pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (what, bad, text) in bad_operations() {
        for (place, txn) in places(&[bad]) {
            let case = Case::invalid(format!("txn: {what}, {place}"), &txn, text);
            cases.push(if text == BAD_SORT {
                case.not_in_etcd()
            } else {
                case
            });
        }
    }
    for (what, list) in clashes() {
        for (place, txn) in places(&list) {
            cases.push(Case::invalid(format!("{what}, {place}"), &txn, DUPLICATE));
        }
    }
    cases.extend(only_here());
    cases.extend(failing_checks());
    cases.extend(compares());
    cases.extend(sizes());
    cases
}

/// A list in each place of a transaction: its two branches, taken or not, and those of one within.
fn places(list: &[RequestOp]) -> [(&'static str, TxnRequest); 4] {
    let list = || list.to_vec();
    let (then, otherwise) = (all_of(list()), txn(vec![], vec![], list()));
    [
        ("then", then.clone()),
        ("else", otherwise.clone()),
        ("then of one within", all_of(vec![op(then)])),
        (
            "else of one within",
            txn(vec![], vec![], vec![op(otherwise)]),
        ),
    ]
}

fn bad_operations() -> Vec<(String, RequestOp, &'static str)> {
    let keeps_value = PutRequest {
        ignore_value: true,
        ..put("a", "1")
    };
    let keeps_lease = PutRequest {
        ignore_lease: true,
        ..put_on_lease("a", "1", 7)
    };
    let mut operations = vec![
        ("range without key".to_owned(), op(get("")), NO_KEY),
        ("put without key".to_owned(), op(put("", "1")), NO_KEY),
        (
            "put that keeps and gives the value".to_owned(),
            op(keeps_value),
            VALUE_PROVIDED,
        ),
        (
            "put that keeps and gives the lease".to_owned(),
            op(keeps_lease),
            LEASE_PROVIDED,
        ),
        ("delete without key".to_owned(), op(delete("", "z")), NO_KEY),
        (
            "no operation".to_owned(),
            RequestOp { request: None },
            KEY_NOT_FOUND,
        ),
        (
            "comparison without key".to_owned(),
            op(txn(vec![absent("")], vec![], vec![])),
            NO_KEY,
        ),
        (
            "too many operations within".to_owned(),
            op(all_of(vec![op(get("a")); OPERATIONS_MAX])),
            TOO_MANY,
        ),
    ];
    for (what, sorted) in bad_sorts() {
        operations.push((format!("range with {what}"), op(sorted), BAD_SORT));
    }
    operations
}

/// Lists that put a key twice, or both put and delete it.
fn clashes() -> Vec<(&'static str, Vec<RequestOp>)> {
    let put = |key| op(put(key, "1"));
    vec![
        ("txn: two puts of a key", vec![put("b"), put("b")]),
        (
            "txn: a put and a delete",
            vec![put("b"), op(delete("b", ""))],
        ),
        (
            "txn: a delete and a put",
            vec![op(delete("b", "")), put("b")],
        ),
        (
            "txn: a put below a deleted range",
            vec![put("b"), op(delete("a", "c"))],
        ),
        (
            "txn: a put beside one within",
            vec![put("b"), op(all_of(vec![put("b")]))],
        ),
        (
            "txn: a put beside a delete within",
            vec![put("b"), op(all_of(vec![op(delete("b", ""))]))],
        ),
        (
            "txn: a put within beside a delete",
            vec![
                op(txn(vec![], vec![], vec![put("b")])),
                op(delete("a", "c")),
            ],
        ),
        (
            "txn: puts in two within",
            vec![op(all_of(vec![put("b")])), op(all_of(vec![put("b")]))],
        ),
    ]
}

/// Clashes that etcd overlooks, in the branch that is not taken, so that it does nothing.
fn only_here() -> Vec<Case> {
    let put = |key| op(put(key, "1"));
    [
        (
            "txn: a put below a delete without end",
            vec![put("b"), op(delete("a", "\0"))],
        ),
        (
            "txn: a put and a delete of everything",
            vec![put("b"), op(delete("\0", "\0"))],
        ),
        (
            "txn: a put within before a delete within",
            vec![
                op(all_of(vec![put("b")])),
                op(all_of(vec![op(delete("b", ""))])),
            ],
        ),
    ]
    .into_iter()
    .map(|(name, list)| {
        Case::invalid(name, &txn(vec![], vec![], list), DUPLICATE).etcd_answers(Expected::Accepted)
    })
    .collect()
}

/// What only the state tells to be wrong; each beside a put that must not happen.
fn failing_checks() -> Vec<Case> {
    let keeps = PutRequest {
        ignore_value: true,
        ..put("absent", "")
    };
    let keeps_lease = PutRequest {
        ignore_lease: true,
        ..put("absent", "1")
    };
    let checks = [
        (
            "keeping the value of nothing",
            op(keeps),
            Code::InvalidArgument,
            KEY_NOT_FOUND,
        ),
        (
            "keeping the lease of nothing",
            op(keeps_lease),
            Code::InvalidArgument,
            KEY_NOT_FOUND,
        ),
        (
            "an unknown lease",
            op(put_on_lease("c", "1", 8)),
            Code::NotFound,
            LEASE_NOT_FOUND,
        ),
        (
            "the future",
            op(get_at("a", LATEST + 1)),
            Code::OutOfRange,
            FUTURE_REVISION,
        ),
        (
            "the compacted past",
            op(get_at("a", FLOOR - 1)),
            Code::OutOfRange,
            COMPACTED,
        ),
        (
            "a negative revision",
            op(get_at("a", -1)),
            Code::OutOfRange,
            COMPACTED,
        ),
    ];
    let mut cases = Vec::new();
    for (what, bad, code, text) in checks {
        let list = || vec![op(put("b", "1")), bad.clone()];
        for (place, txn) in [
            ("then", all_of(list())),
            ("else", txn(vec![absent("a")], vec![], list())),
            ("within", all_of(vec![op(all_of(list()))])),
        ] {
            let name = format!("txn: {what}, {place}");
            cases.push(Case::refused(name, &txn, code, text));
        }
    }
    cases
}

fn compares() -> Vec<Case> {
    let mut cases = vec![
        Case::invalid(
            "txn: comparison without key",
            &txn(vec![absent("")], vec![], vec![]),
            NO_KEY,
        ),
        Case::invalid(
            "txn: second comparison without key",
            &txn(
                vec![absent("a"), absent("")],
                vec![op(put("b", "1"))],
                vec![],
            ),
            NO_KEY,
        ),
    ];
    for (result, target) in [(4, 0), (-1, 0), (0, 5), (0, -1), (i32::MAX, i32::MIN)] {
        let compare = Compare {
            result,
            target,
            ..is("a", CompareResult::Equal, TargetUnion::Version(5))
        };
        let bad = txn(vec![compare], vec![], vec![]);
        let name = format!("txn: comparison {result} of {target}");
        cases.push(Case::invalid(name, &bad, BAD_COMPARE).etcd_answers(Expected::Accepted));
    }
    cases
}

fn sizes() -> Vec<Case> {
    let gets = vec![op(get("a")); OPERATIONS_MAX + 1];
    let deep = (0..DEPTH_BEYOND).fold(all_of(vec![]), |txn, _| all_of(vec![op(txn)]));
    vec![
        Case::invalid("txn: 129 operations, then", &all_of(gets.clone()), TOO_MANY),
        Case::invalid(
            "txn: 129 operations, else",
            &txn(vec![], vec![], gets),
            TOO_MANY,
        ),
        Case::invalid(
            "txn: 129 comparisons",
            &txn(vec![absent("a"); OPERATIONS_MAX + 1], vec![], vec![]),
            TOO_MANY,
        ),
        Case::invalid(
            "txn: nested too deeply",
            &deep,
            "tenure: transactions are nested too deep: 48 may lie within each other",
        )
        .etcd_answers(Expected::Accepted),
        Case::invalid(
            "txn: larger than a request may be",
            &all_of(vec![op(PutRequest {
                value: vec![b'x'; 1536 * 1024].into(),
                ..put("large", "")
            })]),
            "etcdserver: request is too large",
        ),
    ]
}
