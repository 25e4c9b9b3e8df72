//! Reads of steps, and the memory that they hold.

use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::{FutureExt, poll};
use tenure_proto::etcdserverpb::{WatchCreateRequest, watch_create_request::FilterType};
use tenure_statemachine::{
    Command, Cursor, DeleteRange, Engine, EngineError, KeyRange, MemEngine, Put, Table, View,
    WriteBatch,
};

use super::*;
use crate::rpc::fake::FakeNode;

/// Keys and the bytes of each value: 100 MiB in all.
const KEYS: usize = 100;
const VALUE_BYTES: usize = 1 << 20;

/// An engine that counts the bytes that are read from it.
#[derive(Debug, Default)]
struct Counting {
    engine: MemEngine,
    read: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct CountingView<'a>(Box<dyn View + 'a>, Arc<AtomicUsize>);

struct CountingCursor<'a>(Box<dyn Cursor + 'a>, Arc<AtomicUsize>);

impl View for Counting {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.engine.get(table, key)
    }

    fn scan<'a>(&'a self, table: Table, from: &[u8]) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        self.engine.scan(table, from)
    }
}

impl Engine for Counting {
    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        self.engine.write(batch)
    }

    fn snapshot<'a>(&'a self) -> Result<Box<dyn View + 'a>, EngineError> {
        let view = self.engine.snapshot()?;
        Ok(Box::new(CountingView(view, Arc::clone(&self.read))))
    }
}

impl View for CountingView<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let found = self.0.get(table, key)?;
        let bytes = found.as_ref().map_or(0, Bytes::len);
        self.1.fetch_add(bytes, Ordering::Relaxed);
        Ok(found)
    }

    fn scan<'a>(&'a self, table: Table, from: &[u8]) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        let cursor = self.0.scan(table, from)?;
        Ok(Box::new(CountingCursor(cursor, Arc::clone(&self.1))))
    }
}

impl Cursor for CountingCursor<'_> {
    fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, EngineError> {
        let found = self.0.next()?;
        if let Some((key, value)) = &found {
            self.1.fetch_add(key.len() + value.len(), Ordering::Relaxed);
        }
        Ok(found)
    }

    fn skip_to(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.0.skip_to(key)
    }
}

/// A node on which `p/` was deleted, the revision of that, and a counter of the bytes read since.
fn deleted() -> (Arc<FakeNode>, Revision, Arc<AtomicUsize>) {
    let engine = Arc::new(Counting::default());
    let read = Arc::clone(&engine.read);
    let node = FakeNode::leading_over(engine);
    let value = Bytes::from(vec![b'x'; VALUE_BYTES]);
    for number in 0..KEYS {
        node.apply(&Command::Put(Put {
            key: format!("p/{number:04}").into(),
            value: value.clone(),
            ..Put::default()
        }));
    }
    let outcome = node.apply(&Command::DeleteRange(DeleteRange {
        range: KeyRange::from_wire("p/".into(), "p0".into()),
        want_previous: false,
    }));
    read.store(0, Ordering::SeqCst);
    (node, outcome.revision, read)
}

fn seeker(watcher: WatcherKey, next: Revision, request: &WatchCreateRequest) -> Seeker {
    let range = KeyRange::from_wire(request.key.clone(), request.range_end.clone());
    Seeker {
        watcher,
        interest: Interest::new(range, request),
        next,
    }
}

fn prefix(prev_kv: bool) -> WatchCreateRequest {
    WatchCreateRequest {
        key: "p/".into(),
        range_end: "p0".into(),
        prev_kv,
        ..WatchCreateRequest::default()
    }
}

fn other() -> WatchCreateRequest {
    WatchCreateRequest {
        key: "other".into(),
        prev_kv: true,
        ..WatchCreateRequest::default()
    }
}

fn history(node: &Arc<FakeNode>) -> Arc<History> {
    History::new(Arc::clone(node) as _)
}

#[tokio::test]
async fn a_watcher_of_another_key_reads_nothing_of_what_a_large_delete_deleted() {
    let (node, revision, read) = deleted();
    let history = history(&node);
    let step = history.step(vec![seeker(1, revision, &other())]).await;
    assert_eq!(step.through, revision);
    assert!(
        step.advanced
            .iter()
            .all(|(_, received)| received.is_empty())
    );
    assert_eq!(step.advanced.len(), 1, "it goes on after the delete");
    let read = read.load(Ordering::SeqCst);
    println!("read {read} bytes beside a delete of {KEYS} MiB");
    assert!(read <= 1 << 20, "{read} bytes");
}

#[tokio::test]
async fn previous_records_are_read_for_those_alone_who_want_them() {
    let (node, revision, read) = deleted();
    let history = history(&node);
    // The watcher of previous records filters deletes out.
    let no_deletes = WatchCreateRequest {
        filters: vec![FilterType::Nodelete as i32],
        ..prefix(true)
    };
    let seekers = vec![
        seeker(1, revision, &prefix(false)),
        seeker(2, revision, &no_deletes),
        seeker(3, revision.next(), &prefix(true)),
    ];
    let step = Arc::clone(&history).step(seekers).await;
    let received: Vec<_> = step
        .advanced
        .iter()
        .map(|(_, received)| received.len())
        .collect();
    assert_eq!(received, [KEYS, 0, 0]);
    let without = read.swap(0, Ordering::SeqCst);
    assert!(without <= 1 << 20, "{without} bytes");
    drop(step);
    let step = history.step(vec![seeker(1, revision, &prefix(true))]).await;
    let (_, received) = &step.advanced[0];
    assert_eq!(received.len(), KEYS);
    let whole = received.iter().filter_map(|event| event.prev_kv.as_ref());
    assert!(whole.map(|kv| kv.value.len()).eq([VALUE_BYTES; KEYS]));
    assert!(read.load(Ordering::SeqCst) >= KEYS * VALUE_BYTES);
}

/// Two of them exceed the memory of all streams, and the third matches little.
#[tokio::test]
async fn a_step_that_exceeds_one_share_waits_for_its_own_and_is_not_read_meanwhile() {
    let (node, revision, read) = deleted();
    let history = history(&node);
    let large = || Arc::clone(&history).step(vec![seeker(1, revision, &prefix(true))]);
    let first = large().await;
    let second = large().await;
    let held = SHARES_BYTES_MAX - history.account.free_bytes();
    assert!(held >= 2 * KEYS * VALUE_BYTES, "{held} bytes");
    read.store(0, Ordering::SeqCst);
    let mut third = Box::pin(large());
    assert!(poll!(&mut third).is_pending());
    // Measuring reads once and keeps nothing; then the step waits.
    while history.account.free_bytes() > 0 {
        assert!(poll!(&mut third).is_pending());
        tokio::task::yield_now().await;
    }
    assert!(third.as_mut().now_or_never().is_none());
    assert!(read.load(Ordering::SeqCst) < KEYS * VALUE_BYTES * 3 / 2);
    drop(first);
    let third = third.await;
    assert_eq!(third.advanced[0].1.len(), KEYS);
    drop((second, third));
    assert_eq!(history.account.free_bytes(), SHARES_BYTES_MAX);
}
