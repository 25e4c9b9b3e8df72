//! How many requests are remembered is bounded, and how long answers, and so are fence policies.

use bytes::Bytes;
use tenure_statemachine::{
    Command, DeleteRange, FenceCommand, FencePolicy, KeyRange, Put, RangeQuery, Reader, Refusal,
    Reply, RequestId, Revision, SessionState, Txn, TxnOp,
};

use crate::once::{Node, SESSIONS, is_unknown, key, with};

pub(crate) fn put(key: &str, value: &str) -> Command {
    Command::Put(Put {
        key: Bytes::from(key.to_owned()),
        value: Bytes::from(value.to_owned()),
        ..Put::default()
    })
}

pub(crate) fn numbered(sequence: u64) -> RequestId {
    RequestId::Session {
        session: SESSIONS[0],
        sequence,
        answered: 0,
    }
}

/// What a row takes that remembers a put at this revision: the fingerprint, the version, the
/// revision, and that it was a put of a key that was not asked for what was there.
fn put_bytes(revision: u64) -> u64 {
    16 + 1 + if revision < 64 { 1 } else { 2 } + 3
}

#[test]
fn a_session_remembers_its_last_1024_outcomes() {
    let mut node = Node::with_sessions();
    for sequence in 1..=1024 {
        node.apply(with(numbered(sequence), put("a", "1")));
    }
    let state = |remembered, forgotten, revisions: std::ops::RangeInclusive<u64>| SessionState {
        remembered,
        forgotten,
        bytes: revisions.map(put_bytes).sum(),
    };
    assert_eq!(node.session(), Some(state(1024, 0, 2..=1025)));
    let first = node.apply(with(numbered(1), put("a", "1")));
    assert_eq!(
        (first.reply, first.revision),
        (Ok(Reply::Put(None)), Revision(2))
    );
    // The next outcome takes the place of the oldest, whatever its number.
    node.apply(with(numbered(5000), put("a", "1")));
    assert_eq!(node.session(), Some(state(1024, 1, 3..=1026)));
    let forgotten = Refusal::RequestForgotten {
        sequence: 1,
        forgotten: 1,
    };
    let refused = node.apply(with(numbered(1), put("a", "1")));
    assert_eq!(
        (refused.reply, refused.revision),
        (Err(forgotten), Revision(1026))
    );
    let second = node.apply(with(numbered(2), put("a", "1")));
    assert_eq!(second.revision, Revision(3));
    node.check();
    // All go with the lease.
    node.apply(Command::LeaseRevoke(SESSIONS[0]));
    assert_eq!(node.session(), None);
    node.check();
}

#[test]
fn the_oldest_outcome_goes_even_when_it_is_the_newest() {
    let mut node = Node::with_sessions();
    for sequence in 1001..=2024 {
        node.apply(with(numbered(sequence), put("a", "1")));
    }
    let late = node.apply(with(numbered(7), put("a", "late")));
    assert_eq!(late.reply, Ok(Reply::Put(None)));
    assert_eq!(node.session().unwrap().forgotten, 7);
    let again = node.apply(with(numbered(7), put("a", "late")));
    assert!(
        is_unknown(&again) && again.revision == late.revision,
        "{again:?}"
    );
    node.check();
}

#[test]
fn an_answer_that_is_too_large_is_not_kept_but_its_effect_is_known() {
    let mut node = Node::with_sessions();
    // The answer holds the value, and some tens of bytes beside it.
    for (bytes, is_kept) in [(64 * 1024 - 100, true), (64 * 1024, false)] {
        node.apply(put("large", &"x".repeat(bytes)));
        let take = Command::DeleteRange(DeleteRange {
            range: KeyRange::single("large".into()),
            want_previous: true,
        });
        for id in [key(bytes as u64), numbered(bytes as u64)] {
            node.apply(put("large", &"x".repeat(bytes)));
            let first = node.apply(with(id.clone(), take.clone()));
            assert_eq!(first.events.len(), 1);
            let again = node.apply(with(id, take.clone()));
            assert!(again.events.is_empty());
            assert_eq!(again.revision, first.revision);
            let short = Err(Refusal::AnswerTooLarge {
                revision: first.revision,
            });
            assert_eq!(again.reply, if is_kept { first.reply } else { short });
        }
    }
    node.check();
}

#[test]
fn an_answer_of_many_large_records_is_remembered_as_too_large() {
    let mut node = Node::new();
    for number in 0..4 {
        node.apply(put(&number.to_string(), &"x".repeat(60_000)));
    }
    let all = KeyRange::from_wire(Bytes::from_static(b"\0"), Bytes::from_static(b"\0"));
    let Command::Put(write) = put("written", "once") else {
        unreachable!()
    };
    let txn = Txn {
        success: vec![TxnOp::Range(RangeQuery::latest(all)), TxnOp::Put(write)],
        ..Txn::default()
    };
    let first = node.apply(with(key(1), Command::Txn(txn.clone())));
    let again = node.apply(with(key(1), Command::Txn(txn)));
    let revision = first.revision;
    assert_eq!(again.reply, Err(Refusal::AnswerTooLarge { revision }));
    assert_eq!(node.machine.meta().revision, revision);
}

#[test]
fn idempotency_keys_are_refused_when_too_many_are_remembered() {
    const KEYS_MAX: u64 = 100_000;
    let mut node = Node::new();
    let at = |now| move |number| (now, Some(with(key(number), put("a", "1"))));
    let first: Vec<_> = (1..KEYS_MAX).map(at(1000)).collect();
    node.batch(&first);
    node.batch(&[at(2000)(KEYS_MAX)]);
    let too_many = node.at(2000, with(key(KEYS_MAX + 1), put("a", "2")));
    assert_eq!(too_many.reply, Err(Refusal::TooManyRequestKeys));
    let known = node.at(2000, with(key(1), put("a", "1")));
    assert_eq!(known.revision, Revision(2));
    // Ten minutes after the first, one wake makes room for five hundred.
    assert_eq!(node.at(601_000, Command::Wake).reply, Ok(Reply::Wake(500)));
    let outcome = node.at(601_000, with(key(KEYS_MAX + 1), put("a", "2")));
    assert_eq!(outcome.reply, Ok(Reply::Put(None)));
    node.check();
}

#[test]
fn there_are_at_most_a_thousand_fence_policies() {
    let mut node = Node::new();
    let set = |number: u32, lock: &str| {
        Command::Fence(FenceCommand::Set(FencePolicy {
            prefix: Bytes::from(format!("prefix{number:04}/")),
            lock: Bytes::from(lock.to_owned()),
        }))
    };
    // Not in order, to have them sorted.
    for number in (0..1000).map(|number| number * 7 % 1000) {
        assert_eq!(node.apply(set(number, "lock")).reply, Ok(Reply::Done));
    }
    assert_eq!(
        node.apply(set(1000, "lock")).reply,
        Err(Refusal::TooManyPolicies)
    );
    assert_eq!(node.apply(set(999, "other")).reply, Ok(Reply::Done));
    let missing = |node: &mut Node, key: &str| match node.apply(put(key, "")).reply {
        Err(Refusal::GuardMissing(missing)) => (missing.prefix, missing.lock),
        other => panic!("{key} was let through: {other:?}"),
    };
    let prefix = |number: u32| Bytes::from(format!("prefix{number:04}/"));
    for number in 0..999 {
        let key = format!("prefix{number:04}/a");
        assert_eq!(missing(&mut node, &key), (prefix(number), "lock".into()));
    }
    assert_eq!(
        missing(&mut node, "prefix0999/"),
        (prefix(999), "other".into())
    );
    assert_eq!(
        node.apply(put("prefix1000/", "")).reply,
        Ok(Reply::Put(None))
    );
    assert_eq!(
        node.apply(put("prefix0999", "")).reply,
        Ok(Reply::Put(None))
    );
    let remove = Command::Fence(FenceCommand::Remove(prefix(500)));
    assert_eq!(node.apply(remove).reply, Ok(Reply::Done));
    assert_eq!(node.apply(set(1000, "lock")).reply, Ok(Reply::Done));
    let policies = Reader::new(&*node.engine).unwrap().policies().unwrap();
    assert_eq!(policies.len(), 1000);
    assert!(policies.is_sorted_by_key(|policy| policy.prefix.clone()));
}
