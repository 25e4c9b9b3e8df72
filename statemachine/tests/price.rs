//! What commands are charged for from feature level 3 on, which of them are short work, and what a
//! node holds of their answers.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod counting;
mod node;
mod price {
    mod answers;
    mod queues;
    mod renewals;
    mod walks;
}

use bytes::Bytes;
use counting::Counting;
use node::Node;
use tenure_statemachine::{
    Acquire, ClaimCommand, Command, FeatureLevel, FenceCommand, FencePolicy, LeaseGrant, LeaseId,
    Mode, Put, Reader, Refusal, Reply, Ttl, Wait, invariants,
};

/// A machine at a feature level, where no time passes by itself.
fn node_at(level: FeatureLevel) -> Node<Counting> {
    let mut node = Node::at(level);
    node.now = Some(1000);
    node
}

impl Node<Counting> {
    fn pass(&mut self, millis: u64) {
        self.now = self.now.map(|now| now + millis);
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
        let mut node = node_at(level);
        assert!(node.apply(&sets).iter().all(|set| set.reply.is_ok()));
        assert_eq!(node.one(remove.clone()), Err(refusal));
        assert_eq!(node.one(set(1000)), Err(Refusal::TooManyPolicies));
    }
}
