//! The ends of many things at once: deletes of ranges, leases with their keys and wills. What they
//! hold in memory, what they look at, and that what they do does not depend on either.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "ends/counting.rs"]
mod counting;
#[path = "ends/limits.rs"]
mod limits;
mod node;

use std::sync::Arc;

use bytes::Bytes;
use counting::Counting;
use node::Node;
use tenure_statemachine::{
    ClusterTime, Command, Context, DeleteRange, Engine, FeatureLevel, KeyRange, LeaseExpiry,
    LeaseGrant, LeaseId, MemEngine, Put, Reply, SessionOpen, Table, Ttl, View, Will, WillSet,
    digest, invariants,
};

const MIB: usize = 1024 * 1024;

fn digest_of<E: Engine>(node: &Node<E>) -> u64 {
    digest(&*node.engine).unwrap()
}

fn put(key: &str, value: Bytes, lease: LeaseId) -> Command {
    Command::Put(Put {
        key: Bytes::from(key.to_owned()),
        value,
        lease,
        ..Put::default()
    })
}

fn grant(lease: LeaseId) -> Command {
    let ttl = Ttl(1);
    Command::LeaseGrant(LeaseGrant { id: lease, ttl })
}

fn delete_prefix(prefix: &str) -> Command {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().unwrap() += 1;
    Command::DeleteRange(DeleteRange {
        range: KeyRange::from_wire(Bytes::from(prefix.to_owned()), Bytes::from(end)),
        want_previous: false,
    })
}

fn expiry(lease: LeaseId) -> LeaseExpiry {
    LeaseExpiry {
        id: lease,
        generation: 1,
        term: 1,
    }
}

/// Sixty-four values of a megabyte were all held at once, on every node, and under keys that end as
/// those of claims do they were held until the command was done.
#[test]
fn a_delete_of_large_values_holds_two_megabytes_of_them_at_once() {
    let mut node = Node::<Counting>::at(FeatureLevel::NEWEST);
    let value = Bytes::from(vec![b'v'; MIB]);
    for number in 0..64 {
        let key = |prefix| format!("{prefix}/{:x}", 0x10 + number);
        // The first fill what is handed on to watchers, which would count here.
        for prefix in ["first", "plain/x", "data"] {
            node.apply(&[put(&key(prefix), value.clone(), LeaseId::NONE)]);
        }
    }
    for prefix in ["plain/", "data/"] {
        let mut batch = node.machine.begin();
        let context = Context {
            index: 1000,
            term: 1,
            now: ClusterTime(1),
        };
        batch.apply(&context, &delete_prefix("first/")).unwrap();
        let mut deleted = 0;
        let most = node.engine.most_held(|| {
            let outcome = batch.apply(&context, &delete_prefix(prefix)).unwrap();
            if let Ok(Reply::DeleteRange(reply)) = outcome.reply {
                deleted = reply.deleted;
            }
        });
        assert_eq!(deleted, 64);
        assert!(most <= 2 * MIB + MIB / 2, "{prefix}: held {most} bytes");
    }
}

/// The records of a lease's keys are read several at a time, and large ones one at a time.
#[test]
fn the_end_of_a_lease_looks_few_of_its_keys_up_one_by_one_and_holds_little() {
    let mut node = Node::<Counting>::at(FeatureLevel::NEWEST);
    let (many, large) = (LeaseId(1), LeaseId(2));
    node.apply(&[grant(many), grant(large)]);
    let key = |number: usize| format!("many/{number:05}");
    let puts: Vec<_> = (0..5000)
        .map(|number| put(&key(number), Bytes::from_static(b"v"), many))
        .collect();
    node.apply(&puts);
    let engine = Arc::clone(&node.engine);
    let gets = engine.gets(|| {
        assert_eq!(node.one(Command::LeaseRevoke(many)), Ok(Reply::LeaseRevoke));
    });
    assert!(gets < 100, "{gets} keys were looked up");
    assert_eq!(node.machine.meta().keys, 0);

    let value = Bytes::from(vec![b'v'; MIB]);
    for number in 0..40 {
        let key = format!("large/{:x}", 0x10 + number);
        node.apply(&[put(&key, value.clone(), LeaseId::NONE)]);
        node.apply(&[put(&format!("x{key}"), value.clone(), large)]);
    }
    let mut batch = node.machine.begin();
    let context = Context {
        index: 1_000_000,
        term: 1,
        now: ClusterTime(1),
    };
    batch.apply(&context, &delete_prefix("large/")).unwrap();
    let most = engine.most_held(|| {
        let outcome = batch.apply(&context, &Command::LeaseRevoke(large));
        assert_eq!(outcome.unwrap().reply, Ok(Reply::LeaseRevoke));
    });
    assert!(most <= 2 * MIB + MIB / 2, "held {most} bytes");
    assert_eq!(batch.meta().keys, 0);
}

/// Leases with claims, plain keys, large values, keys of this very entry, keys that were taken off
/// and put on again, more than are read at once.
fn mixed(node: &mut Node<MemEngine>) {
    let leases = [LeaseId(1), LeaseId(2), LeaseId(-3)];
    node.apply(&leases.map(grant));
    for (place, lease) in leases.iter().enumerate() {
        let mut puts = Vec::new();
        for number in 0..(1500 + place) {
            let len = if number % 100 == 7 {
                100_000
            } else {
                number % 50
            };
            let key = format!("k{:05}/{place}", number * 7919 % 10_007);
            puts.push(put(&key, Bytes::from(vec![b'v'; len]), *lease));
        }
        for name in ["a", "b", "c"] {
            puts.push(put(&format!("{name}/{:x}", lease.0), Bytes::new(), *lease));
        }
        node.apply(&puts);
    }
    let late = put("late", Bytes::from_static(b"1"), LeaseId(1));
    let moved = put("k00000/0", Bytes::from_static(b"moved"), LeaseId(2));
    let off = put("k00001/1", Bytes::from_static(b"off"), LeaseId::NONE);
    let delete = delete_prefix("k01");
    let revoke = Command::LeaseRevoke(LeaseId(1));
    node.apply(&[late, moved, off, delete, revoke]);
    let expire = Command::LeaseExpire(vec![expiry(LeaseId(2)), expiry(LeaseId(-3))]);
    node.apply(&[expire]);
}

/// What the ends of leases did before their keys were read several at a time.
#[test]
fn leases_end_as_they_ended_when_their_keys_were_looked_up_one_by_one() {
    const BEFORE: u64 = 469_428_519_175_052_741;
    let mut node = Node::at(FeatureLevel::FIRST);
    mixed(&mut node);
    invariants::check(&*node.engine).unwrap();
    assert_eq!(node.machine.meta().leases, 0);
    assert_eq!(digest_of(&node), BEFORE);
}

/// A lease says whether it may have a will or a session. One from before it did so may have both.
#[test]
fn wills_and_sessions_of_before_the_level_go_with_their_leases() {
    let (session, lease) = (LeaseId(1), LeaseId(2));
    let set = Command::WillSet(WillSet {
        lease,
        lock: None,
        will: Some(Will::default()),
    });
    let open = Command::SessionOpen(SessionOpen {
        lease: session,
        grant: Some(Ttl(60_000)),
    });
    for level in [FeatureLevel::BOUNDED, FeatureLevel::NEWEST] {
        for attached in [false, true] {
            let mut node = Node::<MemEngine>::at(level);
            node.apply(&[open.clone(), grant(lease), set.clone()]);
            node.apply(&[Command::RaiseLevel(FeatureLevel::NEWEST)]);
            if attached {
                let keys = [
                    put("a", Bytes::new(), session),
                    put("b", Bytes::new(), lease),
                ];
                node.apply(&keys);
            }
            invariants::check(&*node.engine).unwrap();
            node.apply(&[session, lease].map(Command::LeaseRevoke));
            assert_eq!(node.machine.meta().leases, 0);
            invariants::check(&*node.engine).unwrap();
            let left = node.engine.scan(Table::Cluster, b"").unwrap().next_key();
            let left = left.unwrap().filter(|row| row[0] != b'U');
            assert_eq!(left, None, "{level:?}, attached: {attached}");
        }
    }
}
