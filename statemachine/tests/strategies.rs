//! Commands at random: few keys, few leases and small revisions, so that they meet each other.
//!
//! Transactions are wilder than the border lets through (they may write a key twice), because the
//! machine must be total.

mod coordination;
pub(crate) mod outcomes;

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::*, sample::select};
use tenure_statemachine::{
    AlarmChange, AlarmKind, Command, Compare, DeleteRange, FeatureLevel, KeyRange, LeaseExpiry,
    LeaseGrant, LeaseId, MemberAttributes, MemberId, Operand, Put, RangeQuery, Relation, Revision,
    SortOrder, SortTarget, Ttl, Txn, TxnOp,
};

pub(crate) use self::coordination::any_command;

/// Keys that are prefixes of each other, with and without zero bytes.
const KEYS: [&[u8]; 8] = [
    b"a", b"a\0", b"a\0\0", b"a\0\xff", b"a\xff", b"ab", b"b", b"\0",
];

/// Values, the empty one among them.
const VALUES: [&[u8]; 4] = [b"", b"1", b"2", b"long \0 value"];

fn key() -> impl Strategy<Value = Bytes> {
    select(&KEYS).prop_map(Bytes::from_static)
}

fn value() -> impl Strategy<Value = Bytes> {
    select(&VALUES).prop_map(Bytes::from_static)
}

pub(crate) fn range() -> impl Strategy<Value = KeyRange> {
    let end = prop_oneof![
        3 => Just(Bytes::new()),
        3 => key(),
        2 => Just(Bytes::from_static(b"\0")),
        1 => Just(Bytes::from_static(b"z")),
    ];
    (key(), end).prop_map(|(key, end)| KeyRange::from_wire(key, end))
}

fn lease() -> impl Strategy<Value = LeaseId> {
    prop_oneof![3 => Just(0_i64), 5 => select(&[1_i64, 2, 3, -7])].prop_map(LeaseId)
}

fn revision() -> impl Strategy<Value = Revision> {
    prop_oneof![5 => Just(0_i64), 5 => -2_i64..25].prop_map(Revision)
}

fn put() -> impl Strategy<Value = Put> {
    let flags = (
        any::<bool>(),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.1),
    );
    (key(), value(), lease(), flags).prop_map(
        |(key, value, lease, (want_previous, ignore_value, ignore_lease))| Put {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if ignore_lease { LeaseId::NONE } else { lease },
            want_previous,
            ignore_value,
            ignore_lease,
        },
    )
}

fn delete() -> impl Strategy<Value = DeleteRange> {
    (range(), any::<bool>()).prop_map(|(range, want_previous)| DeleteRange {
        range,
        want_previous,
    })
}

pub(crate) fn query() -> impl Strategy<Value = RangeQuery> {
    let order = select(&[SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let target = select(&[
        SortTarget::Key,
        SortTarget::Version,
        SortTarget::Create,
        SortTarget::Mod,
        SortTarget::Value,
    ]);
    let filters = prop_oneof![
        3 => Just([Revision(0); 4]),
        1 => [revision(), revision(), revision(), revision()],
    ];
    let flags = (prop::bool::weighted(0.2), prop::bool::weighted(0.1));
    (
        range(),
        -1_i64..5,
        revision(),
        order,
        target,
        flags,
        filters,
    )
        .prop_map(
            |(
                range,
                limit,
                revision,
                sort_order,
                sort_target,
                (keys_only, count_only),
                filters,
            )| {
                let [min_mod, max_mod, min_create, max_create] = filters;
                RangeQuery {
                    range,
                    limit,
                    revision,
                    sort_order,
                    sort_target,
                    keys_only,
                    count_only,
                    min_mod_revision: min_mod,
                    max_mod_revision: max_mod,
                    min_create_revision: min_create,
                    max_create_revision: max_create,
                }
            },
        )
}

fn compare() -> impl Strategy<Value = Compare> {
    let relation = select(&[
        Relation::Equal,
        Relation::Greater,
        Relation::Less,
        Relation::NotEqual,
    ]);
    let operand = prop_oneof![
        (0_i64..3).prop_map(Operand::Version),
        revision().prop_map(Operand::Create),
        revision().prop_map(Operand::Mod),
        value().prop_map(Operand::Value),
        lease().prop_map(Operand::Lease),
    ];
    (range(), relation, operand).prop_map(|(range, relation, operand)| Compare {
        range,
        relation,
        operand,
    })
}

pub(crate) fn txn() -> impl Strategy<Value = Txn> {
    let leaf = prop_oneof![
        2 => query().prop_map(TxnOp::Range),
        3 => put().prop_map(TxnOp::Put),
        1 => delete().prop_map(TxnOp::DeleteRange),
    ];
    let op = leaf.prop_recursive(3, 12, 3, |op| list_of(op).prop_map(TxnOp::Txn));
    list_of(op)
}

/// A transaction that only reads, with others within that only read.
pub(crate) fn read_txn() -> impl Strategy<Value = Txn> {
    let leaf = query().prop_map(TxnOp::Range);
    let op = leaf.prop_recursive(3, 12, 3, |op| list_of(op).prop_map(TxnOp::Txn));
    list_of(op)
}

fn list_of(op: impl Strategy<Value = TxnOp> + Clone) -> impl Strategy<Value = Txn> {
    (vec(compare(), 0..3), vec(op.clone(), 0..4), vec(op, 0..4)).prop_map(
        |(compare, success, failure)| Txn {
            compare,
            success,
            failure,
        },
    )
}

fn alarm() -> impl Strategy<Value = AlarmChange> {
    let kind = option::of(select(&[AlarmKind::NoSpace, AlarmKind::Corrupt]));
    // Clearing everything is common, so that runs do not end under an alarm.
    prop_oneof![
        2 => Just(AlarmChange { member: MemberId(0), kind: None, active: false }),
        6 => (0_u64..3, kind.clone())
            .prop_map(|(id, kind)| AlarmChange { member: MemberId(id), kind, active: false }),
        1 => (0_u64..3, kind, any::<bool>())
            .prop_map(|(id, kind, active)| AlarmChange { member: MemberId(id), kind, active }),
    ]
}

fn member() -> impl Strategy<Value = MemberAttributes> {
    (0_u64..4, "[a-z]{0,3}", vec("[a-z:/]{0,8}", 0..3)).prop_map(|(id, name, client_urls)| {
        MemberAttributes {
            id: MemberId(id),
            name,
            client_urls,
        }
    })
}

fn some_lease() -> impl Strategy<Value = LeaseId> {
    select(&[1_i64, 2, 3, -7]).prop_map(LeaseId)
}

pub(crate) fn command() -> impl Strategy<Value = Command> {
    let expiry =
        (some_lease(), 0_u64..4, 1_u64..3).prop_map(|(id, generation, term)| LeaseExpiry {
            id,
            generation,
            term,
        });
    let grant = (some_lease(), 0_u64..50).prop_map(|(id, ttl)| LeaseGrant { id, ttl: Ttl(ttl) });
    prop_oneof![
        12 => put().prop_map(Command::Put),
        4 => delete().prop_map(Command::DeleteRange),
        8 => txn().prop_map(Command::Txn),
        2 => (-1_i64..25).prop_map(|revision| Command::Compact(Revision(revision))),
        5 => grant.prop_map(Command::LeaseGrant),
        2 => some_lease().prop_map(Command::LeaseRevoke),
        2 => vec(some_lease(), 0..4).prop_map(Command::LeaseRenew),
        3 => vec(expiry, 0..4).prop_map(Command::LeaseExpire),
        2 => alarm().prop_map(Command::Alarm),
        1 => member().prop_map(Command::MemberPublish),
        1 => Just(Command::RaiseLevel(FeatureLevel::NEWEST)),
    ]
}

/// Commands with the stamps of their entries, which need not ascend.
pub(crate) fn commands(max: usize) -> impl Strategy<Value = Vec<(u64, Command)>> {
    vec((0_u64..200, command()), 1..max)
}
