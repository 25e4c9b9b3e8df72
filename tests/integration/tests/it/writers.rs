//! Rust clients that put and read keys of their own, and whose every call must succeed.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tenure::{Client, KeyRange};
use tenure_testkit::wait_until;
use tokio::task::JoinHandle;

/// Time limit of a call: longer than the quorum takes to elect a leader, some times over.
const CALL_MAX: Duration = Duration::from_secs(30);
const SESSION_TTL: Duration = Duration::from_secs(60);
const WRITERS: usize = 8;

/// Clients at work.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<usize>>,
}

impl Writers {
    /// Starts clients with sessions: their calls are retried whatever became of an attempt.
    pub(crate) async fn exactly_once(addresses: &[String]) -> Self {
        Self::start(addresses, true).await
    }

    /// Starts clients as most are: a put is retried only if it had no effect for sure.
    pub(crate) async fn plain(addresses: &[String]) -> Self {
        Self::start(addresses, false).await
    }

    async fn start(addresses: &[String], exactly_once: bool) -> Self {
        let (stop, written) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut tasks = Vec::new();
        for writer in 0..WRITERS {
            let builder = Client::builder().endpoints(addresses).timeout(CALL_MAX);
            let builder = if exactly_once {
                builder.exactly_once(SESSION_TTL)
            } else {
                builder
            };
            let client = builder.connect().await.unwrap();
            let (stop, all) = (Arc::clone(&stop), Arc::clone(&written));
            tasks.push(tokio::spawn(async move {
                let mut own = 0;
                while !stop.load(Ordering::Relaxed) {
                    let key = key(writer, own);
                    let put = client.put(key.clone(), own.to_string()).await;
                    put.unwrap_or_else(|error| panic!("a put failed: {error}"));
                    let got = client.get(key).await;
                    let got = got.unwrap_or_else(|error| panic!("a get failed: {error}"));
                    assert_eq!(got.kvs().len(), 1, "a read missed the put before it");
                    own += 1;
                    all.fetch_add(1, Ordering::Relaxed);
                }
                own
            }));
        }
        Self {
            stop,
            written,
            tasks,
        }
    }

    /// Waits until so many more puts were acknowledged.
    pub(crate) async fn wait_for(&self, count: usize) {
        let until = self.written.load(Ordering::Relaxed) + count;
        wait_until("more is written", CALL_MAX, async || {
            let written = self.written.load(Ordering::Relaxed);
            if written >= until {
                Ok(())
            } else {
                Err(written)
            }
        })
        .await;
    }

    /// Stops them, and asserts that all that was acknowledged is there. Returns how much that is.
    pub(crate) async fn finish(self, addresses: &[String]) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        let client = Client::connect(addresses).await.unwrap();
        let (mut total, mut lost) = (0, 0);
        for (writer, task) in self.tasks.into_iter().enumerate() {
            let written = task.await.unwrap();
            let range = KeyRange::prefix(format!("load/{writer}/"));
            let found = client.get(range).keys_only().await.unwrap();
            let found: HashSet<_> = found.kvs().iter().map(|kv| kv.key().to_vec()).collect();
            let is_lost = |number: &usize| !found.contains(key(writer, *number).as_bytes());
            lost += (0..written).filter(is_lost).count();
            total += written;
        }
        println!("{total} puts and gets were answered, no call failed, {lost} puts are lost");
        assert_eq!(lost, 0);
        assert!(total > WRITERS, "{total} puts are no load");
        total
    }
}

fn key(writer: usize, number: usize) -> String {
    format!("load/{writer}/{number:08}")
}
