//! Sessions and idempotency keys belong to the user that made them.

use tenure_statemachine::{
    AuthChange, Command, Conditional, Guard, LeaseId, Need, Put, Refusal, Reply, RequestId,
    Revision, SessionOpen, Ttl, invariants,
};

use super::setup::{
    Machine, attached, by_system, enable, grant_role, key, lease, put, user_add, with_id,
    with_users,
};

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

/// The name of the user to whom the session of a lease belongs.
fn owner(node: &Machine, lease: i64) -> Option<String> {
    let owner = node.reader().session_owner(LeaseId(lease)).unwrap();
    owner.map(|owner| owner.name)
}

/// Both kinds of ids that name a key.
fn keys() -> [RequestId; 2] {
    [
        RequestId::Key(key("id")),
        RequestId::ClientKey {
            client: 5,
            key: key("id"),
        },
    ]
}

fn is_told(reply: &Result<Reply, Refusal>) -> bool {
    matches!(reply, Ok(Reply::Put(Some(_))))
}

#[test]
fn a_session_is_used_and_confirmed_by_its_user_only() {
    let mut node = with_users();
    node.of("ann", open(7, true)).unwrap();
    assert_eq!(owner(&node, 7), Some("ann".to_owned()));
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
    assert_eq!(owner(&node, 7), None);
    // The next session of that lease is another's.
    node.of("bob", open(7, true)).unwrap();
    assert_eq!(owner(&node, 7), Some("bob".to_owned()));
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
fn an_idempotency_key_of_one_user_tells_another_nothing_and_takes_nothing_from_it() {
    for id in keys() {
        let mut node = with_users();
        let asked = |of| with_id(id.clone(), Command::Put(put(of)));
        let revision = |node: &Machine| node.reader().meta().revision.0;
        let before = revision(&node);
        node.of("bob", asked("b")).unwrap();
        // Executed, and remembered, for each.
        for (user, of) in [("ann", "a"), ("root", "z"), ("ann", "a"), ("root", "z")] {
            assert_eq!(node.of(user, asked(of)), Ok(Reply::Put(None)), "{user}");
        }
        node.of("bob", asked("b")).unwrap();
        assert_eq!(revision(&node), before + 3);
        let used = Err(Refusal::RequestDiffers);
        assert_eq!(node.of("bob", asked("b2")), used, "each its own");
        assert_eq!(node.of("no one", asked("a")), Err(Refusal::UserNotFound));
        invariants::check(&*node.engine).unwrap();
    }
}

#[test]
fn a_repeat_is_not_executed_again_because_authentication_was_enabled_or_disabled() {
    for id in keys() {
        let mut node = with_users();
        let asked = || with_id(id.clone(), telling("a"));
        node.of("ann", asked()).unwrap();
        node.change(AuthChange::Disable).unwrap();
        let used = Err(Refusal::RequestDiffers);
        assert_eq!(node.one(asked()), used);
        assert_eq!(node.of("ann", asked()), used);
        // A key that is longer or shorter is another.
        for other in ["i", "id\0"] {
            let other = with_id(RequestId::Key(key(other)), telling("a"));
            node.one(other).unwrap();
        }
        let second = || with_id(RequestId::Key(key("second")), telling("a"));
        node.one(second()).unwrap();
        node.change(enable()).unwrap();
        assert_eq!(node.of("ann", second()), used);
        assert_eq!(node.of("root", second()), used);
        assert!(is_told(&node.of("ann", asked())) || node.of("ann", asked()).is_ok());
    }
}

#[test]
fn the_keys_of_users_are_forgotten_in_time_as_others_are() {
    for id in keys() {
        let mut node = with_users();
        for user in ["ann", "bob"] {
            let of = if user == "ann" { "a" } else { "b" };
            node.of(user, with_id(id.clone(), Command::Put(put(of))))
                .unwrap();
        }
        node.now = Some(node.machine.meta().now.0 + 11 * 60 * 1000);
        assert_eq!(node.one(Command::Wake), Ok(Reply::Wake(2)));
        invariants::check(&*node.engine).unwrap();
        // New again, for each.
        assert!(is_told(&node.of("ann", with_id(id.clone(), telling("a")))));
    }
}

/// `ann` is deleted, and added again with the same role.
fn replace_ann(node: &mut Machine) {
    node.change(AuthChange::UserDelete("ann".to_owned()))
        .unwrap();
    node.change(user_add("ann")).unwrap();
    node.change(grant_role("ann", "ann")).unwrap();
}

#[test]
fn a_user_inherits_nothing_from_an_earlier_one_of_the_same_name() {
    let mut node = with_users();
    node.of("ann", Command::Put(put("a"))).unwrap();
    node.of("ann", open(7, true)).unwrap();
    let numbered = || numbered(7, 1, telling("a"));
    assert!(is_told(&node.of("ann", numbered())));
    let asked = || with_id(RequestId::Key(key("id")), telling("a"));
    assert!(is_told(&node.of("ann", asked())));
    replace_ann(&mut node);
    let absent = Err(Refusal::SessionNotFound(LeaseId(7)));
    assert_eq!(node.of("ann", numbered()), absent);
    assert_eq!(node.of("ann", open(7, false)), absent);
    let denied = Err(Refusal::PermissionDenied);
    assert_eq!(node.of("ann", Command::LeaseRevoke(LeaseId(7))), denied);
    assert_eq!(node.of("ann", Command::Put(attached("a", 7))), denied);
    // A request of its own: the outcome of the other's is not shown.
    let revision = node.reader().meta().revision;
    node.of("ann", asked()).unwrap();
    assert_eq!(node.reader().meta().revision, revision.next());
    let permissions = node.reader().permissions("ann").unwrap().unwrap();
    let renews = Need::WriteLease(LeaseId(7));
    assert!(node.reader().check_need(&permissions, &renews).is_err());
    // What it opens itself is its own.
    node.of("ann", open(8, true)).unwrap();
    node.of("ann", open(8, false)).unwrap();
    node.of("root", Command::LeaseRevoke(LeaseId(7))).unwrap();
    node.of("ann", open(7, true)).unwrap();
    invariants::check(&*node.engine).unwrap();
}

#[test]
fn a_refusal_for_want_of_permission_is_not_remembered() {
    let mut node = with_users();
    node.of("bob", lease(8)).unwrap();
    node.of("bob", Command::Put(attached("b", 8))).unwrap();
    let asked = || with_id(RequestId::Key(key("id")), Command::Put(attached("a", 8)));
    assert_eq!(node.of("ann", asked()), Err(Refusal::PermissionDenied));
    node.change(grant_role("ann", "bob")).unwrap();
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
        let conditional = Conditional {
            guards: vec![Guard {
                name: key("b"),
                token: Revision(1),
            }],
            request: None,
            command: Command::Put(attached("a", lease)),
        };
        node.of("ann", Command::Conditional(Box::new(conditional)))
    };
    assert_eq!(guarded(&mut node, 8), Err(Refusal::PermissionDenied));
    assert!(matches!(guarded(&mut node, 0), Err(Refusal::GuardStale(_))));
}
