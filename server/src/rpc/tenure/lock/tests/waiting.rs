//! Waiting for a lock: grants, the end of a wait, and cancelled calls.

use tenure_statemachine::{ClaimCommand, LeaseExpiry};

use super::*;
use crate::node::ProposeError;

fn withdrawals(node: &FakeNode) -> Vec<(Bytes, i64)> {
    let proposals = node.proposals.lock();
    let found = proposals.iter().filter_map(|command| match command {
        Command::Claim(ClaimCommand::Withdraw(Withdraw { name, lease, .. })) => {
            Some((name.clone(), lease.0))
        }
        _ => None,
    });
    found.collect()
}

fn with_id(request: wire::AcquireRequest, key: &str) -> wire::AcquireRequest {
    wire::AcquireRequest {
        options: Some(wire::WriteOptions {
            idempotency_key: key.to_owned(),
            ..wire::WriteOptions::default()
        }),
        ..request
    }
}

#[tokio::test]
async fn waiters_are_granted_in_turn_each_with_one_wake_up() {
    let it = Fixture::new();
    let mut held = token(&it.hold(ask("a", 1)).await);
    let mut streams = Vec::new();
    for lease in 2..6 {
        let mut stream = it.acquire(ask("a", lease)).await.expect("admitted");
        queued_on(&mut stream).await;
        streams.push(stream);
    }
    for mut stream in streams {
        assert!(poll!(stream.next()).is_pending());
        it.release(held).await.expect("released");
        let next = token(&granted_on(&mut stream).await);
        assert!(next > held);
        held = next;
        assert!(stream.next().await.is_none());
    }
    assert_eq!(it.node.metrics.lock.wakeups.get(), 4);
    assert_eq!(it.node.metrics.lock.grants.get(), 5);
    assert_eq!(it.node.metrics.lock.waiters.get(), 0);
    assert_eq!(withdrawals(&it.node), []);
}

#[tokio::test]
async fn a_dropped_stream_leaves_the_queue() {
    let it = Fixture::new();
    it.hold(ask("a", 1)).await;
    let mut leaver = it.acquire(ask("a", 2)).await.expect("admitted");
    queued_on(&mut leaver).await;
    let mut other = it.acquire(ask("a", 3)).await.expect("admitted");
    queued_on(&mut other).await;
    assert!(poll!(leaver.next()).is_pending());
    drop(leaver);
    it.until_claimed_by(&[1, 3]).await;
    assert_eq!(withdrawals(&it.node), [("a".into(), 2)]);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_and_asks_again_at_once_is_not_in_its_own_way() {
    let it = Fixture::new();
    let held = token(&it.hold(ask("a", 1)).await);
    let mut first = it.acquire(ask("a", 2)).await.expect("admitted");
    queued_on(&mut first).await;
    *it.node.propose_error.lock() = Some(ProposeError::NoLeader);
    drop(first);
    let mut again = Box::pin(it.acquire(ask("a", 2)));
    assert!(poll!(&mut again).is_pending(), "the claim is still there");
    *it.node.propose_error.lock() = None;
    let mut again = again.await.expect("admitted");
    queued_on(&mut again).await;
    it.release(held).await.expect("released");
    assert_eq!(granted_on(&mut again).await.lease, 2);
    let twice = it.acquire(ask("a", 2)).await.map(|_| ());
    assert_eq!(text(twice), "tenure: lease has a claim already: lock \"a\"");
}

#[tokio::test]
async fn a_grant_that_was_not_read_is_released() {
    let it = Fixture::new();
    let held = token(&it.hold(ask("a", 1)).await);
    let mut leaver = it.acquire(ask("a", 2)).await.expect("admitted");
    queued_on(&mut leaver).await;
    it.release(held).await.expect("released");
    drop(leaver);
    it.until_claimed_by(&[]).await;
    let unread = it.acquire(ask("a", 3)).await.expect("admitted");
    it.until_claimed_by(&[3]).await;
    drop(unread);
    it.until_claimed_by(&[]).await;
}

#[tokio::test]
async fn with_a_request_id_the_claim_stays_and_the_request_finds_it_again() {
    let it = Fixture::new();
    let held = token(&it.hold(ask("a", 1)).await);
    let request = with_id(ask("a", 2), "once");
    let mut first = it.acquire(request.clone()).await.expect("admitted");
    let place = queued_on(&mut first).await.claims;
    drop(first);
    let mut again = it.acquire(request.clone()).await.expect("admitted");
    assert_eq!(queued_on(&mut again).await.claims, place);
    it.release(held).await.expect("released");
    let granted = granted_on(&mut again).await;
    drop(again);
    let mut late = it.acquire(request.clone()).await.expect("admitted");
    assert_eq!(granted_on(&mut late).await.claims, granted.claims);
    it.release(token(&granted)).await.expect("released");
    let gone = it.acquire(request).await.map(|_| ());
    assert_eq!(
        reason_of(&gone.expect_err("gone")),
        Some(Reason::ClaimEnded)
    );
    assert_eq!(withdrawals(&it.node), []);
}

#[tokio::test]
async fn a_repeat_finds_the_claim_of_a_lease_that_was_made_for_it() {
    let it = Fixture::new();
    let request = wire::AcquireRequest {
        ttl_ms: 60_000,
        ..with_id(ask("a", 0), "once")
    };
    let first = it.hold(request.clone()).await;
    let again = it.hold(request).await;
    assert_eq!((first.lease, first.claims), (again.lease, again.claims));
}

#[tokio::test]
async fn a_wait_that_is_over_ends_the_stream() {
    let it = Fixture::new();
    it.hold(ask("a", 1)).await;
    let request = wire::AcquireRequest {
        wait_ms: 300,
        ..ask("a", 2)
    };
    let mut stream = it.acquire(request).await.expect("admitted");
    queued_on(&mut stream).await;
    it.node.now.fetch_add(300, Ordering::SeqCst);
    it.node.apply(&Command::Wake);
    let status = stream.next().await.expect("an end").expect_err("over");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.message(), "tenure: wait is over: lock \"a\"");
    assert!(stream.next().await.is_none());
    it.until_claimed_by(&[1]).await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_without_an_end_signal_is_given_up_and_withdrawn() {
    let it = Fixture::new();
    it.hold(ask("a", 1)).await;
    let request = wire::AcquireRequest {
        wait_ms: 300,
        ..ask("a", 2)
    };
    let mut stream = it.acquire(request).await.expect("admitted");
    queued_on(&mut stream).await;
    let status = stream.next().await.expect("an end").expect_err("over");
    assert_eq!(reason_of(&status), Some(Reason::WaitOver));
    it.until_claimed_by(&[1]).await;
}

#[tokio::test]
async fn a_waiter_whose_lease_ends_fails() {
    let it = Fixture::new();
    it.hold(ask("a", 1)).await;
    let mut stream = it.acquire(ask("a", 2)).await.expect("admitted");
    queued_on(&mut stream).await;
    it.node.apply(&Command::LeaseRevoke(LeaseId(2)));
    let status = stream.next().await.expect("an end").expect_err("ended");
    assert_eq!(
        status.message(),
        "tenure: lease ended while its claim waited: lock \"a\""
    );
}

#[tokio::test]
async fn when_the_holder_is_lost_the_next_is_granted_after_the_delay() {
    let it = Fixture::new();
    it.hold(wire::AcquireRequest {
        lock_delay_ms: 500,
        ..ask("a", 1)
    })
    .await;
    let mut stream = it.acquire(ask("a", 2)).await.expect("admitted");
    queued_on(&mut stream).await;
    it.node.now.fetch_add(1_000_000, Ordering::SeqCst);
    for generation in 0..2 {
        it.node.apply(&Command::LeaseExpire(vec![LeaseExpiry {
            id: LeaseId(1),
            generation,
            term: TERM,
        }]));
    }
    assert!(poll!(stream.next()).is_pending());
    let now = it.inspect().await;
    assert_eq!((now.holders.len(), now.waiting, now.delay_ms), (0, 1, 500));
    it.node.now.fetch_add(500, Ordering::SeqCst);
    it.node.apply(&Command::Wake);
    assert_eq!(granted_on(&mut stream).await.lease, 2);
}

#[tokio::test]
async fn several_locks_are_granted_together_or_not_at_all() {
    let it = Fixture::new();
    let held = token(&it.hold(ask("a", 1)).await);
    let both = wire::AcquireRequest {
        names: vec!["b".into(), "a".into()],
        ..ask("a", 2)
    };
    let mut stream = it.acquire(both).await.expect("admitted");
    let queued = queued_on(&mut stream).await;
    let names: Vec<_> = queued
        .claims
        .iter()
        .map(|claim| claim.name.clone())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert!(queued.claims.iter().all(|claim| !claim.held));
    it.release(held).await.expect("released");
    let granted = granted_on(&mut stream).await;
    assert!(granted.claims.len() == 2 && granted.claims.iter().all(|claim| claim.held));
}

#[tokio::test]
async fn several_claims_whose_caller_is_gone_are_all_withdrawn() {
    let it = Fixture::new();
    it.hold(ask("a", 1)).await;
    let both = wire::AcquireRequest {
        names: vec!["b".into(), "a".into()],
        ..ask("a", 2)
    };
    drop(it.acquire(both).await.expect("admitted"));
    it.until_claimed_by(&[1]).await;
    while withdrawals(&it.node).len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(withdrawals(&it.node), [("a".into(), 2), ("b".into(), 2)]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_made_for_a_claim_ends_with_it() {
    let it = Fixture::new();
    it.hold(ask("a", 1)).await;
    let revoked = |lease: i64| {
        let proposals = it.node.proposals.lock();
        let revoke =
            |command: &Command| matches!(command, Command::LeaseRevoke(id) if id.0 == lease);
        proposals.iter().any(revoke)
    };
    let making = |wait_ms| wire::AcquireRequest {
        ttl_ms: 5000,
        wait_ms,
        ..ask("a", 0)
    };
    let mut leaver = it.acquire(making(0)).await.expect("admitted");
    let left = queued_on(&mut leaver).await.lease;
    drop(leaver);
    let mut late = it.acquire(making(300)).await.expect("admitted");
    let over = queued_on(&mut late).await.lease;
    let status = late.next().await.expect("an end").expect_err("over");
    assert_eq!(reason_of(&status), Some(Reason::WaitOver));
    it.until_claimed_by(&[1]).await;
    while !revoked(left) || !revoked(over) {
        tokio::task::yield_now().await;
    }
    // The caller that received the grant keeps the lease.
    let granted = it
        .hold(wire::AcquireRequest {
            ttl_ms: 5000,
            ..ask("b", 0)
        })
        .await;
    tokio::task::yield_now().await;
    assert!(!revoked(granted.lease));
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_is_tried_until_it_is_replicated() {
    let it = Fixture::new();
    it.hold(ask("a", 1)).await;
    let mut leaver = it.acquire(ask("a", 2)).await.expect("admitted");
    queued_on(&mut leaver).await;
    *it.node.propose_error.lock() = Some(ProposeError::NoLeader);
    drop(leaver);
    while withdrawals(&it.node).len() < 3 {
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    *it.node.propose_error.lock() = None;
    it.until_claimed_by(&[1]).await;
}

/// One attempt may take the whole of a request timeout on a busy node.
#[tokio::test(start_paused = true)]
async fn a_withdrawal_whose_attempts_time_out_is_tried_again() {
    let it = Fixture::new();
    it.hold(ask("a", 1)).await;
    let mut leaver = it.acquire(ask("a", 2)).await.expect("admitted");
    queued_on(&mut leaver).await;
    *it.node.propose_error.lock() = Some(ProposeError::TimedOut);
    drop(leaver);
    let dropped = tokio::time::Instant::now();
    while dropped.elapsed() < Limits::standard().request_timeout * 3 {
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    let tried = withdrawals(&it.node).len();
    *it.node.propose_error.lock() = None;
    while withdrawals(&it.node).len() == tried {
        let waited = dropped.elapsed();
        assert!(
            waited < Limits::standard().request_timeout * 4,
            "it is not tried again"
        );
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    it.until_claimed_by(&[1]).await;
}

#[tokio::test(start_paused = true)]
async fn a_second_claim_that_fails_takes_nothing_from_the_first() {
    let it = Fixture::new();
    let held = token(&it.hold(ask("a", 1)).await);
    // The outcome is unknown.
    *it.node.propose_error.lock() = Some(ProposeError::LeaderLost);
    it.acquire(ask("a", 1)).await.map(drop).expect_err("failed");
    while withdrawals(&it.node).is_empty() {
        tokio::task::yield_now().await;
    }
    *it.node.propose_error.lock() = None;
    let tried = withdrawals(&it.node).len();
    while withdrawals(&it.node).len() == tried {
        tokio::time::advance(Duration::from_millis(50)).await;
    }
    // It is refused after its caller is gone.
    let mut gone = Box::pin(it.acquire(ask("a", 1)));
    assert!(poll!(&mut gone).is_pending());
    drop(gone);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(token(&it.hold(ask("b", 1)).await), held + 1);
    let holders = it.inspect().await.holders;
    assert_eq!(
        holders.iter().map(|it| it.token).collect::<Vec<_>>(),
        [held]
    );
}

#[tokio::test]
async fn a_claim_of_unknown_outcome_is_withdrawn_and_one_that_never_left_is_not() {
    let it = Fixture::new();
    *it.node.propose_error.lock() = Some(ProposeError::NoLeader);
    let refused = it.acquire(ask("a", 2)).await.map(|_| ());
    assert_eq!(
        reason_of(&refused.expect_err("no leader")),
        Some(Reason::NoLeader)
    );
    *it.node.propose_error.lock() = Some(ProposeError::LeaderLost);
    let refused = it.acquire(ask("a", 3)).await.map(|_| ());
    let status = refused.expect_err("unknown");
    assert_eq!(reason_of(&status), Some(Reason::WriteLostLeader));
    while withdrawals(&it.node).is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(withdrawals(&it.node), [("a".into(), 3)]);
}

#[tokio::test]
async fn a_waiter_learns_from_the_state_after_a_snapshot() {
    let it = Fixture::new();
    let held = token(&it.hold(ask("a", 1)).await);
    let mut stream = it.acquire(ask("a", 2)).await.expect("admitted");
    queued_on(&mut stream).await;
    it.node.muted.store(true, Ordering::SeqCst);
    it.release(held).await.expect("released");
    assert!(poll!(stream.next()).is_pending(), "nobody told");
    it.node.claims.reset();
    assert!(token(&granted_on(&mut stream).await) > held);
}

#[tokio::test]
async fn a_stopping_node_ends_the_wait_so_that_clients_go_elsewhere() {
    let it = Fixture::new();
    it.hold(ask("a", 1)).await;
    let mut stream = it.acquire(ask("a", 2)).await.expect("admitted");
    queued_on(&mut stream).await;
    it.service.0.drain();
    let status = stream.next().await.expect("an end").expect_err("stopped");
    assert_eq!(reason_of(&status), Some(Reason::Stopped));
    it.until_claimed_by(&[1]).await;
}

#[tokio::test]
async fn without_space_a_new_claim_is_refused_but_a_repeat_is_answered() {
    let it = Fixture::new();
    let request = with_id(ask("a", 1), "once");
    let granted = it.hold(request.clone()).await;
    it.node.logical_bytes.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(it.hold(request).await.claims, granted.claims);
    let refused = it.acquire(ask("b", 1)).await.map(|_| ());
    assert_eq!(
        reason_of(&refused.expect_err("full")),
        Some(Reason::NoSpace)
    );
    let refused = it.acquire(with_id(ask("b", 1), "other")).await.map(|_| ());
    assert_eq!(
        reason_of(&refused.expect_err("full")),
        Some(Reason::NoSpace)
    );
}
