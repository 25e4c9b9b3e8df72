//! Transactions, rule by rule.

use tenure_proto::etcdserverpb::{
    Compare, PutRequest, RangeRequest, RequestOp, TxnRequest,
    compare::{CompareResult, CompareTarget, TargetUnion},
};
use tonic::codegen::Bytes;

use super::{
    pair::Pair,
    requests::{
        absent, all_of, delete, everything, get, get_at, grant, is, op, put, put_on_lease, range,
        txn,
    },
};

const DUPLICATE: &str = "etcdserver: duplicate key given in txn request";
const RELATIONS: [CompareResult; 4] = [
    CompareResult::Equal,
    CompareResult::Greater,
    CompareResult::Less,
    CompareResult::NotEqual,
];

#[tokio::test]
async fn comparisons_answer_as_etcd_does() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    pair.ok(grant(5, 1000)).await;
    pair.ok(put("a", "1")).await;
    pair.ok(put_on_lease("a", "2", 5)).await;
    pair.ok(put("b", "2")).await;
    for key in ["a", "b", "absent"] {
        for relation in RELATIONS {
            for number in [0, 1, 2, 3, 4, 5] {
                let value: &'static str = ["", "1", "2", "3", "22", "\0"][number as usize];
                for operand in [
                    TargetUnion::Version(number),
                    TargetUnion::CreateRevision(number),
                    TargetUnion::ModRevision(number),
                    TargetUnion::Lease(number),
                    TargetUnion::Value(value.into()),
                ] {
                    pair.ok(condition(vec![is(key, relation, operand)])).await;
                }
            }
        }
    }
    over_ranges(&mut pair).await;
    without_operands(&mut pair).await;
    pair.refused(
        condition(vec![absent("")]),
        "etcdserver: key is not provided",
    )
    .await;
    pair.ok(condition(vec![absent("x"), absent("y")])).await;
    pair.ok(condition(vec![absent("x"), absent("a")])).await;
}

/// A transaction that says whether its conditions hold, and changes nothing.
fn condition(compare: Vec<Compare>) -> TxnRequest {
    txn(compare, vec![op(get("a"))], vec![op(get("b"))])
}

async fn over_ranges(pair: &mut Pair) {
    for (key, end) in [("a", "c"), ("a", "b"), ("\0", "\0"), ("x", "z"), ("c", "a")] {
        for relation in RELATIONS {
            for operand in [
                TargetUnion::Version(1),
                TargetUnion::CreateRevision(0),
                TargetUnion::ModRevision(3),
                TargetUnion::Value("2".into()),
                TargetUnion::Value(Bytes::new()),
                TargetUnion::Lease(0),
            ] {
                let compare = Compare {
                    range_end: end.into(),
                    ..is(key, relation, operand)
                };
                pair.ok(condition(vec![compare])).await;
            }
        }
    }
}

/// An operand that is missing, or of another kind than the target, counts as zero or empty.
async fn without_operands(pair: &mut Pair) {
    for key in ["a", "absent"] {
        for relation in RELATIONS {
            for target in 0..=4 {
                for target_union in [None, Some(TargetUnion::Version(1))] {
                    pair.ok(condition(vec![Compare {
                        target: target.max(CompareTarget::Version as i32),
                        target_union,
                        ..is(key, relation, TargetUnion::Version(0))
                    }]))
                    .await;
                }
            }
        }
    }
}

#[tokio::test]
async fn transactions_run_as_in_etcd() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    pair.ok(put("a", "1")).await;
    pair.ok(put("b", "1")).await;
    // One revision for all, each operation seeing those before it.
    pair.ok(all_of(vec![
        op(get("a")),
        op(PutRequest {
            prev_kv: true,
            ..put("a", "2")
        }),
        op(get("a")),
        op(get_at("a", 2)),
        op(delete("b", "")),
        op(everything()),
        op(put("c", "2")),
        op(RangeRequest {
            count_only: true,
            ..everything()
        }),
    ]))
    .await;
    pair.ok(txn(vec![absent("a")], vec![op(put("a", "3"))], vec![]))
        .await;
    pair.ok(all_of(vec![])).await;
    pair.ok(all_of(vec![op(delete("absent", ""))])).await;
    pair.ok(everything()).await;
    // What a transaction within compares is the state before the whole.
    pair.ok(all_of(vec![
        op(put("n", "1")),
        op(txn(
            vec![absent("n")],
            vec![op(put("m", "then")), op(get("n"))],
            vec![op(put("m", "else"))],
        )),
        op(get("m")),
        op(all_of(vec![op(all_of(vec![
            op(delete("m2", "m9")),
            op(get("n")),
        ]))])),
    ]))
    .await;
    pair.ok(everything()).await;
    failing_checks(&mut pair).await;
    pair.ok(everything()).await;
}

/// What fails in a transaction fails it whole, before it changes anything.
async fn failing_checks(pair: &mut Pair) {
    let with = |second| all_of(vec![op(put("x", "1")), second]);
    let keep = PutRequest {
        ignore_value: true,
        ..put("absent", "")
    };
    pair.refused(with(op(keep.clone())), "etcdserver: key not found")
        .await;
    pair.refused(
        with(op(put_on_lease("y", "1", 99))),
        "etcdserver: requested lease not found",
    )
    .await;
    pair.refused(
        with(op(get_at("a", 99))),
        "etcdserver: mvcc: required revision is a future revision",
    )
    .await;
    pair.ok(super::requests::compact(4)).await;
    pair.refused(
        with(op(get_at("a", 3))),
        "etcdserver: mvcc: required revision has been compacted",
    )
    .await;
    // Only the branch that is taken is checked.
    pair.ok(txn(
        vec![absent("a")],
        vec![op(keep.clone())],
        vec![op(get("a"))],
    ))
    .await;
    // The key is there only once the transaction has run, which is too late.
    pair.refused(
        all_of(vec![op(put("absent", "1")), op(all_of(vec![op(keep)]))]),
        DUPLICATE,
    )
    .await;
    pair.same(with(op(get_at("a", -1)))).await;
    pair.same(all_of(vec![op(get_at("a", -1))])).await;
}

#[tokio::test]
async fn malformed_transactions_are_refused_as_by_etcd() {
    let Some(mut pair) = Pair::start().await else {
        return;
    };
    let both = |list: &[RequestOp]| {
        [
            txn(vec![], list.to_vec(), vec![]),
            txn(vec![absent("q")], vec![], list.to_vec()),
            all_of(vec![op(all_of(list.to_vec()))]),
        ]
    };
    let within = |success, failure| op(txn(vec![], success, failure));
    let (put, del) = (|key| op(put(key, "1")), |key, end| op(delete(key, end)));
    for list in [
        vec![put("a"), put("a")],
        vec![put("a"), del("a", "")],
        vec![del("a", ""), put("a")],
        vec![put("b"), del("a", "c")],
        vec![put("a"), within(vec![put("a")], vec![])],
        vec![within(vec![], vec![put("a")]), put("a")],
        vec![
            within(vec![put("a")], vec![]),
            within(vec![], vec![put("a")]),
        ],
        vec![within(vec![del("a", "c")], vec![]), put("b")],
        vec![within(vec![put("a"), put("a")], vec![])],
    ] {
        for txn in both(&list) {
            pair.refused(txn, DUPLICATE).await;
        }
    }
    for list in [
        vec![del("a", "c"), del("b", "d")],
        vec![within(vec![put("a")], vec![put("a")])],
        vec![within(vec![put("a")], vec![del("a", "")])],
        vec![put("b"), del("b\0", "c"), del("a", "b")],
        vec![put("b"), del("c", "a")],
        vec![put("a"), op(range("a", "c"))],
    ] {
        for txn in both(&list) {
            pair.ok(txn).await;
        }
    }
    for txn in both(&[RequestOp { request: None }]) {
        pair.refused(txn, "etcdserver: key not found").await;
    }
    limits(&mut pair).await;
}

/// At most 128 operations in a list, and those of transactions within count against what is left.
async fn limits(pair: &mut Pair) {
    const TOO_MANY: &str = "etcdserver: too many operations in txn request";
    let gets = |count| vec![op(get("a")); count];
    pair.ok(all_of(gets(128))).await;
    pair.refused(all_of(gets(129)), TOO_MANY).await;
    pair.refused(txn(vec![], vec![], gets(129)), TOO_MANY).await;
    pair.ok(txn(vec![absent("a"); 128], gets(1), gets(128)))
        .await;
    pair.refused(txn(vec![absent("a"); 129], vec![], vec![]), TOO_MANY)
        .await;
    pair.ok(all_of(vec![op(all_of(gets(127)))])).await;
    pair.refused(all_of(vec![op(all_of(gets(128)))]), TOO_MANY)
        .await;
    let nested = |depth| (0..depth).fold(all_of(gets(1)), |txn, _| all_of(vec![op(txn)]));
    pair.ok(nested(45)).await;
}
