//! An engine in memory that counts: bytes of the rows that were read and are still held, and reads.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use tenure_statemachine::{Cursor, Engine, EngineError, MemEngine, Table, View, WriteBatch};

/// What is held, and the most that was since it was last asked.
#[derive(Debug, Default)]
struct Held {
    now: AtomicUsize,
    most: AtomicUsize,
}

/// A row that was read; it is held as long as any part of it.
struct Row {
    bytes: Bytes,
    held: Arc<Held>,
}

impl AsRef<[u8]> for Row {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.held.now.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counting {
    engine: MemEngine,
    held: Arc<Held>,
    gets: AtomicUsize,
}

impl Counting {
    /// The most bytes that were held at once while `run` ran.
    pub(crate) fn most_held(&self, run: impl FnOnce()) -> usize {
        let before = self.held.now.load(Ordering::Relaxed);
        self.held.most.store(before, Ordering::Relaxed);
        run();
        self.held.most.load(Ordering::Relaxed) - before
    }

    /// How many single rows were asked for while `run` ran.
    pub(crate) fn gets(&self, run: impl FnOnce()) -> usize {
        let before = self.gets.load(Ordering::Relaxed);
        run();
        self.gets.load(Ordering::Relaxed) - before
    }

    fn counted(&self, bytes: Bytes) -> Bytes {
        counted(&self.held, bytes)
    }
}

fn counted(held: &Arc<Held>, bytes: Bytes) -> Bytes {
    let now = held.now.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
    held.most.fetch_max(now, Ordering::Relaxed);
    let held = Arc::clone(held);
    Bytes::from_owner(Row { bytes, held })
}

impl View for Counting {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        let found = self.engine.get(table, key)?;
        Ok(found.map(|row| self.counted(row)))
    }

    fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, EngineError> {
        let found = self.engine.get_many(table, keys)?.into_iter();
        Ok(found.map(|row| row.map(|row| self.counted(row))).collect())
    }

    fn scan<'a>(&'a self, table: Table, from: &[u8]) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        let cursor = self.engine.scan(table, from)?;
        let held = &self.held;
        Ok(Box::new(CountingCursor { cursor, held }))
    }
}

impl Engine for Counting {
    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        self.engine.write(batch)
    }

    fn snapshot<'a>(&'a self) -> Result<Box<dyn View + 'a>, EngineError> {
        self.engine.snapshot()
    }
}

struct CountingCursor<'a> {
    cursor: Box<dyn Cursor + 'a>,
    held: &'a Arc<Held>,
}

impl Cursor for CountingCursor<'_> {
    fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, EngineError> {
        let pair = self.cursor.next()?;
        Ok(pair.map(|(key, row)| (key, counted(self.held, row))))
    }

    fn next_key(&mut self) -> Result<Option<Bytes>, EngineError> {
        self.cursor.next_key()
    }

    fn skip_to(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.cursor.skip_to(key)
    }
}
