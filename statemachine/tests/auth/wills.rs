//! A will belongs to the user who set it, and needs the permissions of that user when it runs.

use tenure_statemachine::{
    Access, Acquire, AuthChange, ClaimCommand, Command, ForceRelease, Guard, KeyRange, LeaseExpiry,
    LeaseGrant, LeaseId, RangeQuery, Refusal, Revision, Ttl, Txn, TxnOp, Will, WillSet,
};

use super::setup::{
    Machine, attached, by_system, enable, forbid, grant_role, key, lease, permit, put, user_add,
    with_users,
};

/// Puts `of` when lease 7 expires, or when its claim on `lock` is lost.
fn will(of: &'static str, lock: Option<&str>) -> Command {
    let txn = Txn {
        success: vec![TxnOp::Put(put(of))],
        ..Txn::default()
    };
    set(
        lock,
        Some(Will {
            guards: Vec::new(),
            txn,
        }),
    )
}

fn set(lock: Option<&str>, will: Option<Will>) -> Command {
    Command::WillSet(WillSet {
        lease: LeaseId(7),
        lock: lock.map(key),
        will,
    })
}

/// Lease 7 of `ann` has expired; returns whether `of` exists.
fn ran(node: &mut Machine, of: &'static str) -> bool {
    node.now = Some(node.machine.meta().now.0 + 10_000_000);
    let expire = Command::LeaseExpire(vec![LeaseExpiry {
        id: LeaseId(7),
        generation: 1,
        term: 1,
    }]);
    node.one(expire).unwrap();
    assert_eq!(node.reader().lease(LeaseId(7)).unwrap(), None);
    exists(node, of)
}

fn exists(node: &Machine, of: &'static str) -> bool {
    let query = RangeQuery::latest(KeyRange::single(of.into()));
    node.reader().range(&query).unwrap().count == 1
}

/// With a will of `ann` to put `a`, on lease 7.
fn with_will() -> Machine {
    let mut node = with_users();
    node.of("ann", lease(7)).unwrap();
    node.of("ann", will("a", None)).unwrap();
    node
}

#[test]
fn a_will_runs_while_its_user_may_do_what_it_does() {
    assert!(ran(&mut with_will(), "a"));
    // Other changes do not matter.
    let mut node = with_will();
    node.change(user_add("carl")).unwrap();
    assert!(ran(&mut node, "a"));
    // Nor do any while authentication is disabled.
    let mut node = with_will();
    node.change(AuthChange::Disable).unwrap();
    node.change(AuthChange::UserDelete("ann".to_owned()))
        .unwrap();
    assert!(ran(&mut node, "a"));
}

#[test]
fn a_will_does_not_run_for_a_later_user_of_the_name() {
    let mut node = with_will();
    node.change(AuthChange::UserDelete("ann".to_owned()))
        .unwrap();
    node.change(user_add("ann")).unwrap();
    node.change(grant_role("ann", "ann")).unwrap();
    let denied = Err(Refusal::PermissionDenied);
    assert_eq!(node.of("ann", set(None, None)), denied, "not its own");
    assert!(!ran(&mut node, "a"));
}

#[test]
fn a_will_does_not_run_once_its_user_may_not_do_it() {
    for change in [
        forbid("ann", "a..b"),
        permit("ann", Access::Read, "a..b"),
        AuthChange::RoleDelete("ann".to_owned()),
        AuthChange::UserDelete("ann".to_owned()),
        super::setup::revoke_role("ann", "ann"),
    ] {
        let mut node = with_will();
        node.change(change.clone()).unwrap();
        assert!(!ran(&mut node, "a"), "{change:?}");
    }
}

#[test]
fn a_will_with_a_guard_needs_to_read_its_name() {
    let mut node = with_users();
    node.of("ann", lease(7)).unwrap();
    node.one(by_system(Command::Put(put("b")))).unwrap();
    let token = node.reader().meta().revision;
    let guarded = Will {
        guards: vec![Guard {
            name: key("b"),
            token,
        }],
        txn: Txn {
            success: vec![TxnOp::Put(put("a"))],
            ..Txn::default()
        },
    };
    node.of("ann", set(None, Some(guarded.clone()))).unwrap();
    assert!(!ran(&mut node, "a"));
    // With the permission it runs.
    node.now = None;
    let grant = LeaseGrant {
        id: LeaseId(7),
        ttl: Ttl(1),
    };
    node.of("ann", Command::LeaseGrant(grant)).unwrap();
    node.of("ann", set(None, Some(guarded))).unwrap();
    node.change(permit("ann", Access::Read, "b")).unwrap();
    assert!(ran(&mut node, "a"));
}

#[test]
fn a_will_gives_no_key_to_a_lease_with_keys_of_others() {
    let mut node = with_users();
    node.of("ann", lease(7)).unwrap();
    node.of("ann", lease(8)).unwrap();
    let txn = Txn {
        success: vec![TxnOp::Put(attached("a", 8))],
        ..Txn::default()
    };
    let guards = Vec::new();
    node.of("ann", set(None, Some(Will { guards, txn })))
        .unwrap();
    node.of("bob", Command::Put(attached("b", 8))).unwrap();
    assert!(!ran(&mut node, "a"));
}

#[test]
fn a_will_that_was_set_without_a_user_runs_only_while_authentication_is_disabled() {
    let before = |enables: bool| {
        let mut node = with_users();
        node.change(AuthChange::Disable).unwrap();
        node.one(lease(7)).unwrap();
        node.one(will("a", None)).unwrap();
        if enables {
            node.change(enable()).unwrap();
        }
        node
    };
    assert!(ran(&mut before(false), "a"));
    assert!(!ran(&mut before(true), "a"));
}

#[test]
fn the_will_of_a_lost_claim_is_its_users_too() {
    for keeps in [true, false] {
        let mut node = with_users();
        node.of("ann", lease(7)).unwrap();
        let acquire = Acquire {
            names: vec![key("a/lock")],
            lease: LeaseId(7),
            ..Acquire::default()
        };
        node.of("ann", acquire.into()).unwrap();
        node.of("ann", will("aa", Some("a/lock"))).unwrap();
        if !keeps {
            node.change(forbid("ann", "a..b")).unwrap();
        }
        let force = ClaimCommand::ForceRelease(ForceRelease {
            name: key("a/lock"),
            token: Revision(0),
            why: String::new(),
        });
        node.of("root", force.into()).unwrap();
        assert_eq!(exists(&node, "aa"), keeps);
    }
}

#[test]
fn the_will_of_another_user_is_neither_replaced_nor_removed() {
    let mut node = with_will();
    for command in [will("b", None), set(None, None)] {
        assert_eq!(node.of("bob", command), Err(Refusal::PermissionDenied));
    }
    node.of("ann", will("aa", None)).unwrap();
    node.change(grant_role("bob", "root")).unwrap();
    node.of("bob", will("b", None)).unwrap();
    assert_eq!(
        node.of("ann", will("a", None)),
        Err(Refusal::PermissionDenied)
    );
    assert!(ran(&mut node, "b"));
    assert!(!exists(&node, "a") && !exists(&node, "aa"));
    // Nobody owns anything while authentication is disabled.
    let mut node = with_will();
    node.change(AuthChange::Disable).unwrap();
    node.one(will("b", None)).unwrap();
    assert!(ran(&mut node, "b"));
}
