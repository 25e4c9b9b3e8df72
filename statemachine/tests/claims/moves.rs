//! Reordering a queue moves every claim that waits, so how many, and how large, is bounded.

use bytes::Bytes;
use tenure_statemachine::{
    Acquire, ClaimCommand, Command, DeleteRange, ForceRelease, HandOver, KeyRange, LeaseGrant,
    LeaseId, Mode, Put, Refusal, Reply, Revision, Transfer, Ttl, Txn, TxnOp,
};

use super::cost::{Node, join};

/// Claims that one command moves.
const MOVES_MAX: i64 = 1_000;

const NAME: Bytes = Bytes::from_static(b"a");

fn grant(id: i64) -> Command {
    let (id, ttl) = (LeaseId(id), Ttl(100));
    Command::LeaseGrant(LeaseGrant { id, ttl })
}

/// As programs claim that know no claims.
fn foreign(lease: i64) -> Put {
    Put {
        key: Bytes::from(format!("a/{lease:x}")),
        lease: LeaseId(lease),
        ..Put::default()
    }
}

fn transfer(token: i64, to: i64) -> Command {
    Command::Claim(ClaimCommand::Transfer(Transfer {
        name: NAME,
        token: Revision(token),
        to: LeaseId(to),
        principal: String::new(),
    }))
}

fn hand_over(token: i64, to: i64) -> Command {
    Command::Claim(ClaimCommand::HandOver(HandOver {
        name: NAME,
        token: Revision(token),
        to: LeaseId(to),
    }))
}

/// Lease 1 holds, and so many others wait behind it; lease 20,000 is there.
fn queue(waiters: i64) -> Node {
    let mut node = Node::new();
    node.all((1..=waiters + 1).map(|lease| join("a", lease, Mode::Exclusive)));
    node.all([grant(20_000)]);
    node
}

#[test]
fn as_many_claims_as_may_are_moved() {
    let (outcome, _) = queue(MOVES_MAX).one(transfer(2, 20_000));
    assert!(matches!(outcome.reply, Ok(Reply::Claim(_))), "{outcome:?}");
    assert_eq!(outcome.revision, Revision(2 + MOVES_MAX + 1 + MOVES_MAX));
    // Who is handed the lock need not be moved.
    let (outcome, _) = queue(MOVES_MAX + 1).one(hand_over(2, 3));
    assert!(matches!(outcome.reply, Ok(Reply::Claim(_))), "{outcome:?}");
}

#[test]
fn a_longer_queue_is_not_reordered_and_says_so_at_the_same_cost() {
    let too_long = Err(Refusal::QueueTooLong(NAME));
    for command in [|| transfer(2, 20_000), || hand_over(2, 9)] {
        let cost = |waiters| {
            let mut node = queue(waiters);
            let before = node.revision();
            let (outcome, cost) = node.one(command());
            assert_eq!((&outcome.reply, outcome.revision), (&too_long, before));
            cost
        };
        assert_eq!(cost(MOVES_MAX + 2), cost(5_000));
    }
    let (outcome, _) = queue(MOVES_MAX + 1).one(transfer(2, 20_000));
    assert_eq!(outcome.reply, too_long);
}

#[test]
fn whoever_is_next_is_handed_the_lock_however_many_wait() {
    let cost = |waiters| {
        let (outcome, cost) = queue(waiters).one(hand_over(2, 2));
        assert!(matches!(outcome.reply, Ok(Reply::Claim(_))), "{outcome:?}");
        assert_eq!(outcome.events.len(), 1, "nobody else is moved");
        cost
    };
    assert_eq!(cost(10), cost(5_000));
}

#[test]
fn claims_with_large_values_are_not_moved() {
    let with_value = |lease, bytes| {
        let Command::Claim(ClaimCommand::Acquire(acquire)) = join("a", lease, Mode::Exclusive)
        else {
            unreachable!("an acquisition")
        };
        let value = Bytes::from(vec![b'x'; bytes]);
        Command::Claim(ClaimCommand::Acquire(Acquire { value, ..acquire }))
    };
    for (bytes, may) in [(500 * 1024, true), (520 * 1024, false)] {
        let mut node = queue(0);
        node.all([with_value(2, bytes), with_value(3, bytes)]);
        let (outcome, _) = node.one(transfer(2, 20_000));
        assert_eq!(outcome.reply.is_ok(), may, "{:?}", outcome.reply);
        if !may {
            assert_eq!(outcome.reply, Err(Refusal::QueueTooLong(NAME)));
        }
    }
}

#[test]
fn a_claim_that_cannot_be_moved_is_found_at_once() {
    let fixed = Err(Refusal::QueueFixed(NAME));
    let cost = |waiters: i64| {
        let mut node = queue(0);
        for lease in 2..=waiters {
            node.all([grant(lease), Command::Put(foreign(lease))]);
        }
        let (outcome, handed) = node.one(hand_over(2, waiters));
        assert_eq!(outcome.reply, fixed);
        let (outcome, transferred) = node.one(transfer(2, 20_000));
        assert_eq!(outcome.reply, fixed);
        (handed, transferred)
    };
    assert_eq!(cost(10), cost(12_000), "their number has no bound");
}

#[test]
fn twins_keep_their_places_in_a_hand_over() {
    let mut node = queue(0);
    let puts = [2, 3].map(|lease| TxnOp::Put(foreign(lease)));
    let twins = Txn {
        success: puts.to_vec(),
        ..Txn::default()
    };
    node.all([grant(2), grant(3), Command::Txn(twins)]);
    let (outcome, _) = node.one(hand_over(2, 3));
    assert_eq!(outcome.reply, Err(Refusal::QueueFixed(NAME)));
    let (outcome, _) = node.one(hand_over(2, 2));
    assert!(matches!(outcome.reply, Ok(Reply::Claim(claim)) if claim.lease == LeaseId(2)));
}

#[test]
fn ending_any_number_of_foreign_claims_costs_in_proportion_to_it() {
    let cost = |claims: i64, at_once: usize| {
        let mut node = Node::new();
        node.all((1..=claims).map(grant));
        let puts: Vec<TxnOp> = (1..=claims)
            .map(|lease| TxnOp::Put(foreign(lease)))
            .collect();
        node.all(puts.chunks(at_once).map(|puts| {
            Command::Txn(Txn {
                success: puts.to_vec(),
                ..Txn::default()
            })
        }));
        let range = KeyRange::from_wire(Bytes::from("a/"), Bytes::from("a0"));
        let (outcome, deleted) = node.one(Command::DeleteRange(DeleteRange {
            range,
            want_previous: false,
        }));
        assert_eq!(outcome.signals.len() as i64, claims);
        deleted
    };
    for at_once in [1, 500] {
        assert!(cost(2000, at_once) <= 4 * cost(500, at_once) + 100);
    }
}

#[test]
fn ending_twins_by_force_costs_in_proportion_to_them() {
    let cost = |twins: i64| {
        let mut node = queue(0);
        node.all((2..=twins).map(grant));
        let success = (2..=twins).map(|lease| TxnOp::Put(foreign(lease)));
        let txn = Txn {
            success: success.collect(),
            ..Txn::default()
        };
        let token = node.all([Command::Txn(txn)])[0].revision;
        let (outcome, cost) = node.one(Command::Claim(ClaimCommand::ForceRelease(ForceRelease {
            name: NAME,
            token,
            why: "stuck".to_owned(),
        })));
        let Ok(Reply::ForceRelease(ended)) = outcome.reply else {
            panic!("{outcome:?}")
        };
        let positions = ended.iter().map(|claim| i64::from(claim.position));
        assert!(positions.eq(1..twins), "{ended:?}");
        cost
    };
    assert!(cost(800) <= 4 * cost(200) + 100);
}
