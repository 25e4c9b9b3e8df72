//! The engine in memory, for models and simulations. It can simulate a crash, which loses the
//! latest batches that were not flushed.
//!
//! Not for production. Invariant: a later write never changes a snapshot.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bytes::Bytes;

use super::{Cursor, Engine, Table, View, WriteBatch, WriteOp};
use crate::error::EngineError;

/// Batches kept to replay after a crash. Beyond that the oldest become durable, as an engine on
/// disk flushes what its memory cannot hold; a few thousand are more than any simulated run loses.
const UNFLUSHED_MAX: usize = 4096;

type Rows = BTreeMap<Bytes, Bytes>;

/// Copied on write, one table at a time, so that a snapshot costs seven reference counts.
#[derive(Clone, Debug, Default)]
struct Tables(BTreeMap<Table, Arc<Rows>>);

impl Tables {
    fn rows(&self, table: Table) -> Arc<Rows> {
        self.0.get(&table).cloned().unwrap_or_default()
    }

    fn apply(&mut self, batch: &WriteBatch) {
        for op in &batch.ops {
            match op {
                WriteOp::Put(table, key, value) => {
                    self.rows_mut(*table).insert(key.clone(), value.clone());
                }
                WriteOp::Delete(table, key) => {
                    self.rows_mut(*table).remove(key);
                }
            }
        }
    }

    fn rows_mut(&mut self, table: Table) -> &mut Rows {
        Arc::make_mut(self.0.entry(table).or_default())
    }
}

impl View for Tables {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.0.get(&table).and_then(|rows| rows.get(key)).cloned())
    }

    fn scan<'a>(&'a self, table: Table, from: &[u8]) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        let next = Bound::Included(Bytes::copy_from_slice(from));
        Ok(Box::new(MemCursor {
            rows: self.rows(table),
            next,
        }))
    }
}

#[derive(Debug, Default)]
struct State {
    tables: Tables,
    durable: Tables,
    /// Batches in `tables` but not in `durable`, oldest first.
    unflushed: VecDeque<WriteBatch>,
}

impl State {
    fn make_durable(&mut self, batches: usize) {
        for batch in self.unflushed.drain(..batches.min(self.unflushed.len())) {
            self.durable.apply(&batch);
        }
    }
}

/// An [`Engine`] in memory.
#[derive(Debug, Default)]
pub struct MemEngine {
    state: RwLock<State>,
}

impl MemEngine {
    /// Creates an empty engine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes every batch written so far durable.
    pub fn flush(&self) {
        let mut state = self.write_state();
        let batches = state.unflushed.len();
        state.make_durable(batches);
    }

    /// Returns how many batches a crash could lose.
    #[must_use]
    pub fn unflushed(&self) -> usize {
        self.read_state().unflushed.len()
    }

    /// Loses every batch that was not flushed.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// Loses the batches that were not flushed, except the oldest `survivors` of them.
    pub fn crash_keeping(&self, survivors: usize) {
        let mut state = self.write_state();
        state.make_durable(survivors);
        state.unflushed.clear();
        state.tables = state.durable.clone();
    }

    fn read_state(&self) -> RwLockReadGuard<'_, State> {
        self.state
            .read()
            .expect("nothing panics while it holds the state")
    }

    fn write_state(&self) -> RwLockWriteGuard<'_, State> {
        self.state
            .write()
            .expect("nothing panics while it holds the state")
    }
}

impl View for MemEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        self.read_state().tables.get(table, key)
    }

    fn scan<'a>(&'a self, table: Table, from: &[u8]) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        let next = Bound::Included(Bytes::copy_from_slice(from));
        Ok(Box::new(MemCursor {
            rows: self.read_state().tables.rows(table),
            next,
        }))
    }
}

impl Engine for MemEngine {
    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        let mut state = self.write_state();
        state.tables.apply(&batch);
        state.unflushed.push_back(batch);
        let excess = state.unflushed.len().saturating_sub(UNFLUSHED_MAX);
        state.make_durable(excess);
        Ok(())
    }

    fn snapshot<'a>(&'a self) -> Result<Box<dyn View + 'a>, EngineError> {
        Ok(Box::new(self.read_state().tables.clone()))
    }
}

struct MemCursor {
    rows: Arc<Rows>,
    next: Bound<Bytes>,
}

impl Cursor for MemCursor {
    fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, EngineError> {
        let from = self.next.as_ref().map(AsRef::as_ref);
        let pair = self.rows.range::<[u8], _>((from, Bound::Unbounded)).next();
        let pair = pair.map(|(key, value)| (key.clone(), value.clone()));
        if let Some((key, _)) = &pair {
            self.next = Bound::Excluded(key.clone());
        }
        Ok(pair)
    }

    fn skip_to(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.next = Bound::Included(Bytes::copy_from_slice(key));
        Ok(())
    }
}
