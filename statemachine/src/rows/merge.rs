//! A cursor that merges an engine's table with the writes over it.
//!
//! Invariant: it returns the rows of the engine as after these writes. It reads at most one row of
//! the engine ahead, and the value only if values are requested.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;

use crate::{
    engine::{Cursor, Engine, Table},
    error::EngineError,
};

/// Key to the written value, or to `None` if the key was deleted.
pub(crate) type Writes = BTreeMap<Bytes, Option<Bytes>>;

/// Returns a cursor over `base` with `writes` applied, before the first key that is at least
/// `from`.
pub(crate) fn scan<'a>(
    base: &'a dyn Engine,
    writes: &'a Writes,
    table: Table,
    from: &[u8],
) -> Result<Box<dyn Cursor + 'a>, EngineError> {
    let cursor = base.scan(table, from)?;
    if writes.is_empty() {
        return Ok(cursor);
    }
    let mut merged = MergeCursor {
        base: cursor,
        base_next: Ahead::Unread,
        base_view: base,
        table,
        writes,
        writes_next: None,
    };
    merged.seek_writes(Bound::Included(from));
    Ok(Box::new(merged))
}

/// Merges engine and writes; where both have a key, the write takes precedence.
struct MergeCursor<'a> {
    base: Box<dyn Cursor + 'a>,
    base_next: Ahead,
    base_view: &'a dyn Engine,
    table: Table,
    writes: &'a Writes,
    writes_next: Option<(&'a Bytes, &'a Option<Bytes>)>,
}

/// The next row of the engine. It is read when it is needed, and kept no longer.
#[derive(Debug)]
enum Ahead {
    Unread,
    /// With its value, unless only keys were requested.
    Row(Bytes, Option<Bytes>),
    End,
}

/// The part of a row that a step returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Key,
    Pair,
}

/// A row of either side; without a requested value, the value is empty.
enum Step {
    Row(Bytes, Bytes),
    /// A write deletes the row.
    Deleted,
    End,
}

impl MergeCursor<'_> {
    fn seek_writes(&mut self, from: Bound<&[u8]>) {
        self.writes_next = self
            .writes
            .range::<[u8], _>((from, Bound::Unbounded))
            .next();
    }

    /// Reads the engine's next row, if it is not read yet.
    fn look_ahead(&mut self, wanted: Wanted) -> Result<(), EngineError> {
        if let Ahead::Unread = self.base_next {
            let row = match wanted {
                Wanted::Key => self.base.next_key()?.map(|key| (key, None)),
                Wanted::Pair => self.base.next()?.map(|(key, value)| (key, Some(value))),
            };
            self.base_next = row.map_or(Ahead::End, |(key, value)| Ahead::Row(key, value));
        }
        Ok(())
    }

    /// Returns the least row of both sides.
    fn step(&mut self, wanted: Wanted) -> Result<Step, EngineError> {
        self.look_ahead(wanted)?;
        let base_key = match &self.base_next {
            Ahead::Row(key, _) => Some(key),
            Ahead::Unread | Ahead::End => None,
        };
        let Some((key, value)) = self
            .writes_next
            .filter(|(write, _)| base_key.is_none_or(|base| *write <= base))
        else {
            return self.take_base(wanted);
        };
        if base_key == Some(key) {
            self.base_next = Ahead::Unread;
        }
        self.seek_writes(Bound::Excluded(key));
        Ok(match value {
            Some(value) => Step::Row(key.clone(), value.clone()),
            None => Step::Deleted,
        })
    }

    fn take_base(&mut self, wanted: Wanted) -> Result<Step, EngineError> {
        let Ahead::Row(key, value) = std::mem::replace(&mut self.base_next, Ahead::Unread) else {
            self.base_next = Ahead::End;
            return Ok(Step::End);
        };
        let value = match value {
            Some(value) => value,
            None if wanted == Wanted::Key => Bytes::new(),
            // Its key was read when only keys were requested.
            None => match self.base_view.get(self.table, &key)? {
                Some(value) => value,
                None => return Ok(Step::Deleted),
            },
        };
        Ok(Step::Row(key, value))
    }
}

impl Cursor for MergeCursor<'_> {
    fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, EngineError> {
        loop {
            match self.step(Wanted::Pair)? {
                Step::Row(key, value) => return Ok(Some((key, value))),
                Step::Deleted => {}
                Step::End => return Ok(None),
            }
        }
    }

    fn next_key(&mut self) -> Result<Option<Bytes>, EngineError> {
        loop {
            match self.step(Wanted::Key)? {
                Step::Row(key, _) => return Ok(Some(key)),
                Step::Deleted => {}
                Step::End => return Ok(None),
            }
        }
    }

    fn skip_to(&mut self, key: &[u8]) -> Result<(), EngineError> {
        let is_before = match &self.base_next {
            Ahead::Unread => true,
            Ahead::Row(base, _) => base.as_ref() < key,
            Ahead::End => false,
        };
        if is_before {
            self.base.skip_to(key)?;
            self.base_next = Ahead::Unread;
        }
        if self
            .writes_next
            .is_some_and(|(write, _)| write.as_ref() < key)
        {
            self.seek_writes(Bound::Included(key));
        }
        Ok(())
    }
}
