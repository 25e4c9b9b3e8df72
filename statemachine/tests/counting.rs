//! An engine in memory that counts the rows that are read.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use tenure_statemachine::{Cursor, Engine, EngineError, MemEngine, Table, View, WriteBatch};

/// Counts the rows that are read.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    engine: MemEngine,
    reads: AtomicU64,
}

impl Counting {
    /// Rows that were read so far.
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }
}

struct CountingCursor<'a> {
    counting: &'a Counting,
    cursor: Box<dyn Cursor + 'a>,
}

impl fmt::Debug for CountingCursor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CountingCursor")
    }
}

impl View for Counting {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.count();
        self.engine.get(table, key)
    }

    fn scan<'a>(&'a self, table: Table, from: &[u8]) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        let cursor = self.engine.scan(table, from)?;
        Ok(Box::new(CountingCursor {
            counting: self,
            cursor,
        }))
    }
}

impl Cursor for CountingCursor<'_> {
    fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, EngineError> {
        self.counting.count();
        self.cursor.next()
    }

    fn skip_to(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.counting.count();
        self.cursor.skip_to(key)
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
