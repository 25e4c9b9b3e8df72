//! How much the state keeps of leases, their keys and wills, of sessions and alarms; and how much
//! one command ends.

use std::sync::Arc;

use bytes::Bytes;
use tenure_statemachine::{
    Acquire, AlarmChange, AlarmKind, ClaimCommand, Command, Conditional, Engine, FeatureLevel,
    KeyRange, LeaseId, Limit, MemEngine, MemberId, Mode, Put, RangeQuery, Refusal, Reply,
    RequestId, SessionOpen, StateMachine, Table, Ttl, Txn, TxnOp, View, Wait, Will, WillSet,
    WriteBatch, WriteOp, invariants,
};

use super::{MIB, Node, delete_prefix, expiry, grant, put};

/// The level before these limits.
const BEFORE: FeatureLevel = FeatureLevel::REPEATABLE_GROUPS;
/// The row of what is counted of wills and sessions.
const TOTALS_ROW: &[u8] = b"U";

const ONE: LeaseId = LeaseId(1);
const TWO: LeaseId = LeaseId(2);

fn reached<T>(limit: Limit, max: u64) -> Result<T, Refusal> {
    Err(Refusal::LimitReached { limit, max })
}

fn lease_keys<T>() -> Result<T, Refusal> {
    reached(Limit::LeaseKeys, 500_000)
}

fn small(key: &str, lease: LeaseId) -> Command {
    put(key, Bytes::new(), lease)
}

fn write(engine: &dyn Engine, table: Table, key: &[u8], row: Vec<u8>) {
    let op = WriteOp::Put(table, Bytes::copy_from_slice(key), Bytes::from(row));
    engine.write(WriteBatch { ops: vec![op] }).unwrap();
}

/// Makes a lease look as if it had so many keys.
fn count_as(node: &Node<MemEngine>, lease: LeaseId, keys: u64) {
    let key = (lease.0 ^ i64::MIN).to_be_bytes();
    let mut row = node
        .engine
        .get(Table::Leases, &key)
        .unwrap()
        .unwrap()
        .to_vec();
    row.splice(24..32, keys.to_be_bytes());
    write(&*node.engine, Table::Leases, &key, row);
}

fn with_leases(level: FeatureLevel) -> Node<MemEngine> {
    let mut node = Node::at(level);
    node.apply(&[grant(ONE), grant(TWO)]);
    node
}

fn acquire(name: &str, lease: LeaseId) -> Command {
    Command::Claim(ClaimCommand::Acquire(Acquire {
        names: vec![Bytes::from(name.to_owned())],
        lease,
        grant: None,
        mode: Mode::Exclusive,
        wait: Wait::Always,
        lock_delay: Ttl(0),
        value: Bytes::new(),
        principal: String::new(),
        rejoin: false,
        call: 0,
    }))
}

fn txn(success: Vec<TxnOp>) -> Txn {
    Txn {
        success,
        ..Txn::default()
    }
}

fn will(lease: LeaseId, lock: Option<&str>, txn: Txn) -> Command {
    Command::WillSet(WillSet {
        lease,
        lock: lock.map(|name| Bytes::from(name.to_owned())),
        will: Some(Will {
            guards: Vec::new(),
            txn,
        }),
    })
}

fn puts(key: &str, len: usize) -> TxnOp {
    TxnOp::Put(Put {
        key: Bytes::from(key.to_owned()),
        value: Bytes::from(vec![b'v'; len]),
        ..Put::default()
    })
}

/// Ten million puts on one lease made one revocation of ten gigabytes.
#[test]
fn a_lease_has_half_a_million_keys_and_gets_no_more() {
    let mut node = with_leases(FeatureLevel::NEWEST);
    count_as(&node, ONE, 499_999);
    assert_eq!(node.one(small("a", ONE)), Ok(Reply::Put(None)));
    assert_eq!(node.one(small("b", ONE)), lease_keys());
    assert!(node.one(small("a", ONE)).is_ok(), "it has this one");
    assert!(node.one(small("b", TWO)).is_ok());
    assert_eq!(node.one(small("b", ONE)), lease_keys(), "from another");
    assert_eq!(node.one(acquire("lock", ONE)), lease_keys());
    assert!(node.one(delete_prefix("a")).is_ok());
    // Each put of a transaction alone would fit.
    let attach = |key: &str| {
        TxnOp::Put(Put {
            key: Bytes::from(key.to_owned()),
            lease: ONE,
            ..Put::default()
        })
    };
    let both = Command::Txn(txn(vec![attach("c"), attach("d")]));
    assert_eq!(node.one(both), lease_keys());
    assert!(node.one(Command::Txn(txn(vec![attach("c")]))).is_ok());
    assert_eq!(node.one(small("d", ONE)), lease_keys());
    assert!(node.one(Command::LeaseRevoke(ONE)).is_ok());
    invariants::check(&*node.engine).unwrap();
}

#[test]
fn below_the_level_a_lease_gets_any_number_of_keys_and_none_is_counted() {
    let mut node = with_leases(BEFORE);
    let key = (ONE.0 ^ i64::MIN).to_be_bytes();
    for number in 0..3 {
        assert!(node.one(small(&format!("k{number}"), ONE)).is_ok());
    }
    let row = |node: &Node<MemEngine>| node.engine.get(Table::Leases, &key).unwrap().unwrap();
    assert_eq!(row(&node).len(), 24);
    // What it had is counted with the first key that it gets afterwards.
    node.apply(&[Command::RaiseLevel(FeatureLevel::NEWEST)]);
    assert!(node.one(delete_prefix("k0")).is_ok());
    assert_eq!(row(&node).len(), 24);
    assert!(node.one(small("k3", ONE)).is_ok());
    assert_eq!(row(&node)[24..32], 3_u64.to_be_bytes());
    node.apply(&[Command::LeaseRenew(vec![ONE])]);
    assert_eq!(row(&node)[24..32], 3_u64.to_be_bytes());
    invariants::check(&*node.engine).unwrap();
}

#[test]
fn an_old_lease_with_more_keys_than_may_be_gets_no_others() {
    let mut node = with_leases(BEFORE);
    let keys: Vec<_> = (0..500_001)
        .map(|key| small(&format!("k{key:06}"), ONE))
        .collect();
    node.apply(&keys);
    node.apply(&[Command::RaiseLevel(FeatureLevel::NEWEST)]);
    assert!(
        node.one(small("one more", ONE)).is_ok(),
        "it is counted now"
    );
    assert_eq!(node.one(small("another", ONE)), lease_keys());
    assert!(node.one(delete_prefix("k0")).is_ok());
    assert_eq!(node.one(small("another", ONE)), lease_keys());
    assert!(node.one(Command::LeaseRevoke(ONE)).is_ok());
    assert_eq!(node.machine.meta().keys, 0);
}

/// Up to five hundred leases of any size ended in one command.
#[test]
fn two_leases_of_three_hundred_thousand_keys_expire_in_two_commands() {
    let expire = || Command::LeaseExpire(vec![expiry(ONE), expiry(TWO)]);
    let mut node = with_leases(FeatureLevel::NEWEST);
    for lease in [ONE, TWO] {
        assert!(node.one(small(&format!("k{lease}"), lease)).is_ok());
        count_as(&node, lease, 300_000);
    }
    assert_eq!(node.one(expire()), Ok(Reply::LeaseExpire(vec![ONE])));
    assert_eq!(node.machine.meta().keys, 1);
    assert_eq!(node.one(expire()), Ok(Reply::LeaseExpire(vec![TWO])));
    assert_eq!(node.machine.meta().keys, 0);
    let mut node = with_leases(BEFORE);
    assert_eq!(node.one(expire()), Ok(Reply::LeaseExpire(vec![ONE, TWO])));
}

/// A thousand wills of one lease ran in one command.
#[test]
fn a_lease_has_sixty_four_wills_and_gets_no_more() {
    let set = |node: &mut Node<MemEngine>| {
        for number in 0..64 {
            let lock = format!("lock{number}");
            assert!(node.one(acquire(&lock, ONE)).is_ok());
            let set = will(ONE, Some(&lock), txn(vec![puts("w", 1)]));
            assert_eq!(node.one(set), Ok(Reply::Done));
        }
        node.one(will(ONE, None, txn(vec![puts("w", 1)])))
    };
    let mut node = with_leases(FeatureLevel::NEWEST);
    assert_eq!(set(&mut node), reached(Limit::LeaseWills, 64));
    let again = will(ONE, Some("lock7"), txn(vec![puts("w", 2)]));
    assert_eq!(node.one(again), Ok(Reply::Done), "one that there is");
    let other = will(TWO, None, txn(vec![puts("w", 1)]));
    assert_eq!(node.one(other), Ok(Reply::Done));
    invariants::check(&*node.engine).unwrap();
    assert_eq!(set(&mut with_leases(BEFORE)), Ok(Reply::Done));
}

/// Wills of one lease that each look at as much as one transaction may.
#[test]
fn the_wills_of_a_lease_share_what_one_transaction_may_look_at() {
    for (level, ended, written) in [
        (
            FeatureLevel::NEWEST,
            vec![ONE],
            ["of lock", "second", "third"].as_slice(),
        ),
        (
            BEFORE,
            vec![ONE, TWO],
            ["of lock", "of lease", "second", "third"].as_slice(),
        ),
    ] {
        let mut node = with_leases(level);
        let fill = (0..50_000).map(|key| small(&format!("k{key}"), LeaseId::NONE));
        node.apply(&fill.collect::<Vec<_>>());
        let count = || {
            TxnOp::Range(RangeQuery {
                count_only: true,
                ..RangeQuery::latest(KeyRange::from_wire("k".into(), "l".into()))
            })
        };
        assert!(node.one(acquire("lock", ONE)).is_ok());
        // 150,000 rows each, and a few.
        let costly = |key| txn(vec![puts(key, 1), count(), count(), count()]);
        node.apply(&[
            will(ONE, Some("lock"), costly("of lock")),
            will(ONE, None, costly("of lease")),
            will(TWO, None, txn(vec![puts("second", 1)])),
        ]);
        let expire = Command::LeaseExpire(vec![expiry(ONE), expiry(TWO)]);
        assert_eq!(node.one(expire), Ok(Reply::LeaseExpire(ended)));
        // What was left for the next command has the whole budget again.
        node.apply(&[Command::LeaseExpire(vec![expiry(TWO)])]);
        node.apply(&[small("third", LeaseId::NONE)]);
        for key in ["of lock", "of lease", "second", "third"] {
            let is_there = node
                .engine
                .get(Table::Current, key.as_bytes())
                .unwrap()
                .is_some();
            assert_eq!(is_there, written.contains(&key), "{key} at level {level}");
        }
        invariants::check(&*node.engine).unwrap();
    }
}

/// Wills were stored beside the key space, and no quota counted them.
#[test]
fn wills_take_sixty_four_megabytes_and_no_more() {
    let value = 1_400_000;
    let set = |node: &mut Node<MemEngine>, number| {
        let lease = LeaseId(number);
        node.apply(&[grant(lease)]);
        node.one(will(lease, None, txn(vec![puts("w", value)])))
    };
    let mut node = Node::<MemEngine>::at(FeatureLevel::NEWEST);
    for number in 1..=47 {
        assert_eq!(set(&mut node, number), Ok(Reply::Done), "will {number}");
    }
    let full = || reached(Limit::WillBytes, 64 * MIB as u64);
    assert_eq!(set(&mut node, 48), full());
    invariants::check(&*node.engine).unwrap();
    // Room comes back with each way in which a will goes.
    let remove = Command::WillSet(WillSet {
        lease: LeaseId(1),
        lock: None,
        will: None,
    });
    let expire = Command::LeaseExpire(vec![expiry(LeaseId(3))]);
    for (number, end) in [
        (48, remove),
        (49, Command::LeaseRevoke(LeaseId(2))),
        (50, expire),
    ] {
        assert_eq!(set(&mut node, number + 100), full());
        assert!(node.one(end).is_ok());
        assert_eq!(set(&mut node, number), Ok(Reply::Done), "will {number}");
        invariants::check(&*node.engine).unwrap();
    }
    let mut node = Node::<MemEngine>::at(BEFORE);
    for number in 1..=50 {
        assert_eq!(set(&mut node, number), Ok(Reply::Done), "will {number}");
    }
    assert_eq!(node.engine.get(Table::Cluster, TOTALS_ROW).unwrap(), None);
}

/// Each session might remember a megabyte, and there might be any number of them.
#[test]
fn sessions_remember_so_much_together_and_refuse_by_name() {
    let request = |session, sequence, answered| {
        Command::Conditional(Box::new(Conditional {
            guards: Vec::new(),
            request: Some(RequestId::Session {
                session,
                sequence,
                answered,
            }),
            command: small("k", LeaseId::NONE),
        }))
    };
    let open = |lease| {
        let grant = Some(Ttl(60_000));
        Command::SessionOpen(SessionOpen { lease, grant })
    };
    let fill = |level| {
        let mut node = Node::<MemEngine>::at(level);
        node.apply(&[open(ONE), open(TWO)]);
        let mut totals = vec![0; 8];
        totals.extend((256 * MIB as u64 - 400).to_be_bytes());
        write(&*node.engine, Table::Cluster, TOTALS_ROW, totals);
        node
    };
    let mut node = fill(FeatureLevel::NEWEST);
    let mut refused = None;
    for sequence in 1..=100 {
        let reply = node.one(request(ONE, sequence, 0));
        if reply.is_err() {
            refused.get_or_insert((sequence, reply));
        }
    }
    let (first, reply) = refused.expect("one that is refused");
    assert_eq!(reply, reached(Limit::SessionBytes, 256 * MIB as u64));
    assert!(
        first > 5,
        "one session has half of the room, and had {first}"
    );
    assert!(
        node.one(request(ONE, 1, 0)).is_ok(),
        "what is known is told"
    );
    assert!(
        node.one(request(TWO, 1, 0)).is_ok(),
        "another has its share"
    );
    assert!(
        node.one(request(ONE, first, first - 1)).is_ok(),
        "answers make room"
    );
    let mut node = fill(BEFORE);
    for sequence in 1..=100 {
        assert!(node.one(request(ONE, sequence, 0)).is_ok());
    }
}

#[test]
fn what_sessions_remember_is_counted_and_goes_with_them() {
    let mut node = Node::<MemEngine>::at(FeatureLevel::NEWEST);
    let grant = Some(Ttl(60_000));
    node.apply(&[ONE, TWO].map(|lease| Command::SessionOpen(SessionOpen { lease, grant })));
    let total = |node: &Node<MemEngine>| {
        let row = node
            .engine
            .get(Table::Cluster, TOTALS_ROW)
            .unwrap()
            .unwrap();
        u64::from_be_bytes(row[8..].try_into().unwrap())
    };
    for session in [ONE, TWO] {
        for sequence in 1..=1100 {
            let id = RequestId::Session {
                session,
                sequence,
                answered: 0,
            };
            node.apply(&[Command::Conditional(Box::new(Conditional {
                guards: Vec::new(),
                request: Some(id),
                command: small("k", LeaseId::NONE),
            }))]);
        }
    }
    invariants::check(&*node.engine).unwrap();
    let both = total(&node);
    assert!(both > 2 * 1024 * 20, "{both} bytes of 1,024 outcomes each");
    node.apply(&[Command::LeaseRevoke(ONE)]);
    assert!(total(&node) < both);
    node.apply(&[Command::LeaseRevoke(TWO)]);
    assert_eq!(total(&node), 0);
    invariants::check(&*node.engine).unwrap();
}

#[test]
fn there_are_a_million_leases_and_no_more() {
    let mut node = with_leases(FeatureLevel::NEWEST);
    // The counters' row: layout, eight numbers, then the leases.
    let mut row = node
        .engine
        .get(Table::Meta, &[0])
        .unwrap()
        .unwrap()
        .to_vec();
    row[65..73].copy_from_slice(&999_999_u64.to_be_bytes());
    write(&*node.engine, Table::Meta, &[0], row);
    node.machine = StateMachine::open(Arc::clone(&node.engine) as Arc<dyn Engine>).unwrap();
    assert!(node.one(grant(LeaseId(3))).is_ok());
    let full = || reached(Limit::Leases, 1_000_000);
    assert_eq!(node.one(grant(LeaseId(4))), full());
    let session = SessionOpen {
        lease: LeaseId(4),
        grant: Some(Ttl(1000)),
    };
    assert_eq!(node.one(Command::SessionOpen(session)), full());
    assert!(node.one(Command::LeaseRevoke(LeaseId(3))).is_ok());
    assert!(node.one(grant(LeaseId(4))).is_ok());
}

/// An alarm of each of a million members that do not exist was a row each.
#[test]
fn there_are_sixty_four_alarms_of_a_kind_and_no_more() {
    let alarm = |member, kind, active| {
        Command::Alarm(AlarmChange {
            member: MemberId(member),
            kind: Some(kind),
            active,
        })
    };
    let raise = |node: &mut Node<MemEngine>| {
        for member in 1..=64 {
            assert!(node.one(alarm(member, AlarmKind::NoSpace, true)).is_ok());
        }
        node.one(alarm(65, AlarmKind::NoSpace, true))
    };
    let mut node = Node::<MemEngine>::at(FeatureLevel::NEWEST);
    assert_eq!(raise(&mut node), reached(Limit::Alarms, 64));
    assert!(
        node.one(alarm(7, AlarmKind::NoSpace, true)).is_ok(),
        "again"
    );
    assert!(node.one(alarm(65, AlarmKind::Corrupt, true)).is_ok());
    assert!(node.one(alarm(1, AlarmKind::NoSpace, false)).is_ok());
    assert!(node.one(alarm(65, AlarmKind::NoSpace, true)).is_ok());
    invariants::check(&*node.engine).unwrap();
    assert!(raise(&mut Node::at(BEFORE)).is_ok());
}
