//! Users, roles and permissions are bounded, and what is refused for a bound changes nothing.

use bytes::Bytes;
use tenure_statemachine::{
    Access, AuthChange, AuthRevision, Command, KeyRange, Limit, Permission, Refusal,
};

use super::setup::{Machine, grant_role, permit, user_add, without_users};

fn reached(limit: Limit, max: u64) -> Result<(), Refusal> {
    Err(Refusal::LimitReached { limit, max })
}

/// Applies changes as one entry; all must succeed.
fn all(node: &mut Machine, changes: impl Iterator<Item = AuthChange>) {
    let commands: Vec<Command> = changes.map(Command::Auth).collect();
    for outcome in node.apply(&commands) {
        outcome.reply.unwrap();
    }
}

fn refused(node: &mut Machine, change: AuthChange, expected: Result<(), Refusal>) {
    let before: AuthRevision = node.auth_revision();
    assert_eq!(node.one(Command::Auth(change)).map(drop), expected);
    assert_eq!(node.auth_revision(), before);
}

#[test]
fn there_are_at_most_ten_thousand_users_and_roles() {
    let mut node = without_users();
    let node = &mut node;
    let role = |number: u32| AuthChange::RoleAdd(format!("r{number}"));
    all(
        node,
        (0..10_000).map(|number| user_add(&format!("u{number}"))),
    );
    all(node, (0..10_000).map(role));
    refused(node, user_add("one"), reached(Limit::Users, 10_000));
    refused(node, role(10_000), reached(Limit::Roles, 10_000));
    all(node, [AuthChange::UserDelete("u5".to_owned())].into_iter());
    all(node, [AuthChange::RoleDelete("r5".to_owned())].into_iter());
    all(node, [user_add("one"), role(10_000)].into_iter());
}

#[test]
fn a_user_has_at_most_sixty_four_roles() {
    let mut node = without_users();
    let node = &mut node;
    let name = |number: u32| format!("r{number}");
    all(
        node,
        (0..65).map(|number| AuthChange::RoleAdd(name(number))),
    );
    all(node, [user_add("u")].into_iter());
    all(node, (0..64).map(|number| grant_role("u", &name(number))));
    refused(
        node,
        grant_role("u", &name(64)),
        reached(Limit::UserRoles, 64),
    );
    // One that it has already is no more.
    refused(node, grant_role("u", &name(63)), Ok(()));
}

#[test]
fn a_role_has_at_most_a_thousand_permissions_and_64_kib_of_ranges() {
    let mut node = without_users();
    let node = &mut node;
    let roles = ["many", "large"].map(|role| AuthChange::RoleAdd(role.to_owned()));
    all(node, roles.into_iter());
    let one = |number: u32| permit("many", Access::Read, &format!("{number:04}"));
    all(node, (0..1000).map(one));
    refused(node, one(1000), reached(Limit::RolePermissions, 1000));
    all(node, [permit("many", Access::Write, "0007")].into_iter());
    let large = |bytes: usize| AuthChange::RoleGrantPermission {
        role: "large".to_owned(),
        permission: Permission {
            access: Access::Read,
            range: KeyRange::from_wire(vec![b'a'; bytes].into(), Bytes::from_static(b"b")),
        },
    };
    let max = 64 * 1024;
    refused(node, large(max), reached(Limit::RoleBytes, max as u64));
    all(node, [large(max - 1)].into_iter());
    let more = permit("large", Access::Read, "x");
    refused(node, more, reached(Limit::RoleBytes, max as u64));
}

#[test]
fn the_hash_of_a_password_has_at_most_512_bytes() {
    let mut node = without_users();
    let node = &mut node;
    let hash = |bytes| Bytes::from(vec![b'x'; bytes]);
    let user = || "u".to_owned();
    let add = |bytes| AuthChange::UserAdd {
        user: user(),
        password: Some(hash(bytes)),
    };
    refused(node, add(513), reached(Limit::PasswordHashBytes, 512));
    all(node, [add(512)].into_iter());
    let set = |bytes| AuthChange::UserSetPassword {
        user: user(),
        password: hash(bytes),
    };
    refused(node, set(513), reached(Limit::PasswordHashBytes, 512));
    all(node, [set(512)].into_iter());
}
