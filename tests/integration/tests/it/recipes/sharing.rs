//! Locks that several hold at once: readers and writers, and permits.

use std::{
    future::IntoFuture,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::future::{join_all, try_join_all};
use tenure::{Client, ErrorKind, LockRequest};
use tenure_testkit::{Cluster, STATE_MAX, wait_until};
use tokio::{sync::oneshot, time::timeout};

use super::{Mortal, client_at, client_of};

/// A TTL that no test outlives.
const LONG: Duration = Duration::from_secs(60);
/// A TTL that is waited for.
const SHORT: Duration = Duration::from_secs(3);
/// Clients that want a lock at once.
const CLIENTS: usize = 6;
/// Times that each wants it.
const TURNS: usize = 8;
/// Permits there are.
const PERMITS: u32 = 3;

async fn clients(cluster: &Cluster, count: usize) -> Vec<Client> {
    join_all((0..count).map(|number| client_at(cluster, number % 3))).await
}

/// Waits until so many wait for a lock.
async fn queued(client: &Client, name: &str, count: usize) {
    wait_until("claims wait in line", STATE_MAX, async || {
        let queue = client.locks().inspect(name).await;
        let waiting = queue.map_err(|error| error.to_string())?.waiters().len();
        (waiting == count)
            .then_some(())
            .ok_or_else(|| format!("{waiting} do"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_at_all_nodes_share_and_a_writer_is_not_overtaken() {
    let cluster = Cluster::start(3).await;
    let clients = clients(&cluster, 3).await;
    let ask = |request: LockRequest| tokio::spawn(request.ttl(LONG).into_future());
    let read = |node: usize| clients[node].locks().rw_lock("catalog").read();
    let readers = try_join_all((0..3).map(|node| read(node).ttl(LONG).into_future()));
    let mut readers = readers.await.unwrap();
    let writer = ask(clients[1].locks().rw_lock("catalog").write());
    queued(&clients[0], "catalog", 1).await;
    let late = ask(read(2));
    queued(&clients[0], "catalog", 2).await;
    let last = readers.pop().unwrap();
    for reader in readers {
        reader.release().await.unwrap();
    }
    assert!(!writer.is_finished(), "a reader is left");
    last.release().await.unwrap();
    let writer = timeout(STATE_MAX, writer).await.unwrap().unwrap().unwrap();
    queued(&clients[0], "catalog", 1).await;
    assert!(!late.is_finished(), "a reader came in beside the writer");
    writer.guarded().put("catalog/data", "w").await.unwrap();
    let token = writer.token();
    writer.release().await.unwrap();
    let late = timeout(STATE_MAX, late).await.unwrap().unwrap().unwrap();
    assert!(late.token() > token);
}

/// Who is inside, counted by those who are.
#[derive(Debug, Default)]
struct Section {
    readers: AtomicU32,
    writers: AtomicU32,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_at_all_nodes_are_alone() {
    let cluster = Cluster::start(3).await;
    let section = Arc::new(Section::default());
    let working = clients(&cluster, CLIENTS).await.into_iter().enumerate();
    let working = working.map(|(number, client)| {
        let section = Arc::clone(&section);
        tokio::spawn(async move {
            let lock = client.locks().rw_lock("section");
            for turn in 0..TURNS {
                if (number + turn) % 3 == 0 {
                    let guard = lock.write().ttl(LONG).await.unwrap();
                    assert_eq!(section.writers.fetch_add(1, Ordering::SeqCst), 0);
                    assert_eq!(section.readers.load(Ordering::SeqCst), 0);
                    guard.guarded().put("section/data", "w").await.unwrap();
                    assert_eq!(section.readers.load(Ordering::SeqCst), 0);
                    section.writers.fetch_sub(1, Ordering::SeqCst);
                    guard.release().await.unwrap();
                } else {
                    let guard = lock.read().ttl(LONG).await.unwrap();
                    section.readers.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(section.writers.load(Ordering::SeqCst), 0);
                    client.get("section/data").await.unwrap();
                    assert_eq!(section.writers.load(Ordering::SeqCst), 0);
                    section.readers.fetch_sub(1, Ordering::SeqCst);
                    guard.release().await.unwrap();
                }
            }
        })
    });
    let working = timeout(STATE_MAX, try_join_all(working)).await;
    working.expect("everybody has a turn").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_permits_are_out_than_there_are() {
    let cluster = Cluster::start(3).await;
    let out = Arc::new(AtomicU32::new(0));
    let most = Arc::new(AtomicU32::new(0));
    let working = clients(&cluster, CLIENTS).await.into_iter().enumerate();
    let working = working.map(|(number, client)| {
        let (out, most) = (Arc::clone(&out), Arc::clone(&most));
        tokio::spawn(async move {
            let slots = client.locks().semaphore("uploads", PERMITS);
            for turn in 0..TURNS {
                let count = ((number + turn) % PERMITS as usize) as u32 + 1;
                let guard = slots.acquire(count).ttl(LONG).await.unwrap();
                let now = out.fetch_add(count, Ordering::SeqCst) + count;
                assert!(now <= PERMITS, "{now} of {PERMITS} permits are out");
                most.fetch_max(now, Ordering::SeqCst);
                client.get("uploads/data").await.unwrap();
                out.fetch_sub(count, Ordering::SeqCst);
                guard.release().await.unwrap();
            }
        })
    });
    let working = timeout(STATE_MAX, try_join_all(working)).await;
    working.expect("everybody has a turn").unwrap();
    assert_eq!(most.load(Ordering::SeqCst), PERMITS, "all were used");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_permits_of_a_holder_that_is_killed_come_back_and_nobody_changes_their_number() {
    let cluster = Cluster::start(3).await;
    let clients = clients(&cluster, 3).await;
    let mortal = Mortal::born();
    let (holding, held) = oneshot::channel();
    let addresses = cluster.addresses_from(1);
    mortal.spawn(async move {
        let client = client_of(addresses).await;
        let slots = client.locks().semaphore("slots", PERMITS);
        let guard = slots.acquire(PERMITS - 1).ttl(SHORT).await.unwrap();
        holding.send(guard.token()).expect("the test waits for it");
        std::future::pending::<()>().await;
    });
    let token = timeout(STATE_MAX, held).await.unwrap().unwrap();
    let one = clients[2]
        .locks()
        .semaphore("slots", PERMITS)
        .acquire(1)
        .ttl(LONG);
    let one = one.try_now().await.unwrap().expect("one permit is left");
    let all = clients[0]
        .locks()
        .semaphore("slots", PERMITS)
        .acquire(2)
        .ttl(LONG);
    let waiting = tokio::spawn(all.into_future());
    queued(&clients[1], "slots", 1).await;
    let other = clients[1]
        .locks()
        .semaphore("slots", PERMITS + 1)
        .acquire(1);
    let error = other.ttl(LONG).try_now().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermitsDiffer, "{error}");
    assert!(!waiting.is_finished());
    mortal.kill();
    let two = timeout(STATE_MAX, waiting).await.unwrap().unwrap().unwrap();
    assert!(two.token() > token && one.is_held());
}
