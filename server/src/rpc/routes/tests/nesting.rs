//! Transactions within transactions: how deep, and how many operations in all.

use super::*;

/// A put within `depth` nested transactions.
fn nested(depth: usize) -> TxnRequest {
    let put = PutRequest {
        key: "deep".into(),
        ..PutRequest::default()
    };
    let within = |request| RequestOp {
        request: Some(request),
    };
    let mut txn = TxnRequest {
        success: vec![within(request_op::Request::RequestPut(put))],
        ..TxnRequest::default()
    };
    for _ in 1..depth {
        txn = TxnRequest {
            success: vec![within(request_op::Request::RequestTxn(txn))],
            ..TxnRequest::default()
        };
    }
    txn
}

/// Every list of them is short, and a small message holds very many. They are refused before they
/// are decoded; the last one would be some forty megabytes.
#[tokio::test]
async fn nested_transactions_have_so_many_operations_together_and_no_more() {
    let it = serve().await;
    let full = |levels: usize, length: usize| {
        let mut txn = TxnRequest::default();
        for _ in 0..levels {
            let within = RequestOp {
                request: Some(request_op::Request::RequestTxn(txn)),
            };
            txn = TxnRequest {
                success: vec![within.clone(); length],
                failure: vec![within; length],
                ..TxnRequest::default()
            };
        }
        txn
    };
    let mut kv = KvClient::new(it.channel.clone());
    // 8,190 operations, where 64 lists of 128 may be; 16,382; and 266,304.
    kv.txn(full(12, 1)).await.expect("as many as may be");
    for txn in [full(13, 1), full(3, 32)] {
        let status = kv.txn(txn.clone()).await.expect_err("too many");
        assert_eq!(reason_of(&status), Some(Reason::TooManyOperations));
        let will = v1::SetWillRequest {
            lease: 7,
            transaction: Some(txn),
            ..v1::SetWillRequest::default()
        };
        let mut session = v1::session_client::SessionClient::new(it.channel.clone());
        let status = session.set_will(will).await.expect_err("too many");
        assert_eq!(reason_of(&status), Some(Reason::TooManyOperations));
    }
    assert_eq!(it.node.proposals.lock().len(), 1);
}

/// The decoder has a depth limit of its own, and used to list every level in an internal error.
#[tokio::test]
async fn transactions_are_nested_so_deep_and_deeper_ones_are_refused_in_one_sentence() {
    let it = serve().await;
    let mut kv = KvClient::new(it.channel.clone());
    let answer = kv.txn(nested(48)).await.expect("as deep as may be");
    let mut deepest = answer.into_inner();
    let mut depth = 1;
    while let Some(response_op::Response::ResponseTxn(within)) =
        deepest.responses.remove(0).response
    {
        depth += 1;
        deepest = within;
    }
    assert_eq!(depth, 48);
    for depth in [49, 50, 51, 90, 1000] {
        let status = kv.txn(nested(depth)).await.expect_err("too deep");
        let text = "tenure: transactions are nested too deep: 48 may lie within each other";
        assert_eq!(status.message(), text, "at {depth}");
        assert_eq!(reason_of(&status), Some(Reason::TxnTooDeep));
    }
    assert_eq!(it.node.proposals.lock().len(), 1);
}
