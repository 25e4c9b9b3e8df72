//! Groups that are proposed more than once take effect once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{collections::BTreeSet, sync::Arc};

use proptest::{collection::vec, prelude::*, sample::Index};
use tenure_statemachine::{
    Admission, Context, Group, MemEngine, ORIGIN_WINDOW, ORIGINS_MAX, StateMachine, invariants,
};

struct Node {
    engine: Arc<MemEngine>,
    machine: StateMachine,
    index: u64,
}

impl Node {
    fn new() -> Self {
        let engine = Arc::new(MemEngine::new());
        let machine = StateMachine::open(engine.clone()).unwrap();
        Self {
            engine,
            machine,
            index: 0,
        }
    }

    /// Offers a group in an entry of its own.
    fn offer(&mut self, origin: u64, sequence: u64, since: u64) -> Admission {
        self.index += 1;
        let context = Context {
            index: self.index,
            ..Context::default()
        };
        let group = Group {
            origin,
            sequence,
            since: Some(since),
            commands: Vec::new(),
        };
        let mut batch = self.machine.begin();
        let admission = batch.admit(&context, &group).unwrap();
        batch.advance(&context);
        batch.commit().unwrap();
        admission
    }
}

#[test]
fn a_group_that_was_applied_is_skipped_wherever_it_comes_again() {
    let mut node = Node::new();
    assert_eq!(node.offer(7, 2, 0), Admission::New);
    assert_eq!(node.offer(7, 1, 0), Admission::New, "groups may overtake");
    assert_eq!(node.offer(7, 2, 0), Admission::Repeated);
    assert_eq!(node.offer(7, 1, 0), Admission::Repeated);
    assert_eq!(node.offer(8, 1, 0), Admission::New, "origins are apart");
    let machine = StateMachine::open(node.engine.clone()).unwrap();
    node.machine = machine;
    assert_eq!(node.offer(7, 1, 0), Admission::Repeated, "after a restart");
    invariants::check(&*node.engine).unwrap();
}

#[test]
fn a_group_below_the_window_is_void() {
    let mut node = Node::new();
    assert_eq!(node.offer(7, ORIGIN_WINDOW + 1, 0), Admission::New);
    assert_eq!(node.offer(7, 1, 0), Admission::Void);
    assert_eq!(
        node.offer(7, 2, 0),
        Admission::New,
        "the last of the window"
    );
    assert_eq!(node.offer(7, u64::MAX, 0), Admission::New);
    assert_eq!(node.offer(7, 3, 0), Admission::Void);
}

#[test]
fn a_group_of_an_evicted_origin_is_void_and_its_next_one_is_applied() {
    let mut node = Node::new();
    assert_eq!(node.offer(7, 1, 0), Admission::New);
    for origin in 0..ORIGINS_MAX as u64 {
        assert_eq!(node.offer(100 + origin, 1, node.index), Admission::New);
    }
    assert_eq!(node.offer(7, 1, 0), Admission::Void, "evicted, and late");
    assert_eq!(node.offer(7, 2, node.index), Admission::New);
    assert_eq!(node.offer(7, 1, 0), Admission::Void);
    assert_eq!(node.offer(7, 2, 0), Admission::Void, "its copies say more");
    invariants::check(&*node.engine).unwrap();
}

#[test]
fn a_group_of_the_version_before_is_always_new() {
    let mut node = Node::new();
    let group = Group {
        origin: 7,
        sequence: 1,
        since: None,
        commands: Vec::new(),
    };
    let mut batch = node.machine.begin();
    for _ in 0..2 {
        let admission = batch.admit(&Context::default(), &group).unwrap();
        assert_eq!(admission, Admission::New);
    }
    assert_eq!(node.offer(7, 1, 0), Admission::New, "and leaves no row");
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Groups are made, offered in any order, any number of times, by more origins than fit.
    #[test]
    fn no_group_is_applied_twice(
        steps in vec((0..ORIGINS_MAX as u64 + 6, any::<bool>(), any::<Index>()), 1..600),
    ) {
        let mut node = Node::new();
        let mut made: Vec<(u64, u64, u64)> = Vec::new();
        let mut applied = BTreeSet::new();
        for (origin, again, which) in steps {
            if !again || made.is_empty() {
                let sequence = made.iter().filter(|(other, ..)| *other == origin).count() as u64;
                made.push((origin, sequence + 1, node.index));
            }
            let group = if again { which.index(made.len()) } else { made.len() - 1 };
            let (origin, sequence, since) = made[group];
            let admission = node.offer(origin, sequence, since);
            match admission {
                Admission::New => prop_assert!(applied.insert((origin, sequence))),
                Admission::Repeated => prop_assert!(applied.contains(&(origin, sequence))),
                Admission::Void => prop_assert!(again, "a fresh group is applied"),
            }
        }
        invariants::check(&*node.engine).unwrap();
    }
}
