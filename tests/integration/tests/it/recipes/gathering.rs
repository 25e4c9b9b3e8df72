//! Barriers, latches and double barriers: who waits, and who goes on with whom.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::future::{join_all, try_join, try_join_all};
use tenure::Client;
use tenure_testkit::{Cluster, STATE_MAX, wait_until};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::{Mortal, client_at, client_of};

/// Participants; one at each node.
const PARTS: u32 = 3;
/// Rounds of a double barrier.
const ROUNDS: usize = 10;
/// Count of a latch: some of the clients count down more than once.
const COUNT: u32 = 7;
/// A TTL that no test outlives.
const LONG: Duration = Duration::from_secs(60);
/// How long the last look of who leaves may take, once it hears of the others.
const LEAVE_MAX: Duration = Duration::from_secs(10);
/// A TTL that is waited for.
const SHORT: Duration = Duration::from_secs(3);

async fn clients(cluster: &Cluster) -> Vec<Client> {
    join_all((0..cluster.nodes().len()).map(|node| client_at(cluster, node))).await
}

/// Waits until somebody watches at every node.
async fn watched_everywhere(cluster: &Cluster) {
    wait_until("there is a watcher at every node", STATE_MAX, async || {
        for node in cluster.nodes() {
            let page = node.page("/metrics").await;
            let watchers = page.metric("etcd_debugging_mvcc_watcher_total");
            if watchers.is_none_or(|watchers| watchers < 1.0) {
                return Err(format!("{} has {watchers:?}", node.name()));
            }
        }
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_barrier_that_one_client_closes_holds_up_clients_at_all_nodes_until_it_is_opened() {
    let cluster = Cluster::start(3).await;
    let clients = clients(&cluster).await;
    assert!(clients[0].recipes().barrier("gate").close().await.unwrap());
    let waiting = clients.iter().map(|client| {
        let barrier = client.recipes().barrier("gate");
        tokio::spawn(async move { barrier.wait().await })
    });
    let waiting: Vec<_> = waiting.collect();
    watched_everywhere(&cluster).await;
    assert!(
        clients[1]
            .recipes()
            .barrier("gate")
            .is_closed()
            .await
            .unwrap()
    );
    assert!(waiting.iter().all(|waiter| !waiter.is_finished()));
    assert!(clients[2].recipes().barrier("gate").open().await.unwrap());
    for waiter in waiting {
        timeout(STATE_MAX, waiter).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_latch_opens_everywhere_when_clients_at_all_nodes_have_counted_it_down() {
    let cluster = Cluster::start(3).await;
    let clients = clients(&cluster).await;
    let waiting = clients.iter().map(|client| {
        let latch = client.recipes().latch("migrated");
        tokio::spawn(async move {
            latch.wait().await.unwrap();
            latch.remaining().await.unwrap()
        })
    });
    let waiting: Vec<_> = waiting.collect();
    let set_up = clients.iter().map(|client| {
        let latch = client.recipes().latch("migrated");
        async move { latch.create(COUNT).await }
    });
    let set_up = try_join_all(set_up).await.unwrap();
    assert_eq!(set_up.iter().filter(|first| **first).count(), 1);
    watched_everywhere(&cluster).await;
    let count_down = |number: usize| {
        let latch = clients[number % clients.len()].recipes().latch("migrated");
        async move { latch.count_down().await }
    };
    let mut left = try_join_all((1..COUNT as usize).map(count_down))
        .await
        .unwrap();
    left.sort_unstable();
    assert_eq!(left, (1..COUNT).collect::<Vec<_>>(), "each counts once");
    assert!(waiting.iter().all(|waiter| !waiter.is_finished()));
    assert_eq!(count_down(0).await.unwrap(), 0);
    for waiter in waiting {
        assert_eq!(timeout(STATE_MAX, waiter).await.unwrap().unwrap(), 0);
    }
}

/// How many have come and gone, counted by the participants themselves.
#[derive(Debug, Default)]
struct Round {
    coming: AtomicU32,
    going: AtomicU32,
}

async fn take_part(client: Client, rounds: Arc<[Round]>) {
    let barrier = client.recipes().double_barrier("shuffle", PARTS);
    for (number, round) in rounds.iter().enumerate() {
        round.coming.fetch_add(1, Ordering::SeqCst);
        let inside = barrier.enter().await.unwrap();
        let come = round.coming.load(Ordering::SeqCst);
        assert_eq!(come, PARTS, "round {number} began before all had come");
        round.going.fetch_add(1, Ordering::SeqCst);
        inside.leave().await.unwrap();
        let gone = round.going.load(Ordering::SeqCst);
        assert_eq!(gone, PARTS, "round {number} ended before all had gone");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn participants_at_all_nodes_begin_and_end_every_round_together() {
    let cluster = Cluster::start(3).await;
    let rounds: Arc<[Round]> = (0..ROUNDS).map(|_| Round::default()).collect();
    let parts = clients(&cluster).await;
    let parts = parts
        .into_iter()
        .map(|client| tokio::spawn(take_part(client, Arc::clone(&rounds))));
    let parts = timeout(STATE_MAX, try_join_all(parts)).await;
    let parts = parts.unwrap_or_else(|_| panic!("some wait for ever: {rounds:?}"));
    parts.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_that_is_killed_inside_is_not_waited_for_longer_than_its_lease_lives() {
    let cluster = Cluster::start(3).await;
    let clients = clients(&cluster).await;
    let mortal = Mortal::born();
    let (entered, inside) = oneshot::channel();
    let addresses = cluster.addresses_from(2);
    mortal.spawn(async move {
        let client = client_of(addresses).await;
        let barrier = client.recipes().double_barrier("mortal", PARTS).ttl(SHORT);
        let _inside = barrier.enter().await.unwrap();
        entered.send(()).expect("the test waits for it");
        std::future::pending::<()>().await;
    });
    let enter = |node: usize| {
        let barrier = clients[node].recipes().double_barrier("mortal", PARTS);
        async move { barrier.enter().await }
    };
    let both = timeout(STATE_MAX, try_join_all([enter(0), enter(1)])).await;
    let both = both.unwrap().unwrap();
    timeout(STATE_MAX, inside).await.unwrap().unwrap();
    let leaving = join_all(both.into_iter().map(tenure::DoubleBarrierGuard::leave));
    let mut leaving = tokio::spawn(leaving);
    // It is renewed, so it is waited for beyond its TTL.
    let early = timeout(SHORT * 2, &mut leaving).await;
    assert!(early.is_err(), "they left without the third: {early:?}");
    let killed = Instant::now();
    mortal.kill();
    for left in timeout(STATE_MAX, leaving).await.unwrap().unwrap() {
        left.unwrap();
    }
    println!("they left {:?} after the kill", killed.elapsed());
}

/// A participant that looks late must not take those of the next round for those of its own, or
/// each waits for the other: it to leave, they to begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_participant_that_hears_late_that_all_have_left_is_done_although_others_are_back() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let follower = cluster.others(leader)[0];
    let at = async |node: usize| {
        let client = client_of(vec![cluster.node(node).address().to_owned()]).await;
        client.recipes().double_barrier("late", 2).ttl(LONG)
    };
    let (late, early) = (at(follower).await, at(leader).await);
    let both = timeout(STATE_MAX, try_join(late.enter(), early.enter())).await;
    let (late_inside, early_inside) = both.unwrap().unwrap();
    let members = async |count: usize| {
        let calls = cluster.node(leader).calls();
        wait_until("participants come or go", STATE_MAX, async || {
            let members = calls.get_prefix("late/in/").await;
            let now = members.map_err(|error| error.to_string())?.len();
            (now == count).then_some(()).ok_or(format!("{now} are in"))
        })
        .await;
    };
    let leaving = tokio::spawn(late_inside.leave());
    members(1).await;
    // From here on the late one hears nothing.
    cluster.node(follower).pause();
    timeout(STATE_MAX, early_inside.leave())
        .await
        .unwrap()
        .unwrap();
    let again = early.clone();
    let entering = tokio::spawn(async move { again.enter().await });
    members(1).await;
    cluster.node(follower).resume();
    let left = timeout(LEAVE_MAX, leaving).await;
    left.expect("all of its round have left").unwrap().unwrap();
    let late_inside = timeout(STATE_MAX, late.enter()).await.unwrap().unwrap();
    let early_inside = timeout(STATE_MAX, entering).await.unwrap().unwrap();
    let both = try_join(late_inside.leave(), early_inside.unwrap().leave());
    timeout(STATE_MAX, both).await.unwrap().unwrap();
}
