//! Users, roles and permissions are changed as in etcd.

use bytes::Bytes;
use tenure_statemachine::{
    Access, AuthChange, AuthRevision, Command, FeatureLevel, Limit, MemEngine, Permission, Refusal,
    digest,
};

use super::setup::{
    Machine, by_system, enable, forbid, grant_role, key, permit, range, revoke_role, user_add,
    with_users, without_users,
};

/// Asserts the reply to a change, and by how much it moves the auth revision.
fn changes(node: &mut Machine, change: AuthChange, reply: Result<(), Refusal>, moved: u64) {
    let before = node.auth_revision();
    let shown = format!("{change:?}");
    assert_eq!(node.change(change), reply, "{shown}");
    let after = node.auth_revision();
    assert_eq!(after, AuthRevision(before.0 + moved), "{shown}");
}

fn role_add(role: &str) -> AuthChange {
    AuthChange::RoleAdd(role.to_owned())
}

fn role_delete(role: &str) -> AuthChange {
    AuthChange::RoleDelete(role.to_owned())
}

fn user_delete(user: &str) -> AuthChange {
    AuthChange::UserDelete(user.to_owned())
}

fn set_password(user: &str, password: &'static str) -> AuthChange {
    AuthChange::UserSetPassword {
        user: user.to_owned(),
        password: password.into(),
    }
}

#[test]
fn an_empty_store_has_revision_one_and_no_users() {
    let node = without_users();
    let state = node.reader().auth().unwrap();
    assert!(!state.enabled);
    assert_eq!(
        (state.revision, state.users, state.roles),
        (AuthRevision(1), 0, 0)
    );
    assert_eq!(node.machine.auth(), &state);
    assert_eq!(node.reader().token_secret().unwrap(), None);
}

#[test]
fn authentication_is_enabled_with_a_root_that_has_the_role_root() {
    let mut node = without_users();
    let node = &mut node;
    changes(node, enable(), Err(Refusal::RootUserMissing), 0);
    changes(node, user_add("root"), Ok(()), 1);
    changes(node, enable(), Err(Refusal::RootRoleMissing), 0);
    changes(node, grant_role("root", "root"), Ok(()), 1);
    let short = AuthChange::Enable {
        secret: Bytes::from_static(&[7; 31]),
    };
    changes(node, short, Err(Refusal::InvalidAuthManagement), 0);
    assert!(!node.reader().auth().unwrap().enabled);
    changes(node, enable(), Ok(()), 0);
    assert!(node.reader().auth().unwrap().enabled);
    assert_eq!(node.machine.auth(), &node.reader().auth().unwrap());
}

#[test]
fn the_secret_lives_while_authentication_is_enabled() {
    let mut node = with_users();
    let secret = |node: &Machine| node.reader().token_secret().unwrap();
    let first = secret(&node).unwrap();
    let other = AuthChange::Enable {
        secret: Bytes::from_static(&[8; 32]),
    };
    changes(&mut node, other.clone(), Ok(()), 0);
    assert_eq!(secret(&node), Some(first.clone()), "it is enabled already");
    changes(&mut node, AuthChange::Disable, Ok(()), 1);
    assert_eq!(secret(&node), None);
    changes(&mut node, AuthChange::Disable, Ok(()), 0);
    changes(&mut node, other, Ok(()), 0);
    assert_ne!(secret(&node), Some(first));
}

#[test]
fn a_user_is_added_once_and_found_as_it_was_added() {
    let mut node = without_users();
    let node = &mut node;
    changes(node, user_add(""), Err(Refusal::UserEmpty), 0);
    changes(node, user_add("u"), Ok(()), 1);
    changes(node, user_add("u"), Err(Refusal::UserExists), 0);
    changes(node, user_add("U"), Ok(()), 1);
    let nameless = AuthChange::UserAdd {
        user: "none".to_owned(),
        password: None,
    };
    changes(node, nameless, Ok(()), 1);
    let reader = node.reader();
    let users: Vec<_> = reader.users().unwrap();
    let names: Vec<&str> = users.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["U", "none", "u"]);
    let user = reader.user("u").unwrap().unwrap();
    assert_eq!(
        (user.password, user.password_generation),
        (Some(key("hash")), 2)
    );
    let none = reader.user("none").unwrap().unwrap();
    assert_eq!(none.password, None);
    assert_eq!(reader.user("absent").unwrap(), None);
    assert_eq!(reader.auth().unwrap().users, 3);
}

#[test]
fn a_password_is_replaced_and_its_generation_never_returns() {
    let mut node = without_users();
    let node = &mut node;
    changes(node, set_password("u", "x"), Err(Refusal::UserNotFound), 0);
    changes(node, user_add("u"), Ok(()), 1);
    let found = |node: &Machine| {
        let user = node.reader().user("u").unwrap().unwrap();
        (user.password, user.password_generation)
    };
    let (_, first) = found(node);
    changes(node, set_password("u", "x"), Ok(()), 1);
    let (password, second) = found(node);
    assert_eq!(password, Some(key("x")));
    assert!(second > first);
    changes(node, set_password("u", ""), Ok(()), 1);
    assert_eq!(found(node).0, Some(Bytes::new()));
    changes(node, user_delete("u"), Ok(()), 1);
    changes(node, user_add("u"), Ok(()), 1);
    assert!(found(node).1 > second, "another user of the same name");
    let none = AuthChange::UserAdd {
        user: "none".to_owned(),
        password: None,
    };
    changes(node, none, Ok(()), 1);
    changes(node, set_password("none", "x"), Ok(()), 1);
    let none = node.reader().user("none").unwrap().unwrap();
    assert_eq!(none.password, None, "it stays without");
}

#[test]
fn a_user_that_is_deleted_is_gone() {
    let mut node = without_users();
    let node = &mut node;
    changes(node, user_delete("u"), Err(Refusal::UserNotFound), 0);
    changes(node, user_add("u"), Ok(()), 1);
    changes(node, user_delete("u"), Ok(()), 1);
    assert_eq!(node.reader().user("u").unwrap(), None);
    assert_eq!(node.reader().auth().unwrap().users, 0);
}

#[test]
fn roles_are_granted_in_order_and_once() {
    let mut node = without_users();
    let node = &mut node;
    changes(node, grant_role("u", "r"), Err(Refusal::UserNotFound), 0);
    changes(node, user_add("u"), Ok(()), 1);
    changes(node, grant_role("u", "r"), Err(Refusal::RoleNotFound), 0);
    for role in ["r", "b", "z"] {
        changes(node, role_add(role), Ok(()), 1);
        changes(node, grant_role("u", role), Ok(()), 1);
        changes(node, grant_role("u", role), Ok(()), 0);
    }
    // It need not exist.
    changes(node, grant_role("u", "root"), Ok(()), 1);
    let user = |node: &Machine| node.reader().user("u").unwrap().unwrap();
    assert_eq!(user(node).roles, ["b", "r", "root", "z"]);
    assert!(user(node).is_root());
    changes(node, revoke_role("x", "r"), Err(Refusal::UserNotFound), 0);
    changes(node, revoke_role("u", "x"), Err(Refusal::RoleNotGranted), 0);
    changes(node, revoke_role("u", "r"), Ok(()), 1);
    changes(node, revoke_role("u", "r"), Err(Refusal::RoleNotGranted), 0);
    changes(node, revoke_role("u", "root"), Ok(()), 1);
    assert_eq!(user(node).roles, ["b", "z"]);
    assert!(!user(node).is_root());
}

#[test]
fn a_role_that_is_deleted_is_taken_from_all_users() {
    let mut node = without_users();
    let node = &mut node;
    changes(node, role_add(""), Err(Refusal::RoleEmpty), 0);
    changes(node, role_delete("r"), Err(Refusal::RoleNotFound), 0);
    for role in ["q", "r"] {
        changes(node, role_add(role), Ok(()), 1);
        changes(node, role_add(role), Err(Refusal::RoleExists), 0);
    }
    for user in ["u", "v", "w"] {
        changes(node, user_add(user), Ok(()), 1);
        changes(node, grant_role(user, "q"), Ok(()), 1);
    }
    for user in ["u", "w"] {
        changes(node, grant_role(user, "r"), Ok(()), 1);
    }
    changes(node, role_delete("r"), Ok(()), 1);
    for (name, user) in node.reader().users().unwrap() {
        assert_eq!(user.roles, ["q"], "{name}");
    }
    assert_eq!(node.reader().auth().unwrap().roles, 1);
    assert_eq!(node.reader().role("r").unwrap(), None);
}

#[test]
fn a_permission_is_for_one_range_whatever_its_access() {
    let mut node = without_users();
    let node = &mut node;
    changes(
        node,
        permit("r", Access::Read, "a"),
        Err(Refusal::RoleNotFound),
        0,
    );
    changes(node, forbid("r", "a"), Err(Refusal::RoleNotFound), 0);
    changes(node, role_add("r"), Ok(()), 1);
    for of in ["b", "a..c", "a", "a..", "a..b"] {
        changes(node, permit("r", Access::Read, of), Ok(()), 1);
    }
    changes(node, permit("r", Access::Write, "a..b"), Ok(()), 1);
    let permissions = node.reader().role("r").unwrap().unwrap().permissions;
    let permission = |access, of| Permission {
        access,
        range: range(of),
    };
    let expected = [
        permission(Access::Read, "a"),
        permission(Access::Read, "a.."),
        permission(Access::Write, "a..b"),
        permission(Access::Read, "a..c"),
        permission(Access::Read, "b"),
    ];
    assert_eq!(permissions, expected);
    changes(
        node,
        forbid("r", "a..d"),
        Err(Refusal::PermissionNotGranted),
        0,
    );
    changes(node, forbid("r", "a..b"), Ok(()), 1);
    changes(
        node,
        forbid("r", "a..b"),
        Err(Refusal::PermissionNotGranted),
        0,
    );
    assert_eq!(
        node.reader().role("r").unwrap().unwrap().permissions.len(),
        4
    );
}

#[test]
fn a_permission_for_no_key_is_refused_before_the_role_is_looked_up() {
    let mut node = without_users();
    for of in ["", "..", "..b", "b..a", "b..b"] {
        let change = permit("absent", Access::Read, of);
        changes(&mut node, change, Err(Refusal::InvalidAuthManagement), 0);
    }
}

#[test]
fn while_authentication_is_enabled_root_stays_root() {
    let mut node = with_users();
    let node = &mut node;
    let refused = Err(Refusal::InvalidAuthManagement);
    changes(node, user_delete("root"), refused.clone(), 0);
    changes(node, revoke_role("root", "root"), refused.clone(), 0);
    changes(node, role_delete("root"), refused.clone(), 0);
    changes(node, role_add("root"), Ok(()), 1);
    changes(node, role_delete("root"), refused, 0);
    // Others lose the role, and root loses others.
    changes(node, grant_role("ann", "root"), Ok(()), 1);
    changes(node, revoke_role("ann", "root"), Ok(()), 1);
    changes(node, grant_role("root", "ann"), Ok(()), 1);
    changes(node, revoke_role("root", "ann"), Ok(()), 1);
    changes(node, AuthChange::Disable, Ok(()), 1);
    changes(node, role_delete("root"), Ok(()), 1);
    assert!(!node.reader().user("root").unwrap().unwrap().is_root());
    changes(node, user_delete("root"), Ok(()), 1);
    changes(node, enable(), Err(Refusal::RootUserMissing), 0);
}

#[test]
fn below_their_level_changes_and_principals_are_refused() {
    let level = FeatureLevel(FeatureLevel::AUTHENTICATED.0 - 1);
    let mut node = Machine::at(level);
    let needed = FeatureLevel::AUTHENTICATED;
    for change in [enable(), AuthChange::Disable, user_add("u"), role_add("r")] {
        let refused = Err(Refusal::LevelTooLow { needed });
        assert_eq!(node.one(Command::Auth(change)), refused);
    }
    let wake = node.one(by_system(Command::Wake));
    assert_eq!(wake, Err(Refusal::LevelTooLow { needed }));
    assert_eq!(node.reader().users().unwrap(), []);
    node.one(Command::RaiseLevel(needed)).unwrap();
    node.one(Command::Auth(user_add("u"))).unwrap();
}

#[test]
fn every_row_of_users_and_roles_counts_in_the_digest() {
    let after = |changes: &[AuthChange]| {
        let mut node = without_users();
        let commands: Vec<Command> = changes.iter().cloned().map(Command::Auth).collect();
        let done = node.apply(&commands);
        assert!(
            done.iter().all(|outcome| outcome.reply.is_ok()),
            "{changes:?}"
        );
        digest(&*node.engine).unwrap()
    };
    let with_secret = |byte| AuthChange::Enable {
        secret: Bytes::from(vec![byte; 32]),
    };
    let root = [user_add("root"), grant_role("root", "root")];
    let role = [user_add("u"), role_add("r")];
    let ends = [
        [&root[..], &[with_secret(1)]].concat(),
        [&root[..], &[with_secret(2)]].concat(),
        [&root[..], &[set_password("root", "x")]].concat(),
        [&root[..], &[set_password("root", "y")]].concat(),
        [&role[..], &[grant_role("u", "r")]].concat(),
        [&role[..], &[permit("r", Access::Read, "a")]].concat(),
        [&role[..], &[permit("r", Access::Write, "a")]].concat(),
    ];
    let digests: std::collections::BTreeSet<u64> = ends.iter().map(|it| after(it)).collect();
    assert_eq!(digests.len(), ends.len());
    assert_eq!(after(&ends[0]), after(&ends[0]));
}

#[test]
fn only_the_deletion_of_a_role_takes_long() {
    let node = with_users();
    let light = |change| node.machine.is_light(&Command::Auth(change)).unwrap();
    assert!(!light(role_delete("ann")));
    for change in [enable(), user_add("u"), user_delete("u"), role_add("r")] {
        assert!(light(change));
    }
    let wake = |principal: fn(Command) -> Command| node.machine.is_light(&principal(Command::Wake));
    assert!(!wake(by_system).unwrap(), "looks through the principal");
}

#[test]
fn users_are_there_after_the_machine_is_opened_again() {
    let mut node = with_users();
    let state = *node.machine.auth();
    node.machine = tenure_statemachine::StateMachine::open(node.engine.clone()).unwrap();
    assert_eq!(node.machine.auth(), &state);
    assert!(state.enabled);
    let _: &MemEngine = &node.engine;
    assert_eq!(
        node.one(Command::Put(super::setup::put("a"))),
        Err(Refusal::UserEmpty)
    );
}

#[test]
fn limits_have_numbers() {
    let reached = |limit| Refusal::LimitReached { limit, max: 256 };
    let mut node = without_users();
    let long = "n".repeat(257);
    let refused = Err(reached(Limit::AuthNameBytes));
    changes(&mut node, user_add(&long), refused.clone(), 0);
    changes(&mut node, role_add(&long), refused, 0);
    changes(&mut node, user_add(&long[1..]), Ok(()), 1);
    changes(&mut node, role_add(&long[1..]), Ok(()), 1);
}
