//! What claims in answers and signals take.

use bytes::Bytes;
use tenure_statemachine::{
    Acquire, ClaimCommand, ClaimState, Command, Context, FeatureLevel, ForceRelease, LeaseId, Mode,
    Outcome, Refusal, Release, Reply, Revision, Signal, Transfer, Wait,
};

use crate::{acquire, counting::Counting, grant, join, node::Node, node_at};

const ENTRY_ANSWER_BYTES_MAX: usize = 64 << 20;
const ANSWER_BYTES_MAX: u64 = 16 << 20;
const LARGE: usize = 1 << 20;

fn large() -> Bytes {
    Bytes::from(vec![b'v'; LARGE])
}

/// A node on which `a` is held by one claim with a large value.
fn held(level: FeatureLevel) -> Node<Counting> {
    let mut node = node_at(level);
    let holder = Acquire {
        value: large(),
        ..join("a", 1, Mode::Exclusive)
    };
    assert!(node.one(acquire(holder)).is_ok());
    node.one(grant(2, 100_000)).unwrap();
    node
}

fn try_acquire() -> Command {
    acquire(Acquire {
        grant: None,
        wait: Wait::Never,
        ..join("a", 2, Mode::Exclusive)
    })
}

fn states(outcome: &Outcome) -> Vec<&ClaimState> {
    match &outcome.reply {
        Ok(Reply::Acquire(reply)) => reply.claims.iter().chain(&reply.blocker).collect(),
        Ok(Reply::ForceRelease(claims)) => claims.iter().collect(),
        Ok(Reply::Claim(claim)) => vec![&**claim],
        Ok(_) | Err(_) => Vec::new(),
    }
}

fn bytes(outcome: &Outcome) -> usize {
    states(outcome).iter().map(|it| it.value.len()).sum()
}

/// As many shared holders, each with a large value.
fn shared(level: FeatureLevel, holders: i64) -> Node<Counting> {
    let mut node = node_at(level);
    let value = large();
    let joins = (1..=holders).map(|lease| {
        acquire(Acquire {
            value: value.clone(),
            ..join("a", lease, Mode::Shared)
        })
    });
    for join in joins {
        assert!(node.one(join).is_ok());
    }
    node
}

fn force_all() -> Command {
    Command::Claim(ClaimCommand::ForceRelease(ForceRelease {
        name: "a".into(),
        token: Revision(0),
        why: "test".to_owned(),
    }))
}

/// Requests of sixty bytes were answered with a megabyte each, all of them held at once by every
/// node.
#[test]
fn an_entry_of_tries_for_one_lock_is_answered_with_64_mib() {
    let mut node = held(FeatureLevel::PRICED);
    let outcomes = node.apply(&vec![try_acquire(); 1024]);
    let sum: usize = outcomes.iter().map(bytes).sum();
    assert!(sum <= ENTRY_ANSWER_BYTES_MAX, "{sum} bytes");
    let done = outcomes.iter().filter(|it| it.reply.is_ok()).count();
    assert_eq!(done, ENTRY_ANSWER_BYTES_MAX / LARGE);
    let refused = outcomes.iter().filter(|it| it.reply.is_err());
    assert!(
        refused
            .clone()
            .all(|it| it.reply == Err(Refusal::EntryFull))
    );
    assert_eq!(refused.count(), 1024 - done);
    assert!(node.one(try_acquire()).is_ok(), "the next entry");
}

#[test]
fn below_the_level_a_node_counts_the_claims_that_it_holds_in_answers() {
    let mut node = held(FeatureLevel::REPEATABLE_GROUPS);
    let context = Context {
        index: node.machine.meta().applied_index + 1,
        ..Context::default()
    };
    let mut batch = node.machine.begin();
    for _ in 0..100 {
        assert!(batch.apply(&context, &try_acquire()).unwrap().reply.is_ok());
    }
    assert!(batch.bytes() >= 100 * LARGE, "{} bytes", batch.bytes());
}

#[test]
fn where_no_one_waits_for_an_answer_no_values_of_claims_are_kept() {
    let mut node = held(FeatureLevel::PRICED);
    let joining = Acquire {
        value: large(),
        ..join("a", 3, Mode::Exclusive)
    };
    let handed = Command::Claim(ClaimCommand::Transfer(Transfer {
        name: "a".into(),
        token: Revision(2),
        to: LeaseId(2),
        principal: String::new(),
    }));
    for command in [try_acquire(), handed, acquire(joining), force_all()] {
        let mut outcome = node.apply(&[command]).remove(0);
        assert!(bytes(&outcome) >= LARGE, "{:?}", outcome.reply.is_ok());
        outcome.drop_records();
        assert_eq!(bytes(&outcome), 0);
    }
}

#[test]
fn signals_carry_no_values() {
    let mut node = node_at(FeatureLevel::FIRST);
    node.apply(&[acquire(join("a", 1, Mode::Exclusive))]);
    let value = large();
    let joins = (2..=20).map(|lease| {
        acquire(Acquire {
            value: value.clone(),
            ..join("a", lease, Mode::Shared)
        })
    });
    let joins: Vec<Command> = joins.collect();
    node.apply(&joins);
    let release = Command::Claim(ClaimCommand::Release(Release {
        name: "a".into(),
        token: Revision(2),
    }));
    let mut told = 0;
    for command in [release, force_all()] {
        for signal in node.apply(&[command]).remove(0).signals {
            if let Signal::Granted(claim) | Signal::Ended(claim, _) = signal {
                assert!(claim.value.is_empty(), "{:?} has its value", claim.key);
                told += 1;
            }
        }
    }
    assert_eq!(told, 1 + 19 + 19);
    node.check();
}

#[test]
fn a_forced_release_that_would_tell_too_much_ends_nothing() {
    let mut node = shared(FeatureLevel::PRICED, 20);
    let before = node.machine.meta().revision;
    let outcome = node.apply(&[force_all()]).remove(0);
    let max = ANSWER_BYTES_MAX;
    // Not the reply, which would be shown with all values.
    let refused = Refusal::AnswerOverLimit { max };
    assert_eq!(outcome.reply.as_ref().err(), Some(&refused));
    assert!(outcome.signals.is_empty() && outcome.events.is_empty());
    assert_eq!(node.machine.meta().revision, before);
    assert_eq!(node.reader().queue(b"a", 0).unwrap().holders.len(), 20);
    node.check();
    // One of them is ended by its token, and a few are ended together.
    for node in [
        &mut shared(FeatureLevel::PRICED, 10),
        &mut shared(FeatureLevel::REPEATABLE_GROUPS, 20),
    ] {
        assert!(node.one(force_all()).is_ok());
    }
}

#[test]
fn claims_together_are_refused_when_their_values_add_up_to_too_much() {
    let bundle = |value_len: usize| {
        acquire(Acquire {
            names: (0..64).map(|it| format!("name{it:02}").into()).collect(),
            value: vec![b'v'; value_len].into(),
            ..join("a", 1, Mode::Exclusive)
        })
    };
    let mut node = node_at(FeatureLevel::PRICED);
    let max = ANSWER_BYTES_MAX;
    let refused = node.one(bundle(300 << 10));
    assert_eq!(refused.err(), Some(Refusal::AnswerOverLimit { max }));
    assert!(node.one(bundle(200 << 10)).is_ok());
    let mut node = node_at(FeatureLevel::REPEATABLE_GROUPS);
    assert!(node.one(bundle(300 << 10)).is_ok());
}
