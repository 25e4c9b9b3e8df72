//! Refusals of malformed requests and of revisions, and their order.

use tenure_proto::metadata::OUTCOME_METADATA;

use super::*;

#[tokio::test]
async fn puts_are_refused_at_the_border_in_order() {
    let (node, service) = service_with(Limits {
        request_bytes_max: 64,
        ..Limits::standard()
    });
    let conflict = PutRequest {
        ignore_value: true,
        ignore_lease: true,
        lease: 1,
        ..put("", "x")
    };
    assert_eq!(
        refused_put(&service, conflict.clone()).await,
        Reason::EmptyKey
    );
    let conflict = PutRequest {
        key: "a".into(),
        ..conflict
    };
    assert_eq!(
        refused_put(&service, conflict.clone()).await,
        Reason::ValueProvided
    );
    let conflict = PutRequest {
        value: "".into(),
        ..conflict
    };
    assert_eq!(refused_put(&service, conflict).await, Reason::LeaseProvided);
    let large = PutRequest {
        value: vec![b'x'; 64].into(),
        ..put("a", "")
    };
    assert_eq!(refused_put(&service, large).await, Reason::RequestTooLarge);
    assert!(node.proposals.lock().is_empty());
    let absent = PutRequest {
        ignore_value: true,
        ..put("a", "")
    };
    assert_eq!(refused_put(&service, absent).await, Reason::KeyNotFound);
    let unknown = PutRequest {
        lease: 9,
        ..put("a", "")
    };
    assert_eq!(refused_put(&service, unknown).await, Reason::LeaseNotFound);
}

#[tokio::test]
async fn ranges_are_refused_for_their_form_and_their_revision() {
    let (_node, service) = service();
    assert_eq!(
        refused_range(&service, RangeRequest::default()).await,
        Reason::EmptyKey
    );
    let order = RangeRequest {
        sort_order: 9,
        ..all()
    };
    assert_eq!(
        refused_range(&service, order).await,
        Reason::InvalidSortOption
    );
    let target = RangeRequest {
        sort_target: -1,
        ..all()
    };
    assert_eq!(
        refused_range(&service, target).await,
        Reason::InvalidSortOption
    );
    let future = RangeRequest {
        revision: 2,
        ..all()
    };
    assert_eq!(
        refused_range(&service, future).await,
        Reason::FutureRevision
    );
    for value in ["1", "2", "3"] {
        Kv::put(&service, Request::new(put("a", value)))
            .await
            .expect("put");
    }
    let compact = CompactionRequest {
        revision: 3,
        physical: false,
    };
    Kv::compact(&service, Request::new(compact))
        .await
        .expect("compact");
    let status = Kv::compact(&service, Request::new(compact))
        .await
        .expect_err("compacted");
    assert_eq!(reason_of(&status), Some(Reason::Compacted));
    let past = RangeRequest {
        revision: 2,
        ..all()
    };
    assert_eq!(refused_range(&service, past).await, Reason::Compacted);
    let floor = RangeRequest {
        revision: 3,
        ..all()
    };
    let reply = Kv::range(&service, Request::new(floor))
        .await
        .expect("readable");
    assert_eq!(reply.get_ref().kvs[0].value.as_ref(), b"2");
    assert_eq!(
        reply
            .get_ref()
            .header
            .as_ref()
            .map(|header| header.revision),
        Some(4)
    );
}

#[tokio::test]
async fn nested_transactions_share_the_budget_of_operations() {
    let limits = Limits {
        txn_operations_max: 3,
        ..Limits::standard()
    };
    let (node, service) = service_with(limits);
    let puts = |count: usize| {
        let keys = ["a", "b", "c", "d"];
        keys.iter()
            .take(count)
            .map(|key| op(Op::RequestPut(put(key, ""))))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        refused_txn(&service, success(puts(4))).await,
        Reason::TooManyOperations
    );
    // The outer transaction uses one of three: two are left for the nested one.
    assert_eq!(
        refused_txn(&service, within(success(puts(3)))).await,
        Reason::TooManyOperations
    );
    assert!(
        Kv::txn(&service, Request::new(within(success(puts(2)))))
            .await
            .is_ok()
    );
    assert_eq!(node.proposals.lock().len(), 1);
}

#[tokio::test]
async fn malformed_transactions_are_refused_at_every_depth() {
    let (node, service) = service();
    let compare = TxnRequest {
        compare: vec![Compare::default()],
        ..TxnRequest::default()
    };
    assert_eq!(
        refused_txn(&service, compare.clone()).await,
        Reason::EmptyKey
    );
    assert_eq!(
        refused_txn(&service, within(compare)).await,
        Reason::EmptyKey
    );
    let nothing = success(vec![RequestOp { request: None }]);
    assert_eq!(refused_txn(&service, nothing).await, Reason::KeyNotFound);
    let bad_put = success(vec![op(Op::RequestPut(PutRequest {
        ignore_value: true,
        ..put("a", "x")
    }))]);
    assert_eq!(
        refused_txn(&service, within(bad_put)).await,
        Reason::ValueProvided
    );
    let sort = RangeRequest {
        sort_order: 7,
        ..all()
    };
    let bad_range = success(vec![op(Op::RequestRange(sort))]);
    assert_eq!(
        refused_txn(&service, bad_range).await,
        Reason::InvalidSortOption
    );
    let twice = vec![
        op(Op::RequestPut(put("a", ""))),
        op(Op::RequestPut(put("a", ""))),
    ];
    assert_eq!(
        refused_txn(&service, success(twice.clone())).await,
        Reason::DuplicateKey
    );
    let failure = TxnRequest {
        failure: twice,
        ..TxnRequest::default()
    };
    assert_eq!(refused_txn(&service, failure).await, Reason::DuplicateKey);
    let relation = Compare {
        key: "a".into(),
        result: 9,
        ..Compare::default()
    };
    let compare = TxnRequest {
        compare: vec![relation],
        ..TxnRequest::default()
    };
    assert_eq!(refused_txn(&service, compare).await, Reason::InvalidCompare);
    assert_eq!(node.proposals.lock().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_compaction_that_was_done_is_no_definite_failure_when_its_collection_does_not_end() {
    let (_node, service) = service();
    for value in ["1", "2"] {
        Kv::put(&service, Request::new(put("a", value)))
            .await
            .expect("put");
    }
    let compact = CompactionRequest {
        revision: 3,
        physical: true,
    };
    let ended = Kv::compact(&service, Request::new(compact)).await;
    let ended = ended.expect_err("nothing is collected");
    assert_eq!(reason_of(&ended), Some(Reason::WriteTimedOut));
    let outcome = ended.metadata().get(OUTCOME_METADATA);
    assert_eq!(outcome.expect("an outcome"), "unknown");
    let past = RangeRequest {
        revision: 2,
        ..all()
    };
    assert_eq!(refused_range(&service, past).await, Reason::Compacted);
}
