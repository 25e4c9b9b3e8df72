//! What a transaction pays for walking rows that are not there any more.

use bytes::Bytes;
use tenure_statemachine::{
    Command, Compare, DeleteRange, FeatureLevel, KeyRange, Operand, Put, RangeQuery, Refusal,
    Relation, Revision, Txn, TxnOp,
};

use crate::{counting::Counting, node::Node, node_at};

const TXN_ROWS_MAX: u64 = 200_000;
/// What one walk counts for at least.
const WALK_ROWS_MIN: u64 = 1_024;

fn below(prefix: &str) -> KeyRange {
    let end = format!("{}0", prefix.trim_end_matches('/'));
    KeyRange::from_wire(prefix.to_owned().into(), end.into())
}

fn count(prefix: &str, revision: Revision) -> TxnOp {
    TxnOp::Range(RangeQuery {
        count_only: true,
        revision,
        ..RangeQuery::latest(below(prefix))
    })
}

fn delete(prefix: &str) -> DeleteRange {
    DeleteRange {
        range: below(prefix),
        want_previous: false,
    }
}

fn txn(success: Vec<TxnOp>) -> Command {
    Command::Txn(Txn {
        success,
        ..Txn::default()
    })
}

/// As many operations as fit in a tree of transactions.
fn tree(op: &TxnOp) -> Vec<TxnOp> {
    let within = Txn {
        success: vec![op.clone(); 64],
        ..Txn::default()
    };
    vec![TxnOp::Txn(within); 63]
}

fn fill(node: &mut Node<Counting>, prefix: &str, keys: usize) {
    let put = |number: usize| {
        Command::Put(Put {
            key: format!("{prefix}{number:06}").into(),
            ..Put::default()
        })
    };
    let puts: Vec<Command> = (0..keys).map(put).collect();
    node.apply(&puts);
}

const TOO_MANY: Refusal = Refusal::TooManyRows { max: TXN_ROWS_MAX };

/// Forty-eight kilobytes asked for minutes of work: each count walked the rows of the engine and
/// the deletes over them, and found none to pay for.
#[test]
fn a_transaction_pays_for_walking_what_it_deleted() {
    let mut node = node_at(FeatureLevel::PRICED);
    fill(&mut node, "p/", 10_000);
    let mut ops = vec![TxnOp::DeleteRange(delete("p/"))];
    ops.extend(tree(&count("p/", Revision(0))));
    let keys = node.machine.meta().keys;
    let (reply, cost) = node.cost(txn(ops));
    assert_eq!(reply, Err(TOO_MANY));
    assert!(cost < 250_000, "{cost} rows were read");
    assert_eq!(node.machine.meta().keys, keys);
}

#[test]
fn a_transaction_pays_for_what_it_deleted_key_by_key() {
    let mut node = node_at(FeatureLevel::PRICED);
    fill(&mut node, "p/", 1_000);
    let alone = |number: usize| {
        TxnOp::DeleteRange(DeleteRange {
            range: KeyRange::single(format!("p/{number:06}").into()),
            want_previous: false,
        })
    };
    let mut ops: Vec<TxnOp> = (0..1_000).map(alone).collect();
    ops.extend(vec![count("p/", Revision(0)); 128]);
    assert_eq!(node.one(txn(ops)), Err(TOO_MANY));
}

/// What was deleted by another command is walked, too, until the engine has cleared it away.
#[test]
fn a_transaction_pays_for_walks_that_find_nothing() {
    for (level, fits) in [
        (FeatureLevel::REPEATABLE_GROUPS, true),
        (FeatureLevel::PRICED, false),
    ] {
        let mut node = node_at(level);
        fill(&mut node, "p/", 200);
        assert!(node.one(Command::DeleteRange(delete("p/"))).is_ok());
        let deleted = node.machine.meta().revision;
        assert_eq!(node.one(txn(tree(&count("p/", Revision(0))))).is_ok(), fits);
        // At the floor, tombstones are left until they are collected.
        assert!(node.one(Command::Compact(deleted)).is_ok());
        fill(&mut node, "q/", 1);
        assert_eq!(node.one(txn(tree(&count("p/", deleted)))).is_ok(), fits);
        let compare = Compare {
            range: below("p/"),
            relation: Relation::Equal,
            operand: Operand::Version(0),
        };
        let compares = Command::Txn(Txn {
            compare: vec![compare; 196],
            ..Txn::default()
        });
        assert_eq!(node.one(compares).is_ok(), fits);
    }
}

#[test]
fn a_transaction_of_128_ranges_still_passes() {
    let mut node = node_at(FeatureLevel::PRICED);
    // A walk that finds more than it counts for at least pays for what it finds, as before.
    let keys = TXN_ROWS_MAX / 128 - 1;
    assert!(keys > WALK_ROWS_MIN);
    fill(&mut node, "p/", usize::try_from(keys).unwrap());
    let ranges = |count: usize| txn(vec![self::count("p/", Revision(0)); count]);
    assert!(node.one(ranges(128)).is_ok());
    assert_eq!(node.one(ranges(129)), Err(TOO_MANY));
    let read = TxnOp::Range(RangeQuery::latest(KeyRange::from_wire(
        Bytes::from_static(b"q"),
        Bytes::from_static(b"r"),
    )));
    assert!(node.one(txn(vec![read.clone(); 195])).is_ok());
    assert_eq!(node.one(txn(vec![read; 196])), Err(TOO_MANY));
}

#[test]
fn what_was_deleted_elsewhere_is_not_paid_for_again() {
    let mut node = node_at(FeatureLevel::PRICED);
    for prefix in ["a/", "b/", "c/"] {
        fill(&mut node, prefix, 50_000);
    }
    let deletes = ["a/", "b/", "c/"].map(|it| TxnOp::DeleteRange(delete(it)));
    assert!(node.one(txn(deletes.to_vec())).is_ok());
    assert_eq!(node.machine.meta().keys, 0);
}
