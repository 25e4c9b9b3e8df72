//! The commands of valid requests.

use bytes::Bytes;
use tenure_statemachine::RangeEnd;

use super::*;

fn compared(target: CompareTarget, operand: Option<TargetUnion>) -> Operand {
    let request = wire::Compare {
        key: "a".into(),
        target: target as i32,
        target_union: operand,
        ..wire::Compare::default()
    };
    compare(request).expect("valid").operand
}

#[test]
fn operands_follow_the_target_and_count_as_zero_when_they_are_of_another_kind() {
    let revision = Revision(5);
    for (target, given, expected, absent) in [
        (
            CompareTarget::Version,
            TargetUnion::Version(5),
            Operand::Version(5),
            Operand::Version(0),
        ),
        (
            CompareTarget::Create,
            TargetUnion::CreateRevision(5),
            Operand::Create(revision),
            Operand::Create(Revision(0)),
        ),
        (
            CompareTarget::Mod,
            TargetUnion::ModRevision(5),
            Operand::Mod(revision),
            Operand::Mod(Revision(0)),
        ),
        (
            CompareTarget::Value,
            TargetUnion::Value("v".into()),
            Operand::Value("v".into()),
            Operand::Value(Bytes::new()),
        ),
        (
            CompareTarget::Lease,
            TargetUnion::Lease(5),
            Operand::Lease(LeaseId(5)),
            Operand::Lease(LeaseId::NONE),
        ),
    ] {
        assert_eq!(compared(target, Some(given)), expected);
        assert_eq!(compared(target, None), absent);
        let other = match target {
            CompareTarget::Version => TargetUnion::Lease(5),
            CompareTarget::Create
            | CompareTarget::Mod
            | CompareTarget::Value
            | CompareTarget::Lease => TargetUnion::Version(5),
        };
        assert_eq!(compared(target, Some(other)), absent);
    }
}

#[test]
fn every_relation_order_and_target_arrives_as_what_it_is() {
    let relation = |result: CompareResult| {
        let request = wire::Compare {
            key: "a".into(),
            result: result as i32,
            ..wire::Compare::default()
        };
        compare(request).expect("valid").relation
    };
    assert_eq!(relation(CompareResult::Equal), Relation::Equal);
    assert_eq!(relation(CompareResult::Greater), Relation::Greater);
    assert_eq!(relation(CompareResult::Less), Relation::Less);
    assert_eq!(relation(CompareResult::NotEqual), Relation::NotEqual);

    let sorted = |order: i32, target: i32| {
        let request = wire::RangeRequest {
            key: "a".into(),
            sort_order: order,
            sort_target: target,
            ..wire::RangeRequest::default()
        };
        let query = range(request).expect("valid");
        (query.sort_order, query.sort_target)
    };
    assert_eq!(sorted(0, 0), (SortOrder::None, SortTarget::Key));
    assert_eq!(sorted(1, 1), (SortOrder::Ascend, SortTarget::Version));
    assert_eq!(sorted(2, 2), (SortOrder::Descend, SortTarget::Create));
    assert_eq!(sorted(2, 3), (SortOrder::Descend, SortTarget::Mod));
    assert_eq!(sorted(2, 4), (SortOrder::Descend, SortTarget::Value));
}

#[test]
fn a_range_keeps_its_bounds_filters_and_flags() {
    let request = wire::RangeRequest {
        key: "a".into(),
        range_end: "\0".into(),
        limit: 1,
        revision: 2,
        keys_only: true,
        count_only: true,
        min_mod_revision: 3,
        max_mod_revision: 4,
        min_create_revision: 5,
        max_create_revision: 6,
        ..wire::RangeRequest::default()
    };
    let query = range(request).expect("valid");
    assert_eq!((query.limit, query.revision), (1, Revision(2)));
    assert_eq!(
        (query.range.start.as_ref(), query.range.end),
        (&b"a"[..], RangeEnd::Unbounded)
    );
    assert!(query.keys_only && query.count_only);
    assert_eq!(
        (query.min_mod_revision, query.max_mod_revision),
        (Revision(3), Revision(4))
    );
    assert_eq!(
        (query.min_create_revision, query.max_create_revision),
        (Revision(5), Revision(6))
    );
}

#[test]
fn the_dearer_branch_is_what_a_transaction_costs() {
    let put = |size: usize| {
        TxnOp::Put(Put {
            key: "k".into(),
            value: vec![0; size].into(),
            ..Put::default()
        })
    };
    let within = Txn {
        failure: vec![put(10), put(20)],
        ..Txn::default()
    };
    let all = RangeQuery::latest(KeyRange::single("k".into()));
    let txn = Txn {
        success: vec![put(100), TxnOp::Range(all.clone())],
        failure: vec![TxnOp::Txn(within)],
        ..Txn::default()
    };
    assert_eq!(txn_cost(&txn), 2 * 257 + 30);
    let reads = Txn {
        success: vec![TxnOp::Range(all)],
        ..Txn::default()
    };
    assert_eq!(txn_cost(&reads), 0);
    assert!(is_read_only(&reads) && !is_read_only(&txn));
}
