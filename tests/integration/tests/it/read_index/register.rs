//! One number under one key that only grows: its writer, its readers, and what no read may show.
//!
//! Invariant: a linearizable read shows at least the number that was acknowledged, or shown by a
//! linearizable read, before it began, and at most the last one that was sent. That makes what one
//! reader sees monotone, too.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tenure::{Client, Compare, Error, Get, GetResponse, KeyValue, Put, Relation};
use tenure_testkit::{Cluster, STATE_MAX};
use tokio::{sync::watch, task::JoinHandle};

/// The key.
const KEY: &str = "register";
/// The first number. A read that finds nothing shows zero, which is less.
const FIRST: u64 = 1;
/// How long the writer waits for an answer before it writes again, elsewhere if it must.
const WRITE_MAX: Duration = Duration::from_secs(2);
/// How long a read may wait for its answer: longer than a node is stopped.
const READ_MAX: Duration = Duration::from_secs(15);
/// Pause after a refusal, so that a node that is gone is not asked in a tight loop.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);

/// How a read is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The read that is under test.
    Linearizable,
    /// One that may show the past: by it the test shows that it would notice.
    Serializable,
}

/// A read that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    /// The least that it may show: known when it began.
    pub(super) floor: u64,
    /// What it showed.
    pub(super) value: u64,
    /// The last number that was sent when it ended.
    pub(super) sent: u64,
}

/// A register with its writer at work.
#[derive(Debug)]
pub(super) struct Register {
    known: Arc<Known>,
    writer: JoinHandle<()>,
    readers: Vec<JoinHandle<(usize, Mode, Reads)>>,
    /// For each node, a client that asks it alone and never asks twice.
    clients: Vec<Client>,
}

/// What the test knows of the number.
#[derive(Debug, Default)]
struct Known {
    floor: AtomicU64,
    sent: AtomicU64,
    acknowledged: watch::Sender<u64>,
    stop: AtomicBool,
}

/// What came of reads.
#[derive(Debug, Default)]
pub(super) struct Reads {
    pub(super) answered: Vec<Read>,
    pub(super) refused: usize,
}

impl Read {
    /// Whether it shows a past that was over when it began.
    pub(super) const fn is_stale(&self) -> bool {
        self.value < self.floor
    }

    /// Whether it shows what was not there yet.
    pub(super) const fn is_invented(&self) -> bool {
        self.value > self.sent
    }
}

impl Reads {
    pub(super) fn stale(&self) -> Vec<Read> {
        let stale = self.answered.iter().filter(|read| read.is_stale());
        stale.copied().collect()
    }

    /// Checks that every read was right, and that there was at least one.
    ///
    /// # Panics
    /// When not.
    pub(super) fn assert_linearizable(&self, what: &str) {
        assert!(!self.answered.is_empty(), "{what}: no read was answered");
        let wrong = self.answered.iter();
        let wrong: Vec<_> = wrong
            .filter(|read| read.is_stale() || read.is_invented())
            .collect();
        assert!(wrong.is_empty(), "{what}: wrong reads: {wrong:?}");
    }

    pub(super) fn merge(&mut self, other: Self) {
        self.answered.extend(other.answered);
        self.refused += other.refused;
    }
}

impl fmt::Display for Reads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (answered, stale) = (self.answered.len(), self.stale().len());
        write!(
            f,
            "{answered} answered, {} refused, {stale} stale",
            self.refused
        )
    }
}

impl Register {
    /// Starts the writer, and at each node `linearizable` and `serializable` readers.
    pub(super) async fn start(cluster: &Cluster, linearizable: usize, serializable: usize) -> Self {
        let writing = Client::builder()
            .endpoints(cluster.addresses())
            .timeout(WRITE_MAX)
            .connect()
            .await
            .unwrap();
        // A read that is made again began when it was made first: only one that is not says when.
        let reading = Client::builder()
            .endpoints(cluster.addresses())
            .timeout(READ_MAX)
            .attempts_max(1)
            .breaker(0, Duration::ZERO)
            .connect()
            .await
            .unwrap();
        writing.put(KEY, FIRST.to_string()).await.unwrap();
        let known = Arc::new(Known::default());
        for value in [&known.floor, &known.sent] {
            value.store(FIRST, Ordering::SeqCst);
        }
        let addresses = cluster.addresses();
        let clients: Vec<_> = addresses
            .iter()
            .map(|address| reading.only(address).unwrap())
            .collect();
        let mut readers = Vec::new();
        for (node, client) in clients.iter().enumerate() {
            let modes = [
                (Mode::Linearizable, linearizable),
                (Mode::Serializable, serializable),
            ];
            for (mode, count) in modes {
                for _ in 0..count {
                    let (client, known) = (client.clone(), Arc::clone(&known));
                    readers.push(tokio::spawn(async move {
                        (node, mode, keep_reading(&client, &known, mode).await)
                    }));
                }
            }
        }
        Self {
            writer: tokio::spawn(write(writing, Arc::clone(&known))),
            known,
            readers,
            clients,
        }
    }

    /// Waits until `count` more numbers were acknowledged.
    pub(super) async fn advance(&self, count: u64) {
        let mut acknowledged = self.known.acknowledged.subscribe();
        let goal = *acknowledged.borrow() + count;
        let reached = acknowledged.wait_for(|value| *value >= goal);
        let reached = tokio::time::timeout(STATE_MAX, reached).await;
        let reached = reached.expect("numbers are acknowledged");
        reached.expect("the writer writes until it is told to stop");
    }

    /// Begins `count` reads at a node, and returns when they have begun.
    pub(super) fn ask(&self, node: usize, mode: Mode, count: usize) -> Asked {
        let reads = (0..count).map(|_| {
            let (client, known) = (self.clients[node].clone(), Arc::clone(&self.known));
            let floor = known.floor();
            tokio::spawn(async move { read(&client, &known, mode, floor).await })
        });
        Asked(reads.collect())
    }

    /// Makes one linearizable read at a node.
    pub(super) async fn read(&self, node: usize) -> Result<Read, Error> {
        let floor = self.known.floor();
        read(&self.clients[node], &self.known, Mode::Linearizable, floor).await
    }

    /// Ends the writer and the readers; the reads of each node in each mode.
    pub(super) async fn finish(self) -> Vec<(usize, Mode, Reads)> {
        self.known.stop.store(true, Ordering::SeqCst);
        let mut all = Vec::new();
        for reader in self.readers {
            all.push(reader.await.unwrap());
        }
        self.writer.await.unwrap();
        all
    }
}

/// Reads that have begun.
#[derive(Debug)]
pub(super) struct Asked(Vec<JoinHandle<Result<Read, Error>>>);

impl Asked {
    /// Waits for their answers.
    pub(super) async fn answers(self) -> Reads {
        let mut reads = Reads::default();
        for asked in self.0 {
            match asked.await.unwrap() {
                Ok(read) => reads.answered.push(read),
                Err(_) => reads.refused += 1,
            }
        }
        reads
    }
}

impl Known {
    fn floor(&self) -> u64 {
        self.floor.load(Ordering::SeqCst)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

/// Increments until it is told to stop. Every number is acknowledged before the next is sent.
async fn write(client: Client, known: Arc<Known>) {
    for value in FIRST + 1.. {
        if known.stopped() {
            break;
        }
        known.sent.store(value, Ordering::SeqCst);
        // Whether an attempt took effect shows in the next one.
        while increment(&client, value).await.is_err() {
            if known.stopped() {
                return;
            }
            // A pause between two attempts.
            tokio::time::sleep(REFUSED_PAUSE).await;
        }
        known.floor.fetch_max(value, Ordering::SeqCst);
        known.acknowledged.send_replace(value);
    }
}

/// Compares before it puts: an attempt that was given up for lost must not come late and set the
/// number back.
async fn increment(client: &Client, value: u64) -> Result<(), Error> {
    let before = Compare::value(KEY, Relation::Equal, (value - 1).to_string());
    let answer = client
        .txn()
        .when(before)
        .and_then(Put::new(KEY, value.to_string()))
        .or_else(Get::new(KEY))
        .await?;
    if !answer.succeeded() {
        // An attempt before took effect, and its answer was lost.
        let found = answer.get(0).expect("the branch reads");
        assert_eq!(number(found), value, "somebody else writes the number");
    }
    Ok(())
}

async fn keep_reading(client: &Client, known: &Known, mode: Mode) -> Reads {
    let mut reads = Reads::default();
    while !known.stopped() {
        match read(client, known, mode, known.floor()).await {
            Ok(read) => reads.answered.push(read),
            Err(_) => {
                reads.refused += 1;
                // A pause between two attempts.
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
    reads
}

async fn read(client: &Client, known: &Known, mode: Mode, floor: u64) -> Result<Read, Error> {
    let get = client.get(KEY);
    let answer = match mode {
        Mode::Linearizable => get.await?,
        Mode::Serializable => get.serializable().await?,
    };
    let value = number(&answer);
    let sent = known.sent.load(Ordering::SeqCst);
    if mode == Mode::Linearizable {
        known.floor.fetch_max(value, Ordering::SeqCst);
    }
    Ok(Read { floor, value, sent })
}

fn number(answer: &GetResponse) -> u64 {
    let value = answer.first().map(KeyValue::value_str);
    value.map_or(0, |value| value.unwrap().parse().unwrap())
}
