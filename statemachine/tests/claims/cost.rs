//! What commands on long queues cost, in rows read.

use std::sync::Arc;

use bytes::Bytes;
use tenure_statemachine::{
    Acquire, ClaimCommand, ClusterTime, Command, Conditional, Context, DeleteRange, Guard,
    KeyRange, LeaseExpiry, LeaseId, Mode, Outcome, Put, Refusal, Reply, Revision, Signal,
    StateMachine, Ttl, Withdraw,
};

use crate::counting::Counting;

pub(super) struct Node {
    engine: Arc<Counting>,
    machine: StateMachine,
    index: u64,
    now: u64,
}

impl Node {
    pub(super) fn new() -> Self {
        let engine = Arc::new(Counting::default());
        let machine = StateMachine::open(engine.clone()).unwrap();
        Self {
            engine,
            machine,
            index: 0,
            now: 0,
        }
    }

    pub(super) fn all(&mut self, commands: impl IntoIterator<Item = Command>) -> Vec<Outcome> {
        let mut batch = self.machine.begin();
        let mut outcomes = Vec::new();
        for command in commands {
            self.index += 1;
            let context = Context {
                index: self.index,
                term: 1,
                now: ClusterTime(self.now),
            };
            outcomes.push(batch.apply(&context, &command).unwrap());
        }
        batch.commit().unwrap();
        outcomes
    }

    pub(super) fn revision(&self) -> Revision {
        self.machine.meta().revision
    }

    /// Applies one command; what it came to, and how many rows it read.
    pub(super) fn one(&mut self, command: Command) -> (Outcome, u64) {
        let before = self.engine.reads();
        let outcome = self.all([command]).pop().unwrap();
        let after = self.engine.reads();
        (outcome, after - before)
    }
}

pub(super) fn acquire(name: &'static str, lease: i64, mode: Mode) -> Command {
    Command::Claim(ClaimCommand::Acquire(Acquire {
        names: vec![Bytes::from(name)],
        mode,
        lease: LeaseId(lease),
        ..Acquire::default()
    }))
}

/// Makes the lease as well.
pub(super) fn join(name: &'static str, lease: i64, mode: Mode) -> Command {
    let Command::Claim(ClaimCommand::Acquire(acquire)) = acquire(name, lease, mode) else {
        unreachable!("an acquisition")
    };
    Command::Claim(ClaimCommand::Acquire(Acquire {
        grant: Some(Ttl(100)),
        ..acquire
    }))
}

fn withdraw(name: &'static str, lease: i64) -> Command {
    Command::Claim(ClaimCommand::Withdraw(Withdraw {
        name: Bytes::from(name),
        lease: LeaseId(lease),
        call: 0,
    }))
}

fn granted(outcome: &Outcome) -> usize {
    let granted = |signal: &&Signal| matches!(signal, Signal::Granted(_));
    outcome.signals.iter().filter(granted).count()
}

/// What the withdrawal of the first holder costs.
fn release_cost(holders: i64, waiters: i64) -> u64 {
    let mut node = Node::new();
    let mode = if holders == 1 {
        Mode::Exclusive
    } else {
        Mode::Shared
    };
    node.all((1..=holders).map(|lease| join("a", lease, mode)));
    let waiters = holders + 1..=holders + waiters;
    node.all(waiters.map(|lease| join("a", lease, Mode::Exclusive)));
    let (outcome, cost) = node.one(withdraw("a", 1));
    assert_eq!(outcome.reply, Ok(Reply::Withdraw(true)));
    assert_eq!(granted(&outcome), usize::from(holders == 1));
    cost
}

#[test]
fn a_release_costs_the_same_however_many_wait_or_hold() {
    assert_eq!(release_cost(1, 10), release_cost(1, 1000));
    assert_eq!(release_cost(10, 10), release_cost(1000, 10));
    assert!(release_cost(1, 10) < 30, "a release reads few rows");
}

#[test]
fn joining_a_queue_costs_the_same_however_long_it_is() {
    let cost = |waiters| {
        let mut node = Node::new();
        node.all((1..=waiters).map(|lease| join("a", lease, Mode::Exclusive)));
        let (outcome, cost) = node.one(join("a", 5000, Mode::Exclusive));
        let Ok(Reply::Acquire(reply)) = outcome.reply else {
            panic!("{outcome:?}")
        };
        assert_eq!(i64::from(reply.claims[0].position), waiters);
        cost
    };
    assert_eq!(cost(10), cost(1000));
    assert!(cost(10) < 30, "an acquisition reads few rows");
}

#[test]
fn refusing_the_guard_of_a_waiter_costs_the_same_however_long_the_queue_is() {
    let cost = |waiters: i64| {
        let mut node = Node::new();
        let joined = node.all((1..=waiters).map(|lease| join("a", lease, Mode::Exclusive)));
        let last = joined.last().unwrap().revision;
        let (outcome, cost) = node.one(Command::Conditional(Box::new(Conditional {
            guards: vec![Guard {
                name: Bytes::from("a"),
                token: last,
            }],
            request: None,
            command: Command::Put(Put::default()),
        })));
        assert!(matches!(outcome.reply, Err(Refusal::GuardStale(_))));
        cost
    };
    assert_eq!(cost(10), cost(1000));
}

#[test]
fn deleting_a_whole_queue_costs_in_proportion_to_it() {
    let cost = |claims: i64| {
        let mut node = Node::new();
        let mode = |lease| {
            if lease < claims / 2 {
                Mode::Shared
            } else {
                Mode::Exclusive
            }
        };
        node.all((1..=claims).map(|lease| join("a", lease, mode(lease))));
        let range = KeyRange::from_wire(Bytes::from("a/"), Bytes::from("a0"));
        let (outcome, cost) = node.one(Command::DeleteRange(DeleteRange {
            range,
            want_previous: false,
        }));
        assert_eq!(outcome.signals.len() as i64, claims);
        cost
    };
    assert!(cost(2000) <= 4 * cost(500) + 100);
}

#[test]
fn a_queue_whose_leases_all_expire_costs_in_proportion_to_it() {
    let cost = |claims: i64| {
        let mut node = Node::new();
        let mode = |lease| {
            if lease < claims / 2 {
                Mode::Shared
            } else {
                Mode::Exclusive
            }
        };
        node.all((1..=claims).map(|lease| join("a", lease, mode(lease))));
        // Those that wait first, the first of them first.
        let order = (claims / 2..=claims).chain(1..claims / 2);
        let expiry = |lease| LeaseExpiry {
            id: LeaseId(lease),
            generation: 1,
            term: 1,
        };
        node.now = 1000;
        let (outcome, cost) = node.one(Command::LeaseExpire(order.map(expiry).collect()));
        let Ok(Reply::LeaseExpire(ended)) = outcome.reply else {
            panic!("{outcome:?}")
        };
        assert_eq!(ended.len() as i64, claims);
        cost
    };
    assert!(cost(2000) <= 4 * cost(500) + 100);
}

#[test]
fn a_lease_that_nobody_waits_for_joins_a_long_queue_as_cheaply_as_a_short_one() {
    let cost = |waiters: i64| {
        let mut node = Node::new();
        node.all((1..=waiters).map(|lease| join("a", lease, Mode::Exclusive)));
        node.all([join("b", 20_000, Mode::Exclusive)]);
        node.one(acquire("a", 20_000, Mode::Exclusive)).1
    };
    assert_eq!(cost(10), cost(1000));
}

#[test]
fn a_search_for_deadlocks_is_bounded() {
    let cost = |waiters: i64| {
        let mut node = Node::new();
        node.all((1..=waiters).map(|lease| join("a", lease, Mode::Exclusive)));
        node.all([20_000, 20_001].map(|lease| join("b", lease, Mode::Exclusive)));
        let (outcome, cost) = node.one(acquire("a", 20_000, Mode::Exclusive));
        assert!(outcome.reply.is_ok(), "{outcome:?}");
        cost
    };
    assert!(cost(5000) < 30_000);
    assert!(cost(9000) < 30_000);
}

#[test]
fn a_queue_is_full_at_its_limit() {
    let mut node = Node::new();
    let joined = node.all((1..=10_000).map(|lease| join("a", lease, Mode::Exclusive)));
    assert!(joined.iter().all(|outcome| outcome.reply.is_ok()));
    let (outcome, _) = node.one(join("a", 20_000, Mode::Exclusive));
    assert_eq!(outcome.reply, Err(Refusal::QueueFull(Bytes::from("a"))));
    let (outcome, _) = node.one(withdraw("a", 5000));
    assert_eq!(outcome.reply, Ok(Reply::Withdraw(true)));
    let (outcome, _) = node.one(join("a", 20_000, Mode::Exclusive));
    assert!(outcome.reply.is_ok(), "{outcome:?}");
}
