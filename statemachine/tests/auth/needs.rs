//! Every command has the needs that its parts have, in the order in which they are checked.

use tenure_statemachine::{
    Acquire, AlarmChange, AuthChange, ClaimCommand, Command, Compare, Conditional, DeleteRange,
    Deregister, Drain, FeatureLevel, FenceCommand, ForceRelease, Guard, HandOver, InstanceName,
    LeaseId, MemberAttributes, MemberId, Need, Operand, Proclaim, Put, RangeQuery, Readiness,
    Register, RegistryCommand, Relation, Release, Revision, SessionOpen, SetReadiness, Transfer,
    Ttl, Txn, TxnOp, Will, WillSet, Withdraw, needs_of,
};

use super::setup::{attached, by_system, key, lease, put, range};

fn read(of: &str) -> Need {
    Need::Read(range(of))
}

fn write(of: &str) -> Need {
    Need::Write(range(of))
}

fn both(of: &str) -> [Need; 2] {
    [read(of), write(of)]
}

fn of_lease(id: i64) -> Need {
    Need::WriteLease(LeaseId(id))
}

fn guard(name: &str) -> Guard {
    Guard {
        name: key(name),
        token: Revision(2),
    }
}

/// Asserts the needs of a command, beside that of a user.
fn needs(command: Command, expected: &[Need]) {
    let expected: Vec<Need> = [Need::User].iter().chain(expected).cloned().collect();
    assert_eq!(needs_of(&command), expected, "{command:?}");
    // Conditions add theirs, and a principal adds none.
    let conditional = Command::Conditional(Box::new(Conditional {
        guards: vec![guard("g")],
        request: None,
        command: command.clone(),
    }));
    let mut with_guard = expected.clone();
    with_guard.insert(1, Need::Guard(key("g")));
    assert_eq!(needs_of(&conditional), with_guard, "{conditional:?}");
    assert_eq!(needs_of(&by_system(conditional)), with_guard);
    assert_eq!(needs_of(&by_system(command)), expected);
}

#[test]
fn a_put_writes_its_key_reads_what_it_returns_and_uses_its_lease() {
    needs(Command::Put(put("k")), &[write("k")]);
    let previous = Put {
        want_previous: true,
        ..put("k")
    };
    needs(Command::Put(previous.clone()), &[write("k"), read("k")]);
    needs(Command::Put(attached("k", 7)), &[write("k"), of_lease(7)]);
    let all = Put {
        lease: LeaseId(-7),
        ..previous
    };
    needs(Command::Put(all), &[write("k"), read("k"), of_lease(-7)]);
}

fn delete(of: &str, want_previous: bool) -> DeleteRange {
    DeleteRange {
        range: range(of),
        want_previous,
    }
}

#[test]
fn a_delete_writes_its_range_and_reads_what_it_returns() {
    needs(Command::DeleteRange(delete("a", false)), &[write("a")]);
    for of in ["a", "a..b", "a.."] {
        needs(
            Command::DeleteRange(delete(of, true)),
            &[write(of), read(of)],
        );
    }
}

fn compare(of: &str) -> Compare {
    Compare {
        range: range(of),
        relation: Relation::Equal,
        operand: Operand::Version(0),
    }
}

/// Every kind of operation, with every option that needs something.
fn operations(prefix: &'static str) -> (Vec<TxnOp>, Vec<Need>) {
    let named = |name: &str| format!("{prefix}{name}");
    let previous = Put {
        key: key(&named("put")),
        want_previous: true,
        lease: LeaseId(9),
        ..Put::default()
    };
    let (got, gone) = (named("get.."), named("gone..z"));
    let operations = vec![
        TxnOp::Range(RangeQuery::latest(range(&got))),
        TxnOp::Put(previous),
        TxnOp::DeleteRange(delete(&gone, true)),
    ];
    let put = named("put");
    let needs = vec![
        read(&got),
        write(&put),
        read(&put),
        of_lease(9),
        write(&gone),
        read(&gone),
    ];
    (operations, needs)
}

#[test]
fn a_transaction_needs_all_of_both_branches_however_deep() {
    needs(Command::Txn(Txn::default()), &[]);
    let compared = Txn {
        compare: vec![compare("c"), compare("c..d")],
        ..Txn::default()
    };
    needs(Command::Txn(compared.clone()), &[read("c"), read("c..d")]);
    let (mut success, mut expected) = operations("s/");
    let (failure, of_failure) = operations("f/");
    let (within, of_within) = operations("n/");
    success.push(TxnOp::Txn(Txn {
        compare: vec![compare("n/c")],
        success: Vec::new(),
        failure: vec![TxnOp::Txn(Txn {
            failure: within,
            ..Txn::default()
        })],
    }));
    expected.push(read("n/c"));
    expected.extend(of_within);
    expected.extend(of_failure);
    let txn = Txn {
        compare: vec![compare("c")],
        success,
        failure,
    };
    expected.insert(0, read("c"));
    let with_user = [vec![Need::User], expected.clone()].concat();
    assert_eq!(txn.needs(), with_user);
    needs(Command::Txn(txn), &expected);
}

#[test]
fn a_lease_that_is_renewed_or_revoked_needs_its_keys() {
    needs(lease(7), &[]);
    needs(Command::LeaseRevoke(LeaseId(7)), &[of_lease(7)]);
    let renew = Command::LeaseRenew(vec![LeaseId(7), LeaseId(8)]);
    needs(renew, &[of_lease(7), of_lease(8)]);
    needs(Command::LeaseRenew(Vec::new()), &[]);
    for grant in [None, Some(Ttl(5000))] {
        let lease = LeaseId(7);
        needs(Command::SessionOpen(SessionOpen { lease, grant }), &[]);
    }
}

#[test]
fn a_claim_reads_and_writes_below_its_name_and_uses_its_lease() {
    let [below, written] = both("n/..n0");
    let acquire = |grant| {
        Command::from(Acquire {
            names: vec![key("n"), key("o/p")],
            lease: LeaseId(7),
            grant,
            ..Acquire::default()
        })
    };
    let names = [both("n/..n0"), both("o/p/..o/p0")].concat();
    needs(acquire(Some(Ttl(5000))), &names);
    needs(acquire(None), &[names, vec![of_lease(7)]].concat());
    let (name, token, to) = (key("n"), Revision(2), LeaseId(8));
    let of_name: Vec<ClaimCommand> = vec![
        ClaimCommand::Release(Release {
            name: name.clone(),
            token,
        }),
        ClaimCommand::Withdraw(Withdraw {
            name: name.clone(),
            lease: to,
            call: 0,
        }),
        ClaimCommand::HandOver(HandOver {
            name: name.clone(),
            token,
            to,
        }),
        ClaimCommand::Proclaim(Proclaim {
            name: name.clone(),
            token,
            value: key("v"),
        }),
    ];
    for command in of_name {
        needs(command.into(), &[below.clone(), written.clone()]);
    }
    let transfer = ClaimCommand::Transfer(Transfer {
        name: name.clone(),
        token,
        to,
        principal: String::new(),
    });
    needs(transfer.into(), &[below, written, of_lease(8)]);
    let force = ForceRelease {
        name,
        token,
        why: String::new(),
    };
    needs(force.into(), &[Need::Admin]);
}

#[test]
fn a_registration_reads_and_writes_its_service_and_uses_its_lease() {
    let name = InstanceName {
        service: "web".to_owned(),
        id: "1".to_owned(),
    };
    let of_service = both("tenure.services/web/..tenure.services/web0");
    let register = |grant| {
        Command::from(Register {
            name: name.clone(),
            lease: LeaseId(7),
            grant,
            ..Register::default()
        })
    };
    needs(register(Some(Ttl(5000))), &of_service);
    let [reading, writing] = of_service.clone();
    needs(register(None), &[reading, writing, of_lease(7)]);
    let keeps_lease = Register {
        name: name.clone(),
        incarnation: Revision(2),
        ..Register::default()
    };
    needs(keeps_lease.into(), &of_service);
    let (incarnation, grace) = (Revision(2), Ttl(0));
    for command in [
        RegistryCommand::SetReadiness(SetReadiness {
            name: name.clone(),
            incarnation,
            readiness: Readiness::Ready,
        }),
        RegistryCommand::Drain(Drain {
            name: name.clone(),
            incarnation,
            grace,
        }),
        RegistryCommand::Deregister(Deregister { name, incarnation }),
    ] {
        needs(command.into(), &of_service);
    }
}

#[test]
fn a_will_needs_what_it_will_do_and_the_keys_of_its_lease() {
    let (success, mut expected) = operations("w/");
    let will = Will {
        guards: vec![guard("h")],
        txn: Txn {
            success,
            ..Txn::default()
        },
    };
    expected.insert(0, Need::Guard(key("h")));
    expected.push(of_lease(7));
    let lease = LeaseId(7);
    let set = |lock, will| Command::WillSet(WillSet { lease, lock, will });
    needs(set(None, Some(will.clone())), &expected);
    needs(set(None, None), &[of_lease(7)]);
    let with_lock = [both("n/..n0").to_vec(), expected].concat();
    needs(set(Some(key("n")), Some(will)), &with_lock);
}

#[test]
fn what_is_for_administrators_and_members_needs_root() {
    let alarm = AlarmChange {
        member: MemberId(1),
        kind: None,
        active: false,
    };
    for command in [
        Command::Compact(Revision(2)),
        Command::Alarm(alarm),
        Command::Fence(FenceCommand::Remove(key("p"))),
        Command::Auth(AuthChange::Disable),
        Command::LeaseExpire(Vec::new()),
        Command::MemberPublish(MemberAttributes::default()),
        Command::Wake,
        Command::RaiseLevel(FeatureLevel::NEWEST),
    ] {
        needs(command, &[Need::Admin]);
    }
}
