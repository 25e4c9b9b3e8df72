//! Tests of which subscribers the hub notifies.

use std::collections::BTreeSet;

use futures::poll;
use tenure_statemachine::{ClusterTime, EndCause, Facts, KeyValue, Reply, Revision};

use super::{super::waiter::News, *};
use crate::{config::MetricsLevel, metrics::Metrics};

fn hub() -> Arc<ClaimHub> {
    ClaimHub::new(Metrics::new(MetricsLevel::Basic).lock.clone())
}

fn name(name: &'static str) -> Bytes {
    Bytes::from_static(name.as_bytes())
}

fn claim(on: &'static str, lease: i64, token: i64) -> ClaimState {
    ClaimState {
        name: name(on),
        key: claim_key(on.as_bytes(), LeaseId(lease)),
        lease: LeaseId(lease),
        token: Revision(token),
        ..ClaimState::default()
    }
}

fn told(signals: Vec<Signal>) -> Outcome {
    Outcome {
        reply: Ok(Reply::Compact),
        revision: Revision(9),
        events: Vec::new(),
        signals,
        facts: Facts::default(),
    }
}

fn put(key: &'static str, lease: i64, version: i64) -> Outcome {
    let kv = KeyValue {
        key: name(key),
        lease: LeaseId(lease),
        version,
        ..KeyValue::default()
    };
    let event = Event {
        kind: EventKind::Put,
        kv,
        previous: None,
    };
    Outcome {
        events: vec![event],
        ..told(Vec::new())
    }
}

async fn changed(follower: &mut Follower) -> Option<BTreeSet<Bytes>> {
    let mut changed = Box::pin(follower.changed());
    match poll!(&mut changed) {
        std::task::Poll::Ready(names) => Some(names),
        std::task::Poll::Pending => None,
    }
}

#[tokio::test]
async fn a_hand_over_wakes_the_one_whose_turn_it_is() {
    let hub = hub();
    let mut first = hub.wait_for(&[name("a")], LeaseId(1));
    let mut second = hub.wait_for(&[name("a")], LeaseId(2));
    let granted = Signal::Granted(claim("a", 1, 5));
    let mut woken = Box::pin(first.next());
    assert!(poll!(&mut woken).is_pending());
    hub.observe(&told(vec![
        Signal::Ended(claim("a", 3, 4), EndCause::Released),
        granted.clone(),
    ]));
    assert_eq!(woken.await, News::Signal(granted));
    assert!(poll!(Box::pin(second.next())).is_pending());
    assert_eq!(hub.metrics.wakeups.get(), 1);
    assert_eq!(hub.metrics.grants.get(), 1);
}

#[tokio::test]
async fn a_bundle_is_told_of_each_of_its_claims_in_order() {
    let hub = hub();
    let mut waiter = hub.wait_for(&[name("a"), name("b")], LeaseId(1));
    let signals = [
        Signal::Requeued(claim("b", 1, 7), Revision(5)),
        Signal::Granted(claim("a", 1, 5)),
        Signal::Granted(claim("b", 1, 7)),
    ];
    hub.observe(&told(signals.to_vec()));
    for signal in signals {
        assert_eq!(waiter.next().await, News::Signal(signal));
    }
}

#[tokio::test]
async fn whoever_waits_twice_for_the_same_claim_is_told_twice() {
    let hub = hub();
    let mut first = hub.wait_for(&[name("a")], LeaseId(1));
    let second = hub.wait_for(&[name("a")], LeaseId(1));
    assert_eq!(hub.metrics.waiters.get(), 2);
    drop(second);
    assert_eq!(hub.metrics.waiters.get(), 1);
    hub.observe(&told(vec![Signal::Granted(claim("a", 1, 5))]));
    assert!(matches!(first.next().await, News::Signal(_)));
    drop(first);
    assert!(hub.state.lock().waiters.is_empty());
}

#[tokio::test]
async fn a_waiter_that_does_not_keep_up_is_sent_to_the_state() {
    let hub = hub();
    let mut waiter = hub.wait_for(&[name("a")], LeaseId(1));
    for _ in 0..1000 {
        hub.observe(&told(vec![Signal::Granted(claim("a", 1, 5))]));
    }
    assert_eq!(waiter.next().await, News::Lost);
    assert!(poll!(Box::pin(waiter.next())).is_pending());
}

#[tokio::test]
async fn after_a_snapshot_everybody_looks() {
    let hub = hub();
    let mut waiter = hub.wait_for(&[name("a")], LeaseId(1));
    let mut follower = hub.follow(vec![name("a"), name("b")]);
    hub.reset();
    assert_eq!(waiter.next().await, News::Lost);
    let names = BTreeSet::from([name("a"), name("b")]);
    assert_eq!(changed(&mut follower).await, Some(names));
    hub.timer_set().await;
}

#[tokio::test]
async fn events_that_are_left_out_send_followers_to_the_state_and_no_waiter() {
    let hub = hub();
    let mut waiter = hub.wait_for(&[name("a")], LeaseId(1));
    let mut follower = hub.follow(vec![name("a")]);
    hub.events_left_out();
    assert!(poll!(Box::pin(waiter.next())).is_pending());
    let names = BTreeSet::from([name("a")]);
    assert_eq!(changed(&mut follower).await, Some(names));
}

#[tokio::test]
async fn many_changes_on_a_name_are_told_as_one() {
    let hub = hub();
    let mut follower = hub.follow(vec![name("a"), name("b")]);
    for token in 5..10 {
        hub.observe(&told(vec![
            Signal::Granted(claim("a", 1, token)),
            Signal::Ended(claim("c", 1, token), EndCause::Released),
        ]));
    }
    assert_eq!(
        changed(&mut follower).await,
        Some(BTreeSet::from([name("a")]))
    );
    assert_eq!(changed(&mut follower).await, None);
}

#[tokio::test]
async fn a_new_value_of_a_claim_is_told_to_those_who_follow_its_name() {
    let hub = hub();
    let mut follower = hub.follow(vec![name("a/b")]);
    for silent in [
        put("a/b/1", 0, 2),
        put("a/b/1", 1, 1),
        put("a/c/1", 1, 2),
        put("a/b", 1, 2),
    ] {
        hub.observe(&silent);
        assert_eq!(changed(&mut follower).await, None);
    }
    hub.observe(&put("a/b/1", 1, 2));
    assert!(changed(&mut follower).await.is_some());
    drop(follower);
    assert_eq!(hub.followed.load(Ordering::Acquire), 0);
}

#[tokio::test]
async fn only_a_command_that_set_a_timer_wakes_the_waker() {
    for timer_set in [None, Some(ClusterTime(7))] {
        let hub = hub();
        hub.observe(&Outcome {
            facts: Facts {
                timer_set,
                ..Facts::default()
            },
            ..told(Vec::new())
        });
        let told = poll!(Box::pin(hub.timer_set())).is_ready();
        assert_eq!(told, timer_set.is_some());
    }
}
