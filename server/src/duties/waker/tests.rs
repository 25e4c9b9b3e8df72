//! Tests of when the waker proposes `Wake`.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use tenure_statemachine::{Acquire, ClaimCommand, LeaseGrant, LeaseId, Ttl, Wait};
use tokio::time::advance;

use super::*;
use crate::{node::ProposeError, rpc::fake::FakeNode};

/// Claims `a` for a new lease.
fn claim(node: &FakeNode, lease: i64, wait: Wait) {
    node.apply(&Command::LeaseGrant(LeaseGrant {
        id: LeaseId(lease),
        ttl: Ttl::from_secs(1000),
    }));
    let acquire = Acquire {
        names: vec![Bytes::from_static(b"a")],
        lease: LeaseId(lease),
        wait,
        ..Acquire::default()
    };
    let outcome = node.apply(&Command::Claim(ClaimCommand::Acquire(acquire)));
    assert!(outcome.reply.is_ok(), "{outcome:?}");
}

fn wakes(node: &FakeNode) -> usize {
    let proposals = node.proposals.lock();
    proposals
        .iter()
        .filter(|command| **command == Command::Wake)
        .count()
}

fn waits(node: &FakeNode) -> bool {
    let engine = node.engine();
    let reader = Reader::new(engine.as_ref()).expect("reads");
    let claim = reader.claim_of(b"a", LeaseId(2)).expect("reads");
    claim.is_some()
}

fn start(node: &Arc<FakeNode>) {
    let replica: Arc<dyn Replica> = Arc::clone(node) as _;
    _ = Waker::spawn(replica, Arc::clone(&node.claims));
}

/// Advances cluster time and the runtime's clock, in steps after which the waker may check.
async fn pass(node: &FakeNode, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        let step = PACE.min(until - Instant::now());
        settle().await;
        let millis = u64::try_from(step.as_millis()).expect("a short time");
        node.now.fetch_add(millis, Ordering::SeqCst);
        advance(step).await;
    }
    settle().await;
}

/// Lets the waker run until it waits for time to pass.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_over_when_its_time_has_come_and_not_before() {
    let node = FakeNode::leading();
    start(&node);
    claim(&node, 1, Wait::Always);
    pass(&node, Duration::from_secs(60)).await;
    assert_eq!(wakes(&node), 0, "nothing is due while nobody waits");
    claim(&node, 2, Wait::Within(Ttl(300)));
    pass(&node, Duration::from_millis(250)).await;
    assert!(waits(&node));
    assert_eq!(wakes(&node), 0);
    pass(&node, Duration::from_millis(100)).await;
    assert!(!waits(&node));
    assert_eq!(wakes(&node), 1);
    pass(&node, Duration::from_secs(60)).await;
    assert_eq!(wakes(&node), 1, "nothing is left to do");
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_was_set_before_it_led_is_found_by_a_new_leader() {
    let node = FakeNode::leading();
    node.set_leader(None);
    start(&node);
    claim(&node, 1, Wait::Always);
    claim(&node, 2, Wait::Within(Ttl(300)));
    pass(&node, Duration::from_secs(60)).await;
    assert_eq!(wakes(&node), 0, "a follower proposes nothing");
    node.set_leader(Some(crate::rpc::fake::MEMBER));
    settle().await;
    assert_eq!(wakes(&node), 1);
    assert!(!waits(&node));
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_replicated_is_tried_again() {
    let node = FakeNode::leading();
    start(&node);
    claim(&node, 1, Wait::Always);
    claim(&node, 2, Wait::Within(Ttl(300)));
    *node.propose_error.lock() = Some(ProposeError::NoLeader);
    pass(&node, Duration::from_secs(1)).await;
    assert!(waits(&node) && wakes(&node) > 1);
    *node.propose_error.lock() = None;
    pass(&node, RETRY_PAUSE).await;
    assert!(!waits(&node));
}
