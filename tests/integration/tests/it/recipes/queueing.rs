//! A queue with producers and consumers at all nodes, of whom some are slow and some die.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tenure::{ErrorKind, Queue};
use tenure_testkit::{Cluster, STATE_MAX, wait_until};
use tokio::{
    sync::{Mutex, mpsc},
    time::{Instant, timeout},
};

use super::{Mortal, client_at, client_of};

/// Clients that push at once.
const PRODUCERS: usize = 2;
/// Items that each pushes.
const ITEMS: usize = 25;
/// Items that a consumer holds when it is killed.
const HELD: usize = 5;
/// How long an item stays with a consumer: whole seconds, and longer than dealing with one takes.
const VISIBILITY: Duration = Duration::from_secs(3);
/// The same where it is waited for.
const SHORT: Duration = Duration::from_secs(1);
/// Items done before the leader is killed.
const KILL_AFTER: usize = 10;
/// Deliveries before an item is put aside.
const TRIES_MAX: u32 = 3;
/// Longer than a machine that is busy takes to hand on what a consumer holds.
const QUEUE_MAX: usize = 64;

/// A delivery as a consumer saw it.
#[derive(Clone, Debug)]
struct Handed {
    number: u64,
    payload: String,
    token: i64,
    got: Instant,
    /// Until when nobody else may have it.
    until: Instant,
    /// When the consumer began to say that it was done, if it ever did.
    done: Option<Instant>,
}

impl Handed {
    fn of(delivery: &tenure::Delivery) -> Self {
        Self {
            got: Instant::now(),
            number: delivery.number(),
            payload: String::from_utf8(delivery.payload().to_vec()).unwrap(),
            token: delivery.token().get(),
            until: delivery.deadline(),
            done: None,
        }
    }
}

async fn queue_at(cluster: &Cluster, node: usize) -> Queue {
    let client = client_at(cluster, node).await;
    client.recipes().queue("mails").visibility(VISIBILITY)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_delivered_twice_at_once_when_a_leader_and_a_consumer_die() {
    let mut cluster = Cluster::start(3).await;
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut pushing = Vec::new();
    for producer in 0..PRODUCERS {
        let queue = queue_at(&cluster, producer).await;
        pushing.push(tokio::spawn(async move {
            for item in 0..ITEMS {
                queue.push(format!("{producer}/{item}")).await.unwrap();
            }
        }));
    }
    let (mortal, held) = hold_until_killed(&cluster).await;
    log.lock().await.extend(held);
    let mut consuming = Vec::new();
    for node in 0..3 {
        let (queue, log) = (queue_at(&cluster, node).await, Arc::clone(&log));
        consuming.push(tokio::spawn(consume(queue, log)));
    }
    mortal.kill();
    let done = async || {
        let log = log.lock().await;
        log.iter().filter(|handed| handed.done.is_some()).count()
    };
    let some = async |count| {
        wait_until("items are done", STATE_MAX, async || {
            let done = done().await;
            (done >= count).then_some(()).ok_or(done)
        })
        .await;
    };
    some(KILL_AFTER).await;
    let leader = cluster.leader().await;
    cluster.node_mut(leader).kill9();
    assert!(done().await < PRODUCERS * ITEMS, "the leader died too late");
    for producer in pushing {
        timeout(STATE_MAX, producer).await.unwrap().unwrap();
    }
    some(PRODUCERS * ITEMS).await;
    let queue = queue_at(&cluster, cluster.others(leader)[0]).await;
    assert!(queue.is_empty().await.unwrap());
    assert_eq!(queue.dead_letters(0).await.unwrap(), []);
    for consumer in &consuming {
        assert!(!consumer.is_finished(), "a consumer gave up");
        consumer.abort();
    }
    check(&log.lock().await);
}

/// A consumer that holds some items and says nothing about them.
async fn hold_until_killed(cluster: &Cluster) -> (Mortal, Vec<Handed>) {
    let mortal = Mortal::born();
    let (handed, mut held) = mpsc::channel(QUEUE_MAX);
    let addresses = cluster.addresses_from(2);
    mortal.spawn(async move {
        let queue = client_of(addresses).await.recipes().queue("mails");
        let queue = queue.visibility(VISIBILITY);
        let mut deliveries = Vec::new();
        for _ in 0..HELD {
            let delivery = queue.receive().await.unwrap();
            handed.send(Handed::of(&delivery)).await.unwrap();
            deliveries.push(delivery);
        }
        std::future::pending::<()>().await;
    });
    let mut all = Vec::new();
    for _ in 0..HELD {
        let handed = timeout(STATE_MAX, held.recv()).await.unwrap();
        all.push(handed.expect("the consumer takes as many"));
    }
    (mortal, all)
}

async fn consume(queue: Queue, log: Arc<Mutex<Vec<Handed>>>) {
    loop {
        let delivery = queue.receive().await.unwrap();
        let mut handed = Handed::of(&delivery);
        let ending = Instant::now();
        match delivery.ack().await {
            Ok(()) => handed.done = Some(ending),
            // An election may take longer than the time of a delivery.
            Err(error) => assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}"),
        }
        log.lock().await.push(handed);
    }
}

/// Checks that every item was done once, under its own number, and was with one consumer at a time.
fn check(log: &[Handed]) {
    let mut items: BTreeMap<u64, Vec<&Handed>> = BTreeMap::new();
    for handed in log {
        items.entry(handed.number).or_default().push(handed);
    }
    let mut payloads = BTreeSet::new();
    let mut again = 0;
    for (number, deliveries) in &mut items {
        deliveries.sort_by_key(|handed| handed.token);
        let done = deliveries.iter().filter(|handed| handed.done.is_some());
        let done = done.count();
        assert_eq!(done, 1, "{number} was done {done} times: {deliveries:?}");
        assert!(
            deliveries.last().is_some_and(|last| last.done.is_some()),
            "{number} was delivered when it was done: {deliveries:?}"
        );
        for pair in deliveries.windows(2) {
            again += 1;
            assert!(
                pair[1].got >= pair[0].until,
                "{number} was with two at once: {pair:?}"
            );
        }
        payloads.extend(deliveries.iter().map(|handed| handed.payload.clone()));
    }
    println!(
        "{} items, {again} deliveries were not the first",
        items.len()
    );
    assert!(again >= HELD, "what the dead consumer held came back");
    let pushed = (0..PRODUCERS * ITEMS).map(|item| format!("{}/{}", item / ITEMS, item % ITEMS));
    assert_eq!(payloads, pushed.collect());
    assert_eq!(items.len(), PRODUCERS * ITEMS, "an item has one number");
}

/// Deliveries of one item: when each came, until when it lasted, and whether it was done.
fn deliveries_of_one(deliveries: &[(Duration, Duration, bool)]) -> Vec<Handed> {
    let begin = Instant::now();
    let handed = |(token, (got, until, done)): (i64, &(Duration, Duration, bool))| Handed {
        number: 1,
        payload: "0/0".to_owned(),
        token,
        got: begin + *got,
        until: begin + *until,
        done: done.then_some(begin + *until),
    };
    (1..).zip(deliveries).map(handed).collect()
}

#[test]
#[should_panic(expected = "was with two at once")]
fn the_check_rejects_a_delivery_that_overlaps_the_one_before() {
    let [begin, end] = [Duration::ZERO, VISIBILITY];
    check(&deliveries_of_one(&[
        (begin, end, false),
        (end / 2, end * 2, true),
    ]));
}

#[test]
#[should_panic(expected = "was delivered when it was done")]
fn the_check_rejects_a_delivery_of_what_was_done() {
    let [begin, end] = [Duration::ZERO, VISIBILITY];
    check(&deliveries_of_one(&[
        (begin, end, true),
        (end, end * 2, false),
    ]));
}

#[test]
#[should_panic(expected = "was done 0 times")]
fn the_check_rejects_an_item_that_nobody_did() {
    check(&deliveries_of_one(&[(Duration::ZERO, VISIBILITY, false)]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_too_slow_is_told_so_and_one_that_asks_for_time_has_it() {
    let cluster = Cluster::start(3).await;
    let (slow, other) = (queue_at(&cluster, 0).await, queue_at(&cluster, 1).await);
    slow.push("a").await.unwrap();
    let mut first = slow.receive().await.unwrap();
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(VISIBILITY / 8);
    while begun.elapsed() < VISIBILITY * 2 {
        ticks.tick().await;
        first.extend().await.unwrap();
        assert!(other.try_receive().await.unwrap().is_none(), "it is taken");
    }
    let until = first.deadline();
    let again = timeout(STATE_MAX, other.receive()).await.unwrap().unwrap();
    assert!(Instant::now() >= until, "its time was not over");
    assert_eq!(again.tries(), 2);
    assert!(again.token() > first.token());
    let error = first.extend().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
    let error = first.ack().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LeaseLost, "{error}");
    assert_eq!(other.len().await.unwrap(), 1, "it is not done");
    again.ack().await.unwrap();
    assert!(slow.is_empty().await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_consumers_at_all_nodes_are_silent_about_becomes_a_dead_letter() {
    let cluster = Cluster::start(3).await;
    let queue = async |node| {
        let queue = queue_at(&cluster, node).await;
        queue.visibility(SHORT).tries_max(TRIES_MAX)
    };
    queue(0).await.push("poison").await.unwrap();
    for tries in 1..=TRIES_MAX {
        let queue = queue(tries as usize % 3).await;
        let received = timeout(STATE_MAX, queue.receive()).await;
        let delivery = received.unwrap().unwrap();
        assert_eq!(delivery.tries(), tries);
    }
    let queue = queue(0).await;
    let dead = wait_until("it is put aside", STATE_MAX, async || {
        let taken = queue.try_receive().await.map_err(|error| error.to_string());
        assert!(taken?.is_none(), "it is delivered too often");
        let dead = queue.dead_letters(0).await;
        let dead = dead.map_err(|error| error.to_string())?;
        dead.into_iter().next().ok_or("not yet".to_owned())
    })
    .await;
    assert_eq!(&dead.payload[..], b"poison");
    assert!(queue.is_empty().await.unwrap());
    assert!(queue.requeue(dead.number).await.unwrap());
    let revived = timeout(STATE_MAX, queue.receive()).await.unwrap().unwrap();
    assert_eq!((revived.number(), revived.tries()), (dead.number, 1));
    revived.ack().await.unwrap();
}
