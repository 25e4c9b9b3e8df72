//! Writers that go on while nodes come and go, and remember what was acknowledged.
//!
//! A writer puts each of its keys until some node acknowledges it, at the next node after each
//! failure, with the same value: an attempt whose outcome is unknown cannot contradict the next.
//! The load is bounded by its writers, each with one put at a time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinHandle, time::timeout};

use crate::{
    calls::Calls,
    wait::{STATE_MAX, wait_until},
};

/// How long a writer waits for one node before it tries the next: longer than a quorum may take to
/// answer over a change of leader, so that what is measured is the quorum and not this patience.
const ATTEMPT_MAX: Duration = Duration::from_secs(8);
/// Pause after a refusal, so that a node that is gone is not asked in a tight loop.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// A put that was acknowledged.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
    /// The revision that the acknowledgement named.
    pub revision: i64,
    /// When the acknowledgement came.
    pub at: Instant,
}

/// Writers at work.
#[derive(Debug)]
pub struct Load {
    prefix: String,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    /// When the newest acknowledged put was begun, and when it was acknowledged.
    newest: watch::Receiver<Option<(Instant, Instant)>>,
    writers: Vec<JoinHandle<Vec<Acknowledged>>>,
}

impl Load {
    /// Starts `writers` writers below `prefix`, spread over `addresses`.
    #[must_use]
    pub fn start(prefix: &str, addresses: &[String], writers: usize) -> Self {
        Self::sized(prefix, addresses, writers, 0)
    }

    /// The same with values of at least so many bytes.
    #[must_use]
    pub fn sized(prefix: &str, addresses: &[String], writers: usize, bytes: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let (newest, receiver) = watch::channel(None);
        let newest = Arc::new(newest);
        let writers = (0..writers)
            .map(|number| {
                let writer = Writer {
                    prefix: format!("{prefix}{number}/"),
                    bytes,
                    nodes: addresses.iter().map(|address| Calls::to(address)).collect(),
                    next: number % addresses.len(),
                    stop: Arc::clone(&stop),
                    count: Arc::clone(&count),
                    newest: Arc::clone(&newest),
                };
                tokio::spawn(writer.run())
            })
            .collect();
        Self {
            prefix: prefix.to_owned(),
            stop,
            count,
            newest: receiver,
            writers,
        }
    }

    /// What all its keys begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Waits until `count` more puts were acknowledged.
    ///
    /// # Panics
    /// When they are not in time.
    pub async fn wait_for(&self, count: usize) {
        let goal = self.count.load(Ordering::Relaxed) + count;
        let what = format!("{count} more puts are acknowledged");
        wait_until(&what, STATE_MAX, async || {
            let now = self.count.load(Ordering::Relaxed);
            (now >= goal)
                .then_some(())
                .ok_or_else(|| format!("{now} of {goal} were"))
        })
        .await;
    }

    /// Waits for the acknowledgement of a put that began after `event`, and returns how long after
    /// it that was.
    ///
    /// # Panics
    /// When there is none within `limit`.
    pub async fn resumed_after(&mut self, event: Instant, limit: Duration) -> Duration {
        let resumed = self
            .newest
            .wait_for(|newest| newest.is_some_and(|(begun, _)| begun > event));
        let resumed = timeout(limit, resumed).await;
        let newest = resumed
            .unwrap_or_else(|_| panic!("no write was acknowledged for {limit:?}"))
            .expect("the writers run until they are told to stop");
        newest.map_or(Duration::ZERO, |(_, acknowledged)| acknowledged - event)
    }

    /// Stops the writers and returns all that was acknowledged, by revision.
    ///
    /// # Panics
    /// When a writer saw something that cannot be.
    pub async fn finish(self) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for writer in self.writers {
            all.extend(writer.await.expect("a writer does not panic"));
        }
        all.sort_by_key(|write| write.revision);
        all
    }
}

/// What is written under `key`, padded to so many bytes.
fn value(key: &str, bytes: usize) -> String {
    let value = format!("value of {key}");
    let padding = bytes.saturating_sub(value.len());
    value + &".".repeat(padding)
}

struct Writer {
    prefix: String,
    bytes: usize,
    nodes: Vec<Calls>,
    next: usize,
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    newest: Arc<watch::Sender<Option<(Instant, Instant)>>>,
}

impl Writer {
    async fn run(mut self) -> Vec<Acknowledged> {
        let mut acknowledged: Vec<Acknowledged> = Vec::new();
        for sequence in 0.. {
            let key = format!("{}{sequence:08}", self.prefix);
            let value = value(&key, self.bytes);
            let Some((revision, at)) = self.put(&key, &value).await else {
                break;
            };
            let last = acknowledged.last().map_or(0, |last| last.revision);
            assert!(
                revision > last,
                "{key} was acknowledged at {revision}, the one before at {last}"
            );
            self.count.fetch_add(1, Ordering::Relaxed);
            acknowledged.push(Acknowledged {
                key,
                value,
                revision,
                at,
            });
        }
        acknowledged
    }

    /// Puts until it is acknowledged; `None` when told to stop before.
    async fn put(&mut self, key: &str, value: &str) -> Option<(i64, Instant)> {
        while !self.stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let attempt = self.nodes[self.next].put(key, value);
            if let Ok(Ok(revision)) = timeout(ATTEMPT_MAX, attempt).await {
                let at = Instant::now();
                self.newest.send_replace(Some((begun, at)));
                return Some((revision, at));
            }
            self.next = (self.next + 1) % self.nodes.len();
            // A pause between two attempts.
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        None
    }
}
