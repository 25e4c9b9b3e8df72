//! Sessions and idempotency keys belong to the user that made them.

use tenure_statemachine::{
    AuthChange, Command, Guard, LeaseId, Put, Refusal, Reply, RequestId, SessionOpen, Ttl,
};

use super::setup::{Machine, attached, by_system, enable, key, lease, put, with_id, with_users};

fn open(id: i64, grants: bool) -> Command {
    Command::SessionOpen(SessionOpen {
        lease: LeaseId(id),
        grant: grants.then_some(Ttl(1_000_000)),
    })
}

fn numbered(id: i64, sequence: u64, command: Command) -> Command {
    let request = RequestId::Session {
        session: LeaseId(id),
        sequence,
        answered: 0,
    };
    with_id(request, command)
}

/// A put that tells what it replaced.
fn telling(of: &'static str) -> Command {
    Command::Put(Put {
        want_previous: true,
        ..put(of)
    })
}

fn is_told(reply: &Result<Reply, Refusal>) -> bool {
    matches!(reply, Ok(Reply::Put(Some(_))))
}

#[test]
fn a_session_is_used_and_confirmed_by_its_user_only() {
    let mut node = with_users();
    node.of("ann", open(7, true)).unwrap();
    assert_eq!(
        node.reader().session_owner(LeaseId(7)).unwrap(),
        Some(key("ann"))
    );
    node.of("ann", Command::Put(put("a"))).unwrap();
    let told = node.of("ann", numbered(7, 1, telling("a")));
    assert!(is_told(&told));
    let absent = Err(Refusal::SessionNotFound(LeaseId(7)));
    for other in ["bob", "root", "guest"] {
        assert_eq!(
            node.of(other, numbered(7, 1, telling("a"))),
            absent,
            "{other}"
        );
        assert_eq!(
            node.of(other, numbered(7, 2, telling("a"))),
            absent,
            "{other}"
        );
        assert_eq!(node.of(other, open(7, false)), absent, "{other}");
    }
    assert_eq!(node.of("ann", numbered(7, 1, telling("a"))), told);
    node.of("ann", open(7, false)).unwrap();
    node.of("ann", Command::LeaseRevoke(LeaseId(7))).unwrap();
    assert_eq!(node.reader().session_owner(LeaseId(7)).unwrap(), None);
    // The next session of that lease is another's.
    node.of("bob", open(7, true)).unwrap();
    assert_eq!(
        node.reader().session_owner(LeaseId(7)).unwrap(),
        Some(key("bob"))
    );
}

#[test]
fn a_session_that_was_opened_without_a_user_is_of_none() {
    let mut node = with_users();
    node.change(AuthChange::Disable).unwrap();
    node.one(open(7, true)).unwrap();
    node.one(numbered(7, 1, telling("a"))).unwrap();
    node.change(enable()).unwrap();
    let absent = Err(Refusal::SessionNotFound(LeaseId(7)));
    assert_eq!(node.of("ann", numbered(7, 1, telling("a"))), absent);
    assert_eq!(node.of("ann", open(7, false)), absent);
    node.one(by_system(open(7, false))).unwrap();
    // Nobody is bound while authentication is disabled.
    node.of("ann", open(8, true)).unwrap();
    node.change(AuthChange::Disable).unwrap();
    for id in [7, 8] {
        node.one(open(id, false)).unwrap();
        node.of("bob", open(id, false)).unwrap();
    }
}

#[test]
fn a_repeat_of_an_idempotency_key_is_answered_to_its_user_only() {
    let ids = [
        RequestId::Key(key("id")),
        RequestId::ClientKey {
            client: 5,
            key: key("id"),
        },
    ];
    for id in ids {
        let mut node = with_users();
        node.of("ann", Command::Put(put("a"))).unwrap();
        let asked = || with_id(id.clone(), telling("a"));
        let told = node.of("ann", asked());
        assert!(is_told(&told));
        for other in ["bob", "root", "an"] {
            assert_eq!(
                node.of(other, asked()),
                Err(Refusal::RequestDiffers),
                "{other}"
            );
        }
        assert_eq!(node.of("ann", asked()), told);
    }
}

#[test]
fn a_refusal_for_want_of_permission_is_not_remembered() {
    let mut node = with_users();
    node.of("bob", lease(8)).unwrap();
    node.of("bob", Command::Put(attached("b", 8))).unwrap();
    let asked = || with_id(RequestId::Key(key("id")), Command::Put(attached("a", 8)));
    assert_eq!(node.of("ann", asked()), Err(Refusal::PermissionDenied));
    node.change(super::setup::grant_role("ann", "bob")).unwrap();
    let revision = node.reader().meta().revision;
    assert_eq!(node.of("ann", asked()), Ok(Reply::Put(None)));
    assert_eq!(node.of("ann", asked()), Ok(Reply::Put(None)));
    assert_eq!(node.reader().meta().revision, revision.next());
}

#[test]
fn a_repeat_is_answered_though_the_lease_has_got_keys_of_others() {
    let mut node = with_users();
    node.of("ann", lease(8)).unwrap();
    let asked = || with_id(RequestId::Key(key("id")), Command::Put(attached("a", 8)));
    assert_eq!(node.of("ann", asked()), Ok(Reply::Put(None)));
    node.one(by_system(Command::Put(attached("b", 8)))).unwrap();
    assert_eq!(node.of("ann", asked()), Ok(Reply::Put(None)));
}

#[test]
fn the_permission_is_checked_before_guards_tell_who_holds() {
    let mut node = with_users();
    node.of("bob", lease(8)).unwrap();
    node.of("bob", Command::Put(attached("b", 8))).unwrap();
    let guarded = |node: &mut Machine, lease| {
        let conditional = tenure_statemachine::Conditional {
            guards: vec![Guard {
                name: key("b"),
                token: tenure_statemachine::Revision(1),
            }],
            request: None,
            command: Command::Put(attached("a", lease)),
        };
        node.of("ann", Command::Conditional(Box::new(conditional)))
    };
    assert_eq!(guarded(&mut node, 8), Err(Refusal::PermissionDenied));
    assert!(matches!(guarded(&mut node, 0), Err(Refusal::GuardStale(_))));
}
