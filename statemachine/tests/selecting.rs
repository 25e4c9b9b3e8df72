//! What a read holds follows from what it answers, and not from what it looks at.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod node;

use bytes::Bytes;
use tenure_statemachine::{
    Command, FeatureLevel, KeyRange, KeyValue, MemEngine, Put, RangeQuery, Reader, Reply, Revision,
    SortOrder, SortTarget, Txn, TxnOp, TxnOpReply,
};

use crate::node::Node;

const KEYS: usize = 5000;

fn filled() -> Node<MemEngine> {
    let mut node = Node::at(FeatureLevel::NEWEST);
    let puts = (0..KEYS).map(|number| {
        Command::Put(Put {
            key: format!("k/{number:05}").into(),
            // Each value is there five times.
            value: format!("{:05}", number * 7919 % 1000).into(),
            ..Put::default()
        })
    });
    node.apply(&puts.collect::<Vec<_>>());
    node
}

fn all() -> RangeQuery {
    RangeQuery::latest(KeyRange::from_wire("k/".into(), "k0".into()))
}

fn read(node: &mut Node<MemEngine>, query: &RangeQuery) -> Vec<KeyValue> {
    let txn = Txn {
        success: vec![TxnOp::Range(query.clone())],
        ..Txn::default()
    };
    let Ok(Reply::Txn(mut reply)) = node.one(Command::Txn(txn)) else {
        panic!("a transaction's reply")
    };
    let Some(TxnOpReply::Range(_, reply)) = reply.replies.pop() else {
        panic!("a range's reply")
    };
    assert_eq!(reply.count, KEYS as i64);
    reply.kvs
}

#[test]
fn what_a_filter_drops_is_not_held_by_the_answer() {
    let mut node = filled();
    let none = RangeQuery {
        min_mod_revision: Revision(1 << 60),
        ..all()
    };
    let kvs = read(&mut node, &none);
    assert_eq!((kvs.len(), kvs.capacity()), (0, 0));
    let few = RangeQuery {
        max_mod_revision: Revision(4),
        ..all()
    };
    let kvs = read(&mut node, &few);
    assert_eq!(kvs.len(), 3);
    assert!(kvs.capacity() < 10, "{}", kvs.capacity());
}

#[test]
fn what_a_limit_cuts_off_a_sorted_answer_is_not_held_and_the_rest_is_in_order() {
    let mut node = filled();
    for target in [SortTarget::Value, SortTarget::Mod, SortTarget::Key] {
        for order in [SortOrder::Ascend, SortOrder::Descend] {
            let unlimited = RangeQuery {
                sort_target: target,
                sort_order: order,
                ..all()
            };
            let whole = read(&mut node, &unlimited);
            for limit in [1, 3, 700, 1023, 1024, 4999, 5000, 9000] {
                let query = RangeQuery {
                    limit,
                    ..unlimited.clone()
                };
                let kvs = read(&mut node, &query);
                let wanted = &whole[..whole.len().min(limit as usize)];
                assert_eq!(kvs, wanted, "{target:?} {order:?} {limit}");
                assert!(
                    kvs.capacity() <= 2 * kvs.len().max(8),
                    "{limit}: {}",
                    kvs.capacity()
                );
                let reader = Reader::new(node.engine.as_ref()).unwrap();
                let reply = reader.range(&query).unwrap();
                assert_eq!(reply.more, limit < KEYS as i64, "{limit}");
            }
        }
    }
}

#[test]
fn a_transaction_that_walks_far_is_known_before_it_is_applied() {
    let node = filled();
    let reader = Reader::new(node.engine.as_ref()).unwrap();
    let far = |txn: &Txn, rows| reader.walks_further_than(txn, rows).unwrap();
    let of = |query: RangeQuery| Txn {
        success: vec![TxnOp::Range(query)],
        ..Txn::default()
    };
    let part = |end: &str| KeyRange::from_wire("k/".into(), Bytes::from(end.to_owned()));
    assert!(far(&of(all()), KEYS - 1));
    assert!(!far(&of(all()), KEYS));
    // Everything is counted, although little is answered.
    assert!(far(&of(RangeQuery { limit: 1, ..all() }), 1000));
    assert!(!far(&of(RangeQuery::latest(part("k/00100"))), 100));
    let twice = Txn {
        failure: vec![TxnOp::Txn(of(RangeQuery::latest(part("k/00100"))))],
        ..of(RangeQuery::latest(part("k/00100")))
    };
    assert!(!far(&twice, 200));
    assert!(far(&twice, 199));
    // How much there was in the past is not looked up.
    let past = RangeQuery {
        revision: Revision(2),
        ..RangeQuery::latest(part("k/00001"))
    };
    assert!(far(&of(past), 1000));
    let point = RangeQuery::latest(KeyRange::single(Bytes::from("k/00001")));
    assert!(!far(&of(point.clone()), 1));
    assert!(!of(point.clone()).walks());
    let within = Txn {
        failure: vec![TxnOp::Txn(of(all()))],
        ..of(point)
    };
    assert!(within.walks());
}
