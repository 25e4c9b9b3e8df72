//! How much space what is remembered of requests takes: bounded, counted, and of the right kind.

use bytes::Bytes;
use tenure_statemachine::{
    Command, Conditional, DeleteRange, DeleteReply, Engine, Facts, Guard, KeyRange, Outcome, Put,
    Refusal, Reply, RequestId, Revision, StaleToken, Table, View, WriteBatch, WriteOp, codec,
    invariants,
};

use crate::{
    bounds::{numbered, put},
    once::{Node, SESSIONS, key, with},
};

/// A put of a large value, and a write that is answered with it.
fn large(bytes: usize) -> (Command, Command) {
    let Command::Put(change) = put("large", "") else {
        unreachable!("a put")
    };
    let store = put("large", &"x".repeat(bytes));
    let want_previous = true;
    let take = Command::Put(Put {
        want_previous,
        ..change
    });
    (store, take)
}

#[test]
fn what_a_session_remembers_is_bounded_in_bytes_and_none_of_it_forgotten() {
    const SESSION_BYTES_MAX: u64 = 1024 * 1024;
    let mut node = Node::with_sessions();
    let (store, take) = large(60_000);
    let mut whole = 0;
    for sequence in 1..=40 {
        node.apply(store.clone());
        let first = node.apply(with(numbered(sequence), take.clone()));
        let again = node.apply(with(numbered(sequence), take.clone()));
        assert_eq!(again.revision, first.revision);
        if again.reply == first.reply {
            whole += 1;
        } else {
            let revision = first.revision;
            assert_eq!(again.reply, Err(Refusal::AnswerTooLarge { revision }));
        }
        // What is answered in a few bytes is remembered whole, however full it is.
        let small = node.apply(with(numbered(sequence + 100), put("a", "1")));
        let again = node.apply(with(numbered(sequence + 100), put("a", "1")));
        assert_eq!((again.reply, again.revision), (small.reply, small.revision));
    }
    assert_eq!(whole, SESSION_BYTES_MAX / 60_100);
    let state = node.session().unwrap();
    assert_eq!((state.remembered, state.forgotten), (80, 0));
    assert!(state.bytes <= SESSION_BYTES_MAX + 80 * 64, "{state:?}");
    node.check();
    // What is answered makes room.
    let next = RequestId::Session {
        session: SESSIONS[0],
        sequence: 200,
        answered: 1,
    };
    node.apply(store);
    let first = node.apply(with(next.clone(), take.clone()));
    assert_eq!(node.apply(with(next, take)).reply, first.reply);
    node.check();
}

#[test]
fn what_idempotency_keys_came_to_is_bounded_in_bytes_and_none_of_it_forgotten() {
    const KEYS_BYTES_MAX: usize = 64 * 1024 * 1024;
    let mut node = Node::new();
    let (store, take) = large(65_000);
    // As many as fit, and ten that do not.
    let fit = KEYS_BYTES_MAX / 65_100;
    let pairs = |number| {
        [
            (1000, Some(store.clone())),
            (1000, Some(with(key(number), take.clone()))),
        ]
    };
    for number in 0..fit as u64 + 10 {
        node.batch(&pairs(number));
    }
    let last = key(fit as u64 + 9);
    let again = node.at(1000, with(last.clone(), take.clone()));
    let revision = again.revision;
    assert_eq!(again.reply, Err(Refusal::AnswerTooLarge { revision }));
    let small = node.at(1000, with(key(5_000), put("a", "1")));
    let again = node.at(1000, with(key(5_000), put("a", "1")));
    assert_eq!((again.reply, again.revision), (small.reply, small.revision));
    let first = node.at(1000, with(key(0), take.clone()));
    assert!(first.reply.is_ok(), "the first are all there");
    node.check();
    // After ten minutes there is room again.
    node.at(601_000, Command::Wake);
    node.batch(&pairs(9_000));
    assert!(node.at(601_000, with(key(9_000), take)).reply.is_ok());
    node.check();
}

#[test]
fn a_refusal_that_is_too_large_is_remembered_without_its_names() {
    let mut node = Node::with_sessions();
    let stale = |id: RequestId, bytes| {
        let guards = vec![Guard {
            name: Bytes::from("x".repeat(bytes)),
            token: Revision(2),
        }];
        Command::Conditional(Box::new(Conditional {
            guards,
            request: Some(id),
            command: put("a", "1"),
        }))
    };
    for id in [key(1), numbered(1)] {
        let first = node.apply(stale(id.clone(), 70_000));
        let Err(Refusal::GuardStale(told)) = first.reply else {
            panic!("{first:?}")
        };
        // Its reason has gone, and still it is a refusal.
        node.apply(put(&"x".repeat(70_000), "1"));
        let again = node.apply(stale(id, 70_000));
        let short = Refusal::GuardStale(Box::new(StaleToken {
            name: Bytes::new(),
            ..*told
        }));
        assert_eq!((again.reply, again.revision), (Err(short), first.revision));
        let range = KeyRange::single(Bytes::from("x".repeat(70_000)));
        node.apply(Command::DeleteRange(DeleteRange {
            range,
            want_previous: false,
        }));
    }
    // The same where there is no room for more.
    let (store, take) = large(60_000);
    for sequence in 2..=40 {
        node.apply(store.clone());
        node.apply(with(numbered(sequence), take.clone()));
    }
    for sequence in 41..=80 {
        node.apply(stale(numbered(sequence), 60_000));
        let again = node.apply(stale(numbered(sequence), 60_000));
        assert!(matches!(again.reply, Err(Refusal::GuardStale(_))));
    }
    let state = node.session().unwrap();
    assert_eq!((state.remembered, state.forgotten), (80, 0));
    assert!(state.bytes <= 1024 * 1024 + 80 * 64, "{state:?}");
    node.check();
}

#[test]
fn an_answer_of_another_kind_is_not_taken_for_the_request_s() {
    let mut node = Node::new();
    node.apply(with(key(1), put("a", "1")));
    // As if two requests had one fingerprint.
    let row = Bytes::from("I1");
    let known = node.engine.get(Table::Cluster, &row).unwrap().unwrap();
    for (reply, is_puts) in [
        (Reply::Compact, false),
        (Reply::DeleteRange(DeleteReply::default()), false),
        (Reply::Done, false),
        (Reply::Put(None), true),
    ] {
        let outcome = Outcome {
            reply: Ok(reply),
            revision: Revision(2),
            events: Vec::new(),
            signals: Vec::new(),
            facts: Facts::default(),
        };
        let mut forged = known[..16].to_vec();
        forged.extend(codec::encode_outcome(&outcome, 1000).unwrap());
        let write = WriteOp::Put(Table::Cluster, row.clone(), Bytes::from(forged));
        node.engine.write(WriteBatch { ops: vec![write] }).unwrap();
        let again = node.apply(with(key(1), put("a", "1")));
        let differs = Err(Refusal::RequestDiffers);
        let expected = if is_puts { outcome.reply } else { differs };
        assert_eq!(again.reply, expected);
    }
}

#[test]
fn a_wrong_count_of_what_is_remembered_is_found() {
    let remembered = || {
        let mut node = Node::with_sessions();
        for id in [key(1), numbered(1)] {
            assert!(node.apply(with(id, put("a", "1"))).reply.is_ok());
        }
        node.check();
        node
    };
    let session = {
        let mut row = vec![b'S'];
        row.extend((SESSIONS[0].0 ^ i64::MIN).to_be_bytes());
        Bytes::from(row)
    };
    for row in [Bytes::from("N"), session] {
        let counted = remembered().engine.get(Table::Cluster, &row).unwrap();
        let counted = counted.unwrap();
        // The lowest byte of every number in it, and its end.
        for at in (0..counted.len())
            .filter(|at| counted[*at] != 0)
            .chain([counted.len()])
        {
            let node = remembered();
            let mut wrong = counted.to_vec();
            wrong.resize(counted.len().max(at + 1), 0);
            wrong[at] = wrong[at].wrapping_add(1);
            let write = WriteOp::Put(Table::Cluster, row.clone(), Bytes::from(wrong));
            node.engine.write(WriteBatch { ops: vec![write] }).unwrap();
            assert!(
                invariants::check(&*node.engine).is_err(),
                "{row:?}, byte {at}"
            );
        }
    }
}
