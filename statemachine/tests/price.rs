//! What commands are charged for from feature level 3 on, which of them are short work, and what a
//! node holds of their answers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod counting;
mod price {
    mod answers;
    mod queues;
    mod renewals;
    mod walks;
}

use std::sync::Arc;

use bytes::Bytes;
use counting::Counting;
use tenure_statemachine::{
    Acquire, ClaimCommand, ClusterTime, Command, Context, FeatureLevel, FenceCommand, FencePolicy,
    LeaseGrant, LeaseId, Mode, Outcome, Put, Reader, Refusal, Reply, StateMachine, Ttl, Wait,
    invariants,
};

struct Node {
    engine: Arc<Counting>,
    machine: StateMachine,
    now: u64,
}

impl Node {
    /// A machine at a feature level.
    fn at(level: FeatureLevel) -> Self {
        let engine = Arc::new(Counting::new());
        let machine = StateMachine::open(engine.clone()).unwrap();
        let mut node = Self {
            engine,
            machine,
            now: 1_000,
        };
        node.apply(&[Command::RaiseLevel(level)]);
        node
    }

    /// Applies commands as one entry.
    fn apply(&mut self, commands: &[Command]) -> Vec<Outcome> {
        let index = self.machine.meta().applied_index + 1;
        let context = Context {
            index,
            term: 1,
            now: ClusterTime(self.now),
        };
        let mut batch = self.machine.begin();
        let outcomes = commands
            .iter()
            .map(|command| batch.apply(&context, command).unwrap())
            .collect();
        batch.commit().unwrap();
        outcomes
    }

    fn one(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.apply(&[command]).remove(0).reply
    }

    /// Applies one command; says how many rows it read.
    fn cost(&mut self, command: Command) -> (Result<Reply, Refusal>, u64) {
        let before = self.engine.reads();
        let reply = self.one(command);
        (reply, self.engine.reads() - before)
    }

    fn is_light(&self, command: &Command) -> bool {
        self.machine.is_light(command).unwrap()
    }

    fn reader(&self) -> Reader<'_> {
        Reader::new(&*self.engine).unwrap()
    }

    fn check(&self) {
        invariants::check(&*self.engine).unwrap();
    }
}

/// An acquisition that makes its lease and waits.
fn join(name: &'static str, lease: i64, mode: Mode) -> Acquire {
    Acquire {
        names: vec![Bytes::from(name)],
        mode,
        lease: LeaseId(lease),
        grant: Some(Ttl(100_000)),
        wait: Wait::Always,
        ..Acquire::default()
    }
}

const fn acquire(acquire: Acquire) -> Command {
    Command::Claim(ClaimCommand::Acquire(acquire))
}

fn grant(lease: i64, ttl: u64) -> Command {
    let (id, ttl) = (LeaseId(lease), Ttl(ttl));
    Command::LeaseGrant(LeaseGrant { id, ttl })
}

fn put(key: impl Into<Bytes>, lease: i64) -> Command {
    Command::Put(Put {
        key: key.into(),
        lease: LeaseId(lease),
        ..Put::default()
    })
}

#[test]
fn a_policy_that_is_not_there_is_not_found_however_many_there_are() {
    let set = |number: u32| {
        Command::Fence(FenceCommand::Set(FencePolicy {
            prefix: format!("prefix{number}/").into(),
            lock: "lock".into(),
        }))
    };
    let sets: Vec<Command> = (0..1000).map(set).collect();
    let remove = Command::Fence(FenceCommand::Remove("absent".into()));
    for (level, refusal) in [
        (FeatureLevel::REPEATABLE_GROUPS, Refusal::TooManyPolicies),
        (FeatureLevel::PRICED, Refusal::PolicyNotFound),
    ] {
        let mut node = Node::at(level);
        assert!(node.apply(&sets).iter().all(|set| set.reply.is_ok()));
        assert_eq!(node.one(remove.clone()), Err(refusal));
        assert_eq!(node.one(set(1000)), Err(Refusal::TooManyPolicies));
    }
}
