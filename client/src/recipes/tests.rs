//! Tests of recipes against an in-process server with fault injection.

use std::time::Duration;

use tokio::time::timeout;

use crate::{
    ErrorKind,
    fake::{Fake, Fault, Store},
};

/// Test timeout: longer than any step takes.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_barrier_holds_up_until_it_is_opened() {
    let (fake, client) = Fake::start().await;
    let barrier = client.recipes().barrier("b");
    assert!(!barrier.open().await.unwrap());
    barrier.wait().await.unwrap();
    assert!(barrier.close().await.unwrap() && !barrier.close().await.unwrap());
    assert!(barrier.is_closed().await.unwrap());

    let waiter = tokio::spawn({
        let barrier = barrier.clone();
        async move { barrier.wait().await }
    });
    // The wait continues after a break, and after a change that does not open the barrier.
    fake.break_streams();
    client.put("b", "still closed").await.unwrap();
    assert!(barrier.open().await.unwrap());
    timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_counter_counts_once_when_the_answer_is_lost() {
    let (fake, client) = Fake::start().await;
    let counter = client.recipes().counter("n");
    assert_eq!(counter.add(5).await.unwrap(), 5);
    fake.lose_answer();
    assert_eq!(counter.add(2).await.unwrap(), 7);
    assert_eq!(fake.planned(), 0, "an answer was lost");
    assert_eq!(counter.get().await.unwrap().value, 7);
}

#[tokio::test]
async fn everybody_who_adds_at_once_is_counted() {
    let (_fake, client) = Fake::start().await;
    let counter = client.recipes().counter("n");
    let adds = (1..=8).map(|delta| {
        let counter = counter.clone();
        async move { counter.add(delta).await }
    });
    for sum in timeout(PATIENCE, futures::future::join_all(adds))
        .await
        .unwrap()
    {
        sum.unwrap();
    }
    assert_eq!(counter.get().await.unwrap().value, 36);
}

#[tokio::test]
async fn a_counter_is_set_only_by_who_has_seen_its_last_change() {
    let (_fake, client) = Fake::start().await;
    let counter = client.recipes().counter("n");
    let unset = counter.get().await.unwrap();
    let set = counter
        .compare_and_set(unset.seen, 3)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(counter.compare_and_set(unset.seen, 4).await.unwrap(), None);
    assert_eq!(counter.get().await.unwrap(), set);
    assert!(
        counter
            .compare_and_set(set.seen, i64::MAX)
            .await
            .unwrap()
            .is_some()
    );
    let error = counter.add(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error}");
    client.put("n", "many").await.unwrap();
    let error = counter.add(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
    assert!(error.message().contains("many"), "{error}");
}

#[tokio::test]
async fn a_guarded_counter_counts_for_the_holder_only() {
    let (_fake, client) = Fake::start().await;
    let guard = client.locks().acquire("l").await.unwrap();
    let counter = guard.guarded().recipes().counter("n");
    assert_eq!(counter.add(1).await.unwrap(), 1);
    guard.release().await.unwrap();
    let error = counter.add(1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::StaleGuard, "{error}");
}

#[tokio::test]
async fn a_latch_opens_when_it_is_counted_down() {
    let (fake, client) = Fake::start().await;
    let latch = client.recipes().latch("l");
    assert_eq!(
        latch.count_down().await.unwrap_err().kind(),
        ErrorKind::NotFound
    );
    let waiter = tokio::spawn({
        let latch = latch.clone();
        async move { latch.wait().await }
    });
    assert!(latch.create(2).await.unwrap() && !latch.create(9).await.unwrap());
    fake.lose_answer();
    assert_eq!(latch.count_down().await.unwrap(), 1);
    assert!(!waiter.is_finished());
    assert_eq!(latch.count_down().await.unwrap(), 0);
    timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap();
    assert_eq!(latch.count_down().await.unwrap(), 0);
    assert_eq!(latch.remaining().await.unwrap(), 0);
}

#[tokio::test]
async fn a_double_barrier_begins_and_ends_together_and_may_be_used_again() {
    let (fake, client) = Fake::start().await;
    let barrier = client.recipes().double_barrier("d", 3);
    for _round in 0..2 {
        let parts = (0..3).map(|_| barrier.enter());
        let parts = timeout(PATIENCE, futures::future::join_all(parts))
            .await
            .unwrap();
        let mut parts: Vec<_> = parts.into_iter().map(Result::unwrap).collect();
        let last = parts.pop().unwrap();
        let leaving: Vec<_> = parts
            .into_iter()
            .map(|part| tokio::spawn(part.leave()))
            .collect();
        // One participant is still inside, so none has left.
        fake.until(|store| members(store) == 1).await;
        assert!(leaving.iter().all(|part| !part.is_finished()));
        last.leave().await.unwrap();
        for part in leaving {
            timeout(PATIENCE, part).await.unwrap().unwrap().unwrap();
        }
    }
    fake.until(|store| store.keys("").is_empty() && store.leases().is_empty())
        .await;
}

#[tokio::test]
async fn who_is_out_again_before_the_round_begins_is_not_inside() {
    let (fake, client) = Fake::start().await;
    // Its lease ends between counting the participants and starting the round.
    fake.plan(&["range"], [Fault::EndLeasesAfter]);
    let barrier = client
        .recipes()
        .double_barrier("d", 1)
        .ttl(Duration::from_millis(300));
    let entered = timeout(PATIENCE, barrier.enter()).await.unwrap();
    assert_eq!(entered.unwrap_err().kind(), ErrorKind::SessionLost);
    assert_eq!(fake.planned(), 0, "it did");
}

#[tokio::test]
async fn who_stops_entering_is_not_waited_for_and_a_dead_round_is_cleared() {
    let (fake, client) = Fake::start().await;
    let barrier = client.recipes().double_barrier("d", 2);
    let waiter = tokio::spawn({
        let barrier = barrier.clone();
        async move { barrier.enter().await.map(drop) }
    });
    fake.until(|store| members(store) == 1).await;
    waiter.abort();
    fake.until(|store| members(store) == 0).await;
    // A round whose participants all crashed.
    client.put("d/ready", "").await.unwrap();
    let both = futures::future::join(barrier.enter(), barrier.enter());
    let (one, two) = timeout(PATIENCE, both).await.unwrap();
    drop((one.unwrap(), two.unwrap()));
    fake.until(|store| store.keys("").is_empty()).await;
}

fn members(store: &Store) -> usize {
    store.keys("d/in/").len()
}

#[tokio::test]
async fn items_are_delivered_in_order_and_to_one_consumer_at_a_time() {
    let (fake, client) = Fake::start().await;
    let queue = client.recipes().queue("q");
    assert_eq!(queue.push("a").await.unwrap(), 1);
    fake.lose_answer();
    assert_eq!(queue.push("b").await.unwrap(), 2);
    assert_eq!(queue.len().await.unwrap(), 2);

    let first = queue.receive().await.unwrap();
    let second = queue.receive().await.unwrap();
    assert_eq!(
        (&first.payload()[..], first.number(), first.tries()),
        (&b"a"[..], 1, 1)
    );
    assert_eq!(&second.payload()[..], b"b");
    assert!(queue.try_receive().await.unwrap().is_none());
    first.ack().await.unwrap();
    second.ack().await.unwrap();
    assert_eq!(queue.len().await.unwrap(), 0);
    fake.until(|store| store.keys("q/") == ["q/last"]).await;
}

#[tokio::test]
async fn a_consumer_waits_until_something_is_pushed_or_given_back() {
    let (_fake, client) = Fake::start().await;
    let queue = client.recipes().queue("q");
    let receive = || {
        let queue = queue.clone();
        tokio::spawn(async move { queue.receive().await })
    };
    let waiter = receive();
    queue.push("a").await.unwrap();
    let first = timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap();
    let waiter = receive();
    let token = first.token();
    first.nack().await.unwrap();
    let again = timeout(PATIENCE, waiter).await.unwrap().unwrap().unwrap();
    assert_eq!(again.tries(), 2);
    assert!(again.token() > token);
}

#[tokio::test]
async fn a_delivery_whose_time_is_over_is_not_done() {
    let (fake, client) = Fake::start().await;
    let queue = client
        .recipes()
        .queue("q")
        .visibility(Duration::from_millis(2_500));
    queue.push("a").await.unwrap();
    let mut slow = queue.receive().await.unwrap();
    slow.extend().await.unwrap();
    let left = slow.deadline() - tokio::time::Instant::now();
    assert!(
        left <= Duration::from_millis(2_500),
        "not rounded up: {left:?}"
    );
    // The lease is the one with two and a half seconds.
    let lease = {
        let store = fake.store.lock();
        let leases = store.leases();
        let short = leases.iter().find(|lease| lease.ttl.0 == 2_500);
        short.unwrap().id.0
    };
    fake.change(|store| store.revoke(lease));
    let next = queue.receive().await.unwrap();
    assert_eq!(
        slow.extend().await.unwrap_err().kind(),
        ErrorKind::LeaseLost
    );
    assert_eq!(slow.ack().await.unwrap_err().kind(), ErrorKind::LeaseLost);
    next.ack().await.unwrap();
}

#[tokio::test]
async fn an_item_that_nobody_can_deal_with_is_put_aside_and_may_come_back() {
    let (_fake, client) = Fake::start().await;
    let queue = client.recipes().queue("q").tries_max(2);
    queue.push("poison").await.unwrap();
    for tries in 1..=2 {
        let delivery = queue.receive().await.unwrap();
        assert_eq!(delivery.tries(), tries);
        delivery.nack().await.unwrap();
    }
    assert!(queue.try_receive().await.unwrap().is_none());
    let dead = queue.dead_letters(0).await.unwrap();
    assert_eq!(
        (dead.len(), dead[0].number, &dead[0].payload[..]),
        (1, 1, &b"poison"[..])
    );
    assert!(queue.requeue(1).await.unwrap() && !queue.requeue(1).await.unwrap());
    assert_eq!(queue.receive().await.unwrap().tries(), 1);
    assert!(!queue.discard(1).await.unwrap());
}
