//! Budgets of one command: rows, bytes of answers, and what an entry is answered with.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod node;

use bytes::Bytes;
use node::Node;
use tenure_statemachine::{
    Command, Compare, DeleteRange, Engine, FeatureLevel, KeyRange, LeaseExpiry, LeaseGrant,
    LeaseId, MemEngine, Operand, Put, RangeQuery, Reader, Refusal, Relation, Reply, Revision, Ttl,
    Txn, TxnOp, Will, WillSet, digest, invariants,
};

/// What one command may look at or change, and what one delete may.
const TXN_ROWS_MAX: u64 = 200_000;
const DELETE_ROWS_MAX: u64 = 500_000;
/// What a write may be answered with.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

impl Node<MemEngine> {
    /// Puts `keys` keys with values of `value_len` bytes.
    fn fill(&mut self, keys: usize, value_len: usize) {
        let value = Bytes::from(vec![b'v'; value_len]);
        let put = |number| {
            Command::Put(Put {
                key: format!("k{number:07}").into(),
                value: value.clone(),
                ..Put::default()
            })
        };
        let commands: Vec<_> = (0..keys).map(put).collect();
        self.apply(&commands);
    }

    fn digest(&self) -> u64 {
        digest(&*self.engine).unwrap()
    }
}

fn all() -> KeyRange {
    KeyRange::from_wire(Bytes::from_static(b"\0"), Bytes::from_static(b"\0"))
}

fn read_all() -> TxnOp {
    TxnOp::Range(RangeQuery::latest(all()))
}

fn count_all() -> TxnOp {
    TxnOp::Range(RangeQuery {
        count_only: true,
        ..RangeQuery::latest(all())
    })
}

fn put(key: &'static str) -> Put {
    Put {
        key: key.into(),
        value: "value".into(),
        ..Put::default()
    }
}

fn txn(success: Vec<TxnOp>) -> Txn {
    Txn {
        success,
        ..Txn::default()
    }
}

fn rows() -> Refusal {
    Refusal::TooManyRows { max: TXN_ROWS_MAX }
}

fn bytes() -> Refusal {
    Refusal::AnswerOverLimit {
        max: ANSWER_BYTES_MAX,
    }
}

#[test]
fn a_transaction_that_reads_too_many_bytes_is_refused_and_changes_nothing() {
    let mut node = Node::at(FeatureLevel::BOUNDED);
    node.fill(340, 10_000);
    let mut ops = vec![TxnOp::Put(put("a"))];
    ops.extend((0..127).map(|_| read_all()));
    let before = node.machine.meta().revision;
    assert_eq!(node.one(Command::Txn(txn(ops))), Err(bytes()));
    assert_eq!(node.machine.meta().revision, before);
    let reader = Reader::new(&*node.engine).unwrap();
    let found = reader
        .range(&RangeQuery::latest(KeyRange::single("a".into())))
        .unwrap();
    assert_eq!(found.count, 0);
    invariants::check(&*node.engine).unwrap();
    // Four reads of 3.4 MB fit.
    let mut ops = vec![TxnOp::Put(put("a"))];
    ops.extend((0..4).map(|_| read_all()));
    assert!(node.one(Command::Txn(txn(ops))).is_ok());
}

#[test]
fn a_transaction_that_looks_at_too_many_rows_is_refused_however_it_is_nested() {
    let mut node = Node::at(FeatureLevel::BOUNDED);
    node.fill(2_000, 1);
    let within = || TxnOp::Txn(txn((0..64).map(|_| count_all()).collect()));
    let mut ops = vec![TxnOp::Put(put("a"))];
    ops.extend((0..63).map(|_| within()));
    assert_eq!(node.one(Command::Txn(txn(ops))), Err(rows()));
    // So do comparisons, and reads of the past.
    let compare = Compare {
        range: all(),
        relation: Relation::Greater,
        operand: Operand::Version(0),
    };
    let compares = Txn {
        compare: vec![compare; 128],
        ..Txn::default()
    };
    assert_eq!(node.one(Command::Txn(compares)), Err(rows()));
    let past = TxnOp::Range(RangeQuery {
        count_only: true,
        revision: Revision(1500),
        ..RangeQuery::latest(all())
    });
    assert_eq!(node.one(Command::Txn(txn(vec![past; 128]))), Err(rows()));
    let few = Command::Txn(txn((0..50).map(|_| count_all()).collect()));
    assert!(node.one(few).is_ok());
    let reader = Reader::new(&*node.engine).unwrap();
    let read = txn((0..127).map(|_| count_all()).collect());
    assert_eq!(
        reader.read_txn(&read).unwrap_err().to_string(),
        rows().to_string()
    );
}

/// What a refused transaction wrote before it was refused is taken back: rows, counters, claims.
#[test]
fn what_is_refused_late_is_taken_back() {
    let (mut node, mut other) = (
        Node::at(FeatureLevel::BOUNDED),
        Node::at(FeatureLevel::BOUNDED),
    );
    let lease = LeaseGrant {
        id: LeaseId(7),
        ttl: Ttl(60_000),
    };
    for node in [&mut node, &mut other] {
        node.fill(340, 10_000);
        node.apply(&[Command::LeaseGrant(lease)]);
    }
    let leased = Put {
        lease: LeaseId(7),
        ..put("lock/0000000000000007")
    };
    let delete = DeleteRange {
        range: KeyRange::from_wire("k".into(), "l".into()),
        want_previous: true,
    };
    let mut ops = vec![TxnOp::Put(leased.clone())];
    ops.extend((0..4).map(|_| read_all()));
    ops.push(TxnOp::DeleteRange(delete));
    let after = Command::Put(put("after"));
    let outcomes = node.apply(&[Command::Txn(txn(ops)), after.clone()]);
    assert_eq!(outcomes[0].reply, Err(bytes()));
    assert!(outcomes[0].events.is_empty() && outcomes[0].signals.is_empty());
    other.apply(&[after]);
    assert_eq!(node.digest(), other.digest());
    invariants::check(&*node.engine).unwrap();
}

#[test]
fn below_the_level_nothing_is_refused_for_its_price() {
    let mut node = Node::at(FeatureLevel::FIRST);
    node.fill(340, 10_000);
    let mut ops = vec![TxnOp::Put(put("a"))];
    ops.extend((0..6).map(|_| read_all()));
    assert!(node.one(Command::Txn(txn(ops))).is_ok());
}

/// A thousand transactions that each fit are one entry of a few kilobytes.
#[test]
fn an_entry_is_answered_with_so_much_and_what_does_not_read_still_passes() {
    let mut node = Node::at(FeatureLevel::BOUNDED);
    node.fill(340, 10_000);
    let reading = || Command::Txn(txn((0..4).map(|_| read_all()).collect()));
    let mut commands: Vec<_> = (0..20).map(|_| reading()).collect();
    commands.push(Command::Put(put("a")));
    let outcomes = node.apply(&commands);
    let done = outcomes.iter().filter(|it| it.reply.is_ok()).count();
    assert_eq!(done, 5 + 1, "five of 13.6 MB reach 64 MiB");
    assert_eq!(outcomes[19].reply, Err(Refusal::EntryFull));
    assert!(outcomes[20].reply.is_ok());
    assert!(node.apply(&[reading()])[0].reply.is_ok(), "the next entry");
}

#[test]
fn a_will_that_costs_too_much_does_nothing() {
    let mut node = Node::at(FeatureLevel::BOUNDED);
    node.fill(2_000, 1);
    let lease = LeaseGrant {
        id: LeaseId(7),
        ttl: Ttl(1),
    };
    let mut ops = vec![TxnOp::Put(put("will"))];
    ops.extend((0..110).map(|_| count_all()));
    let will = Will {
        guards: Vec::new(),
        txn: txn(ops),
    };
    let set = WillSet {
        lease: LeaseId(7),
        lock: None,
        will: Some(will),
    };
    node.apply(&[Command::LeaseGrant(lease), Command::WillSet(set)]);
    let before = node.machine.meta().revision;
    let expiry = LeaseExpiry {
        id: LeaseId(7),
        generation: 1,
        term: 1,
    };
    let ended = node.one(Command::LeaseExpire(vec![expiry]));
    assert_eq!(ended, Ok(Reply::LeaseExpire(vec![LeaseId(7)])));
    assert_eq!(node.machine.meta().revision, before);
    invariants::check(&*node.engine).unwrap();
}

/// The events of so many deletes would take more memory than a node has to spare.
#[test]
fn a_large_delete_is_one_revision_whose_events_are_read_from_history() {
    let mut node = Node::at(FeatureLevel::BOUNDED);
    node.fill(80_000, 1);
    let delete = Command::DeleteRange(DeleteRange {
        range: all(),
        want_previous: false,
    });
    let before = node.machine.meta().revision;
    let outcome = node.apply(&[delete]).remove(0);
    let Ok(Reply::DeleteRange(reply)) = &outcome.reply else {
        panic!("{:?}", outcome.reply);
    };
    assert_eq!(reply.deleted, 80_000);
    assert_eq!(outcome.revision, before.next());
    assert!(outcome.events.is_empty());
    let snapshot = node.engine.snapshot().unwrap();
    let reader = Reader::new(&*snapshot).unwrap();
    let told = reader
        .history(outcome.revision, outcome.revision, 1, usize::MAX)
        .unwrap();
    assert_eq!(told[0].events.len(), 80_000);
    assert_eq!(reader.meta().keys, 0);
}

#[test]
fn a_delete_of_more_keys_than_may_be_is_refused_and_deletes_none() {
    let mut node = Node::at(FeatureLevel::BOUNDED);
    node.fill(500_001, 0);
    let delete = |range| {
        Command::DeleteRange(DeleteRange {
            range,
            want_previous: false,
        })
    };
    let before = node.machine.meta().keys;
    let refused = node.one(delete(all()));
    let max = DELETE_ROWS_MAX;
    assert_eq!(refused, Err(Refusal::TooManyRows { max }));
    assert_eq!(node.machine.meta().keys, before);
    let most = KeyRange::from_wire("k".into(), "k0400000".into());
    assert!(node.one(delete(most)).is_ok());
    assert_eq!(node.machine.meta().keys, 100_001);
}
