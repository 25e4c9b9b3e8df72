//! One command of every kind, and one with every option that changes its bytes.

use bytes::Bytes;
use tenure_statemachine::{
    AlarmChange, AlarmKind, Command, Compare, DeleteRange, FeatureLevel, KeyRange, LeaseExpiry,
    LeaseGrant, LeaseId, MemberAttributes, MemberId, Operand, Put, RangeQuery, Relation, Revision,
    SortOrder, SortTarget, Ttl, Txn, TxnOp,
};

/// A put of a value that is attached to a lease.
pub(crate) fn put() -> Put {
    Put {
        key: "key".into(),
        value: "value".into(),
        lease: LeaseId(i64::MAX),
        want_previous: true,
        ..Put::default()
    }
}

fn query() -> RangeQuery {
    RangeQuery {
        limit: 10,
        revision: Revision(300),
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Value,
        keys_only: true,
        count_only: true,
        min_mod_revision: Revision(1),
        max_mod_revision: Revision(2),
        min_create_revision: Revision(3),
        max_create_revision: Revision(4),
        ..RangeQuery::latest(KeyRange::from_wire("a".into(), "b".into()))
    }
}

fn compare(relation: Relation, operand: Operand) -> Compare {
    Compare {
        range: KeyRange::single("k".into()),
        relation,
        operand,
    }
}

fn txn() -> Txn {
    let unbounded = KeyRange::from_wire("z".into(), Bytes::from_static(b"\0"));
    let delete = DeleteRange {
        range: unbounded,
        want_previous: false,
    };
    Txn {
        compare: vec![
            compare(Relation::Equal, Operand::Version(0)),
            compare(Relation::Greater, Operand::Create(Revision(-1))),
            compare(Relation::Less, Operand::Mod(Revision(1))),
            compare(Relation::NotEqual, Operand::Value("v".into())),
            compare(Relation::Equal, Operand::Lease(LeaseId(i64::MIN))),
        ],
        success: vec![
            TxnOp::Range(query()),
            TxnOp::Put(put()),
            TxnOp::DeleteRange(delete),
        ],
        failure: vec![TxnOp::Txn(Txn {
            success: vec![TxnOp::Range(RangeQuery::latest(KeyRange::single(
                "k".into(),
            )))],
            ..Txn::default()
        })],
    }
}

/// A sample of every command, by name.
#[expect(clippy::too_many_lines, reason = "a table of samples")]
pub(crate) fn commands() -> Vec<(&'static str, Command)> {
    let kept = Put {
        key: "k".into(),
        ignore_value: true,
        ignore_lease: true,
        ..Put::default()
    };
    let range = KeyRange::from_wire("a".into(), "b".into());
    let alarm = |member, kind, active| {
        Command::Alarm(AlarmChange {
            member: MemberId(member),
            kind,
            active,
        })
    };
    let expiries = vec![
        LeaseExpiry {
            id: LeaseId(1),
            generation: 1,
            term: 2,
        },
        LeaseExpiry {
            id: LeaseId(-1),
            generation: u64::MAX,
            term: u64::MAX,
        },
    ];
    let mut commands = vec![
        ("put", Command::Put(put())),
        ("put_keeping", Command::Put(kept)),
        (
            "delete_range",
            Command::DeleteRange(DeleteRange {
                range,
                want_previous: true,
            }),
        ),
        ("txn", Command::Txn(txn())),
        ("txn_empty", Command::Txn(Txn::default())),
        ("compact", Command::Compact(Revision(1_000_000))),
        (
            "lease_grant",
            Command::LeaseGrant(LeaseGrant {
                id: LeaseId(7),
                ttl: Ttl(60_000),
            }),
        ),
        ("lease_revoke", Command::LeaseRevoke(LeaseId(7))),
        (
            "lease_renew",
            Command::LeaseRenew(vec![LeaseId(7), LeaseId(-8)]),
        ),
        ("lease_expire", Command::LeaseExpire(expiries)),
        (
            "alarm_raise",
            alarm(u64::MAX, Some(AlarmKind::NoSpace), true),
        ),
        ("alarm_clear", alarm(1, Some(AlarmKind::Corrupt), false)),
        ("alarm_clear_all", alarm(0, None, false)),
        (
            "member_publish",
            Command::MemberPublish(MemberAttributes {
                id: MemberId(3),
                name: "three".to_owned(),
                client_urls: vec!["http://a:1".to_owned(), "https://b:2".to_owned()],
            }),
        ),
    ];
    commands.extend(super::coordination::commands());
    commands.push(("raise_level", Command::RaiseLevel(FeatureLevel(1))));
    commands.push(("keyed_by_client", super::coordination::keyed_by_client()));
    commands.extend(super::users::commands());
    commands
}
