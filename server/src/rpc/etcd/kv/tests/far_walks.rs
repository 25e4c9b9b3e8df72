//! Far walks take turns; other writes never wait.

use std::pin::pin;

use futures::poll;
use tenure_proto::etcdserverpb::TxnResponse;

use super::*;

/// More keys than count as near.
const KEYS: usize = NEAR_ROWS_MAX + 1;

fn filled() -> (Arc<FakeNode>, KvService) {
    let (node, service) = service();
    for number in 0..KEYS {
        node.apply(&Command::Put(tenure_statemachine::Put {
            key: format!("key-{number:06}").into(),
            ..Default::default()
        }));
    }
    (node, service)
}

/// A transaction that writes one key and visits every key of a range.
fn walking(range_end: &'static str) -> TxnRequest {
    success(vec![
        op(Op::RequestPut(put("other", "1"))),
        op(Op::RequestRange(RangeRequest {
            key: "key-".into(),
            range_end: range_end.into(),
            limit: 1,
            ..RangeRequest::default()
        })),
    ])
}

async fn txn(service: &KvService, request: TxnRequest) -> Result<Response<TxnResponse>, Status> {
    Kv::txn(service, Request::new(request)).await
}

/// Holds the turn, as a far walk does until it is applied.
async fn hold(service: &KvService) -> impl Sized {
    let call = service.0.admit(&Request::new(())).expect("admitted");
    let turn = service.0.far_walks.turn(&service.0, &call, |_| Ok(true));
    turn.await.expect("the first has its turn")
}

#[tokio::test]
async fn a_write_that_walks_far_waits_for_the_one_before_it_and_others_do_not() {
    let (_node, service) = filled();
    let turn = hold(&service).await;
    let mut far = pin!(txn(&service, walking("key.")));
    assert!(poll!(&mut far).is_pending());
    txn(&service, walking("key-0001")).await.expect("near");
    Kv::put(&service, Request::new(put("a", "1")))
        .await
        .expect("a put");
    let mut delete = pin!(Kv::delete_range(
        &service,
        Request::new(DeleteRangeRequest {
            key: "key-".into(),
            range_end: "key.".into(),
            prev_kv: false,
        })
    ));
    assert!(poll!(&mut delete).is_pending());
    assert!(poll!(&mut far).is_pending());
    drop(turn);
    far.await.expect("its turn");
    let deleted = delete.await.expect("its turn").into_inner().deleted;
    assert_eq!(deleted, KEYS as i64);
}

#[tokio::test(start_paused = true)]
async fn too_many_that_wait_are_refused_and_one_that_gives_up_was_not_proposed() {
    let (node, service) = filled();
    let turn = hold(&service).await;
    let mut waiting = Vec::new();
    // One of them holds the turn.
    for _ in 0..31 {
        let mut far = Box::pin(txn(&service, walking("key.")));
        assert!(poll!(&mut far).is_pending());
        waiting.push(far);
    }
    let refused = txn(&service, walking("key.")).await.expect_err("one more");
    assert_eq!(reason_of(&refused), Some(Reason::TooManyRequests));
    // A cancelled call makes room.
    waiting.pop();
    let mut next = Box::pin(txn(&service, walking("key.")));
    assert!(poll!(&mut next).is_pending());
    let late = next.await.expect_err("its deadline passed");
    assert_eq!(reason_of(&late), Some(Reason::TimedOut));
    assert!(node.proposals.lock().is_empty());
    drop(turn);
}

/// Lets every ready task run.
async fn settle() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_turn_goes_with_what_was_proposed_although_its_caller_left() {
    let (node, service) = filled();
    node.is_stalled.send_replace(true);
    let proposed = || node.proposals.lock().len();
    let mut first = Box::pin(txn(&service, walking("key.")));
    assert!(poll!(&mut first).is_pending());
    settle().await;
    assert_eq!(proposed(), 1);
    drop(first);
    let mut second = pin!(txn(&service, walking("key.")));
    assert!(poll!(&mut second).is_pending());
    settle().await;
    assert_eq!(proposed(), 1, "the first is on its way");
    node.is_stalled.send_replace(false);
    second.await.expect("its turn");
    assert_eq!(proposed(), 2);
}
