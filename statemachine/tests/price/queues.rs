//! Commands that may grant, drop or count a long queue are not short work, and count only so far.

use bytes::Bytes;
use tenure_statemachine::{
    Acquire, ClaimCommand, Command, DeleteRange, FeatureLevel, KeyRange, LeaseExpiry, LeaseId,
    Mode, Put, Release, Reply, Revision, Txn, TxnOp, Withdraw,
};

use crate::{acquire, counting::Counting, grant, join, node::Node, node_at, put};

/// Claims that may wait where short work touches their queue.
const QUEUED_MAX: i64 = 64;
/// The greatest position that is told.
const POSITION_MAX: u32 = 1_000;

/// Lease 1 holds `a`, and so many others wait for it together.
fn queue(waiters: i64) -> Node<Counting> {
    let mut node = node_at(FeatureLevel::PRICED);
    let mut joins = vec![acquire(join("a", 1, Mode::Exclusive))];
    joins.extend((2..=waiters + 1).map(|lease| acquire(join("a", lease, Mode::Shared))));
    assert!(node.apply(&joins).iter().all(|it| it.reply.is_ok()));
    node
}

fn release(token: i64) -> Command {
    Command::Claim(ClaimCommand::Release(Release {
        name: "a".into(),
        token: Revision(token),
    }))
}

fn rejoin(lease: i64) -> Command {
    acquire(Acquire {
        grant: None,
        rejoin: true,
        ..join("a", lease, Mode::Shared)
    })
}

fn delete_one(key: &'static str) -> DeleteRange {
    DeleteRange {
        range: KeyRange::single(key.into()),
        want_previous: false,
    }
}

/// Commands each of which ends the claim that holds, or joins, or looks for its place.
fn touching() -> Vec<(&'static str, Command)> {
    let delete = delete_one("a/1");
    let within = Txn {
        success: vec![TxnOp::DeleteRange(delete.clone())],
        ..Txn::default()
    };
    let txn = Command::Txn(Txn {
        failure: vec![TxnOp::Txn(within)],
        ..Txn::default()
    });
    let withdraw = Command::Claim(ClaimCommand::Withdraw(Withdraw {
        name: "a".into(),
        lease: LeaseId(1),
        call: 0,
    }));
    let expiry = LeaseExpiry {
        id: LeaseId(1),
        generation: 1,
        term: 1,
    };
    vec![
        ("release", release(2)),
        ("withdraw", withdraw),
        ("rejoin", rejoin(2)),
        ("acquire", acquire(join("a", 500, Mode::Exclusive))),
        ("delete", Command::DeleteRange(delete)),
        ("delete within a transaction", txn),
        ("put off its lease", put("a/1", 0)),
        ("revoke", Command::LeaseRevoke(LeaseId(1))),
        ("expire", Command::LeaseExpire(vec![expiry])),
    ]
}

#[test]
fn what_may_grant_a_long_queue_is_not_short_work() {
    let (short, long) = (queue(QUEUED_MAX), queue(QUEUED_MAX + 1));
    for (what, command) in touching() {
        // Who finds its claim walks to it beside what it may grant.
        assert_eq!(
            short.is_light(&command),
            what != "rejoin",
            "{what}, 64 wait"
        );
        assert!(!long.is_light(&command), "{what}, 65 wait");
    }
    assert!(queue(QUEUED_MAX / 2).is_light(&rejoin(2)));
    // Keys beside the queue, and whatever stands for no claim, are as they were.
    for key in ["a", "b/1", "a/1/x"] {
        assert!(
            long.is_light(&Command::DeleteRange(delete_one(key))),
            "{key}"
        );
        assert!(long.is_light(&put(key, 0)), "{key}");
    }
}

#[test]
fn commands_on_many_short_queues_are_not_short_work_together() {
    let mut node = node_at(FeatureLevel::PRICED);
    for (number, name) in ["a", "b", "c"].into_iter().enumerate() {
        let first = 1 + 100 * i64::try_from(number).unwrap();
        let mut joins = vec![acquire(join(name, first, Mode::Exclusive))];
        let waiters = first + 1..=first + 30;
        joins.extend(waiters.map(|lease| acquire(join(name, lease, Mode::Shared))));
        node.apply(&joins);
    }
    let deletes = ["a/1", "b/65", "c/c9"].map(delete_one);
    let ops = |count: usize| {
        let deletes = deletes.iter().take(count).cloned();
        Command::Txn(Txn {
            success: deletes.map(TxnOp::DeleteRange).collect(),
            ..Txn::default()
        })
    };
    assert!(node.is_light(&ops(2)));
    assert!(!node.is_light(&ops(3)));
    let each = deletes.map(Command::DeleteRange);
    assert!(each.iter().all(|delete| node.is_light(delete)));
    assert!(
        !node.machine.are_light(&each).unwrap(),
        "one after the other"
    );
}

/// The queue of another name, however long, may be granted with a claim of this one.
#[test]
fn what_may_grant_a_bundle_is_not_short_work() {
    let mut node = node_at(FeatureLevel::PRICED);
    let bundle = Acquire {
        names: vec![Bytes::from("a"), Bytes::from("b")],
        ..join("a", 2, Mode::Shared)
    };
    node.apply(&[acquire(join("a", 1, Mode::Exclusive)), acquire(bundle)]);
    assert!(!node.is_light(&release(2)));
}

/// Each of a thousand calls that found their claim at the end of a queue walked all of it.
#[test]
fn a_claim_that_is_joined_again_counts_at_most_a_thousand_before_it() {
    let position = |level, waiters: i64| {
        let mut node = node_at(level);
        // Plain puts, as etcd's clients claim.
        let mut commands = Vec::new();
        for lease in 1..=waiters + 1 {
            commands.push(grant(lease, 100_000));
            commands.push(Command::Put(Put {
                key: format!("a/{lease:x}").into(),
                lease: LeaseId(lease),
                ..Put::default()
            }));
        }
        node.apply(&commands);
        let (reply, cost) = node.cost(rejoin(waiters + 1));
        let Ok(Reply::Acquire(reply)) = reply else {
            panic!("{reply:?}")
        };
        (reply.claims[0].position, cost)
    };
    let below = FeatureLevel::REPEATABLE_GROUPS;
    assert_eq!(position(below, 5_000).0, 5_000);
    assert_eq!(position(FeatureLevel::PRICED, 999).0, 999);
    assert_eq!(position(FeatureLevel::PRICED, 1_000).0, POSITION_MAX);
    let (position, cost) = position(FeatureLevel::PRICED, 5_000);
    assert_eq!(position, POSITION_MAX);
    assert!(cost < 1_100, "{cost} rows were read");
}
