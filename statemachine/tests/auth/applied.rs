//! What is checked when a command is applied: whose it is, the auth revision, and the keys that are
//! attached to leases.

use tenure_statemachine::{
    Access, Acquire, AlarmChange, AlarmKind, AuthChange, AuthRevision, ClaimCommand, Command,
    Context, DeleteRange, InstanceName, LeaseId, MemberAttributes, MemberId, Need, PermissionCache,
    Refusal, Register, RegistryCommand, Reply, Revision, SessionOpen, Transfer, Ttl, Txn, TxnOp,
    Will, WillSet,
};

use super::setup::{
    Machine, attached, by_system, by_user, forbid, grant_role, key, lease, looked_up, permit, put,
    range, revoke_role, user_add, with_users, without_users,
};

fn put_of(key: &'static str) -> Command {
    Command::Put(put(key))
}

#[test]
fn a_command_without_a_user_is_refused_once_authentication_is_enabled() {
    let mut node = with_users();
    let delete = DeleteRange {
        range: range("a"),
        want_previous: false,
    };
    let alarm = AlarmChange {
        member: MemberId(1),
        kind: Some(AlarmKind::NoSpace),
        active: true,
    };
    let conditional =
        super::setup::with_id(tenure_statemachine::RequestId::Key(key("id")), put_of("a"));
    for command in [
        put_of("a"),
        Command::DeleteRange(delete),
        Command::Txn(Txn::default()),
        Command::Compact(Revision(1)),
        lease(7),
        Command::LeaseRevoke(LeaseId(7)),
        Command::LeaseRenew(Vec::new()),
        Command::Alarm(alarm),
        conditional,
        Acquire::default().into(),
        Register::default().into(),
        Command::Auth(AuthChange::Disable),
        Command::WillSet(WillSet {
            lease: LeaseId(7),
            lock: None,
            will: None,
        }),
    ] {
        assert_eq!(
            node.one(command.clone()),
            Err(Refusal::UserEmpty),
            "{command:?}"
        );
    }
    let unchanged = |node: &Machine| {
        let state = node.reader();
        (
            state.meta().revision,
            state.meta().leases,
            state.auth().unwrap().enabled,
        )
    };
    assert_eq!(unchanged(&node), (Revision(1), 0, true));
}

#[test]
fn commands_that_only_members_make_need_no_principal() {
    let mut node = with_users();
    for command in [
        Command::LeaseExpire(Vec::new()),
        Command::Wake,
        Command::MemberPublish(MemberAttributes::default()),
        Command::RaiseLevel(tenure_statemachine::FeatureLevel::NEWEST),
    ] {
        assert!(node.one(command.clone()).is_ok(), "{command:?}");
    }
}

#[test]
fn a_member_may_do_everything_under_its_own_name() {
    let mut node = with_users();
    node.of("bob", lease(7)).unwrap();
    node.of("bob", Command::Put(attached("b", 7))).unwrap();
    node.one(by_system(Command::LeaseRenew(vec![LeaseId(7)])))
        .unwrap();
    node.one(by_system(Command::Put(attached("a", 7)))).unwrap();
    node.one(by_system(Command::Compact(Revision(2)))).unwrap();
    node.one(by_system(Command::LeaseRevoke(LeaseId(7))))
        .unwrap();
}

#[test]
fn a_command_that_was_checked_at_another_auth_revision_is_refused() {
    let mut node = with_users();
    let now = node.auth_revision();
    assert_eq!(
        node.one(by_user("ann", now, put_of("a"))),
        Ok(Reply::Put(None))
    );
    for other in [now.0 - 1, now.0 + 1, 0, u64::MAX] {
        let command = by_user("ann", AuthRevision(other), put_of("a"));
        assert_eq!(node.one(command), Err(Refusal::AuthOldRevision), "{other}");
    }
    node.change(user_add("carl")).unwrap();
    let late = by_user("ann", now, put_of("a"));
    assert_eq!(node.one(late.clone()), Err(Refusal::AuthOldRevision));
    // Within one entry, too.
    let now = node.auth_revision();
    let change = by_user("root", now, Command::Auth(user_add("dora")));
    let outcomes = node.apply(&[
        by_user("ann", now, put_of("a")),
        change,
        by_user("ann", now, put_of("a")),
        by_user("ann", now.next(), put_of("a")),
    ]);
    let is_done: Vec<bool> = outcomes.iter().map(|it| it.reply.is_ok()).collect();
    assert_eq!(is_done, [true, true, false, true]);
    // Once authentication is disabled there is nothing to check.
    node.change(AuthChange::Disable).unwrap();
    assert!(node.one(late).is_ok());
    assert!(node.one(put_of("b")).is_ok());
}

/// Asserts that a command is refused to `ann`, changes nothing then, and is not refused to `root`.
fn is_for_root_alone(node: &mut Machine, command: &Command) {
    let before = node.reader().meta().revision;
    let refused = node.of("ann", command.clone());
    assert_eq!(refused, Err(Refusal::PermissionDenied), "{command:?}");
    assert_eq!(node.reader().meta().revision, before);
    let root = node.of("root", command.clone());
    assert_ne!(root, Err(Refusal::PermissionDenied), "{command:?}");
}

/// Every command that gives a key to lease 8, ends it, or sets a will on it.
fn users_of_lease() -> Vec<Command> {
    let txn = |operation| Txn {
        failure: vec![operation],
        ..Txn::default()
    };
    let name = || vec![key("a/lock")];
    let lease = LeaseId(8);
    vec![
        Command::Put(attached("a", 8)),
        Command::Txn(txn(TxnOp::Put(attached("a", 8)))),
        Command::Txn(txn(TxnOp::Txn(txn(TxnOp::Put(attached("a", 8)))))),
        Command::LeaseRevoke(lease),
        Command::from(Acquire {
            names: name(),
            lease,
            ..Acquire::default()
        }),
        ClaimCommand::Transfer(Transfer {
            name: key("a/held"),
            token: Revision(2),
            to: lease,
            principal: String::new(),
        })
        .into(),
        RegistryCommand::Register(Register {
            name: InstanceName {
                service: "web".to_owned(),
                id: "1".to_owned(),
            },
            lease,
            ..Register::default()
        })
        .into(),
        Command::WillSet(WillSet {
            lease,
            lock: None,
            will: None,
        }),
    ]
}

#[test]
fn a_lease_is_used_by_users_who_may_write_every_key_attached_to_it() {
    for command in users_of_lease() {
        let fresh = || {
            let mut node = with_users();
            for id in [7, 8] {
                node.of("guest", lease(id)).unwrap();
            }
            let held = Acquire {
                names: vec![key("a/held")],
                lease: LeaseId(7),
                ..Acquire::default()
            };
            node.of("ann", held.into()).unwrap();
            node
        };
        // Without keys, or with keys of its own.
        for mut node in [fresh(), {
            let mut node = fresh();
            node.of("ann", Command::Put(attached("a/1", 8))).unwrap();
            node
        }] {
            let done = node.of("ann", command.clone());
            assert_ne!(done, Err(Refusal::PermissionDenied), "{command:?}");
        }
        // With a key of another user among its own, first or last.
        for other in ["A", "aa", "b"] {
            let mut node = fresh();
            node.change(forbid("ann", "a..b")).unwrap();
            node.change(permit("ann", Access::ReadWrite, "a..aa"))
                .unwrap();
            node.change(permit("ann", Access::ReadWrite, "ab..b"))
                .unwrap();
            node.of("ann", Command::Put(attached("a/1", 8))).unwrap();
            node.one(by_system(Command::Put(attached(other, 8))))
                .unwrap();
            is_for_root_alone(&mut node, &command);
        }
        // Nobody is bound while authentication is disabled.
        let mut node = fresh();
        node.of("bob", Command::Put(attached("b", 8))).unwrap();
        node.change(AuthChange::Disable).unwrap();
        let done = node.of("ann", command.clone());
        assert_ne!(done, Err(Refusal::PermissionDenied), "{command:?}");
    }
}

/// Regression: a lease without keys was anybody's, so that a user without a role ended the sessions
/// of others, dropped or put off their wills, and attached keys that locked them out.
#[test]
fn a_lease_with_the_session_or_a_will_of_another_user_is_not_used() {
    let open = |id| {
        Command::SessionOpen(SessionOpen {
            lease: LeaseId(id),
            grant: Some(Ttl(1_000_000)),
        })
    };
    let will = Command::WillSet(WillSet {
        lease: LeaseId(8),
        lock: None,
        will: Some(Will {
            guards: Vec::new(),
            txn: Txn::default(),
        }),
    });
    for begin in [vec![open(8)], vec![lease(8), will]] {
        for command in users_of_lease() {
            let mut node = with_users();
            node.of("guest", lease(7)).unwrap();
            for command in begin.clone() {
                node.of("bob", command).unwrap();
            }
            let held = Acquire {
                names: vec![key("a/held")],
                lease: LeaseId(7),
                ..Acquire::default()
            };
            node.of("ann", held.into()).unwrap();
            is_for_root_alone(&mut node, &command);
        }
        let mut node = with_users();
        for command in begin {
            node.of("bob", command).unwrap();
        }
        for (name, may) in [("ann", false), ("bob", true), ("root", true)] {
            let reader = node.reader();
            let permissions = reader.permissions(name).unwrap().unwrap();
            for need in [Need::ReadLease(LeaseId(8)), Need::WriteLease(LeaseId(8))] {
                let met = reader.check_need(&permissions, &need);
                assert_eq!(met.is_ok(), may, "{name}: {need:?}");
            }
        }
        node.of("bob", Command::LeaseRevoke(LeaseId(8))).unwrap();
    }
}

#[test]
fn a_key_that_may_only_be_read_does_not_make_a_lease_usable() {
    let mut node = with_users();
    node.of("bob", lease(8)).unwrap();
    node.of("bob", Command::Put(attached("b", 8))).unwrap();
    node.change(permit("ann", Access::Read, "b")).unwrap();
    let put = || Command::Put(attached("a", 8));
    assert_eq!(node.of("ann", put()), Err(Refusal::PermissionDenied));
    node.change(permit("ann", Access::Write, "b")).unwrap();
    node.of("ann", put()).unwrap();
    // Nor does it matter how far the permission reaches.
    node.change(forbid("ann", "b")).unwrap();
    node.change(permit("ann", Access::Write, "a..")).unwrap();
    node.of("ann", put()).unwrap();
}

#[test]
fn keys_attached_between_the_check_and_the_entry_count() {
    let mut node = with_users();
    node.of("ann", lease(8)).unwrap();
    let now = node.auth_revision();
    let outcomes = node.apply(&[
        by_user("bob", now, Command::Put(attached("b", 8))),
        by_user("ann", now, Command::Put(attached("a", 8))),
    ]);
    assert!(outcomes[0].reply.is_ok());
    assert_eq!(outcomes[1].reply, Err(Refusal::PermissionDenied));
}

#[test]
fn a_renewal_is_not_checked_again_because_many_are_one_command() {
    let mut node = with_users();
    node.of("bob", lease(8)).unwrap();
    node.of("bob", Command::Put(attached("b", 8))).unwrap();
    let renewed = node.of("ann", Command::LeaseRenew(vec![LeaseId(8), LeaseId(9)]));
    assert_eq!(
        renewed,
        Ok(Reply::LeaseRenew(vec![Some(Ttl(1_000_000)), None]))
    );
    let old = by_user(
        "ann",
        AuthRevision(1),
        Command::LeaseRenew(vec![LeaseId(8)]),
    );
    assert_eq!(node.one(old), Err(Refusal::AuthOldRevision));
}

#[test]
fn the_permission_is_checked_before_the_alarm_and_the_lease() {
    let mut node = with_users();
    node.of("bob", lease(8)).unwrap();
    node.of("bob", Command::Put(attached("b", 8))).unwrap();
    let alarm = |kind| {
        Command::Alarm(AlarmChange {
            member: MemberId(1),
            kind: Some(kind),
            active: true,
        })
    };
    node.of("root", alarm(AlarmKind::NoSpace)).unwrap();
    let put = |lease| Command::Put(attached("a", lease));
    assert_eq!(node.of("ann", put(8)), Err(Refusal::PermissionDenied));
    assert_eq!(node.of("ann", put(9)), Err(Refusal::NoSpace));
    node.of("root", alarm(AlarmKind::Corrupt)).unwrap();
    assert_eq!(node.of("ann", put(8)), Err(Refusal::PermissionDenied));
    // Users change under every alarm.
    node.change(user_add("carl")).unwrap();
}

#[test]
fn a_user_that_is_gone_uses_no_lease_with_keys() {
    let mut node = with_users();
    node.of("bob", lease(8)).unwrap();
    node.of("bob", Command::Put(attached("b", 8))).unwrap();
    let put = || Command::Put(attached("a", 8));
    assert_eq!(node.of("absent", put()), Err(Refusal::UserNotFound));
}

#[test]
fn permissions_of_a_batch_that_was_not_written_are_forgotten() {
    let mut node = with_users();
    node.of("bob", lease(8)).unwrap();
    node.of("bob", Command::Put(attached("b", 8))).unwrap();
    let now = node.auth_revision();
    let context = Context {
        index: node.machine.meta().applied_index + 1,
        term: 1,
        ..Context::default()
    };
    let put = || Command::Put(attached("a", 8));
    let mut batch = node.machine.begin();
    let granted = by_user("root", now, Command::Auth(grant_role("ann", "bob")));
    assert!(batch.apply(&context, &granted).unwrap().reply.is_ok());
    let allowed = by_user("ann", now.next(), put());
    assert!(batch.apply(&context, &allowed).unwrap().reply.is_ok());
    drop(batch);
    assert_eq!(node.auth_revision(), now);
    // Another change makes the revision that the batch had made.
    node.change(user_add("carl")).unwrap();
    assert_eq!(node.of("ann", put()), Err(Refusal::PermissionDenied));
}

#[test]
fn permissions_are_those_of_the_state_that_is_read() {
    let mut node = with_users();
    let engine = node.engine.clone();
    let before = tenure_statemachine::Engine::snapshot(&*engine).unwrap();
    let before = tenure_statemachine::Reader::new(before.as_ref()).unwrap();
    let mut cache = PermissionCache::default();
    let may = |cache: &mut PermissionCache, reader: &tenure_statemachine::Reader<'_>, of: &str| {
        let permissions = looked_up(cache, reader, "ann").unwrap();
        assert_eq!(*permissions, reader.permissions("ann").unwrap().unwrap());
        permissions.may_read(&range(of)) && permissions.may_write(&range(of))
    };
    assert!(may(&mut cache, &before, "a"));
    assert!(!may(&mut cache, &before, "b"));
    node.change(grant_role("ann", "bob")).unwrap();
    node.change(revoke_role("ann", "ann")).unwrap();
    assert!(may(&mut cache, &node.reader(), "b"));
    assert!(!may(&mut cache, &node.reader(), "a"));
    // A reader of an older state neither sees the new permissions nor replaces them.
    assert!(may(&mut cache, &before, "a"));
    assert!(may(&mut cache, &node.reader(), "b"));
    assert_eq!(looked_up(&mut cache, &node.reader(), "absent"), None);
    let nothing = without_users();
    assert_eq!(nothing.reader().permissions("ann").unwrap(), None);
}
