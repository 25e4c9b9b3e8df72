//! Walks an engine's table and the writes over it side by side.
//!
//! Invariant: the walk is that of the engine after these writes. Of the engine one row is read
//! ahead at most, and its value only where values are asked for.

use std::{collections::BTreeMap, ops::Bound};

use bytes::Bytes;

use crate::{
    engine::{Cursor, Engine, Table},
    error::EngineError,
};

/// Key to the value written, or to `None` where the key was deleted.
pub(crate) type Writes = BTreeMap<Bytes, Option<Bytes>>;

/// A cursor over `base` with `writes` in it, standing before the first key that is at least `from`.
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

/// Walks engine and writes side by side; where both have a key, the write counts.
struct MergeCursor<'a> {
    base: Box<dyn Cursor + 'a>,
    base_next: Ahead,
    base_view: &'a dyn Engine,
    table: Table,
    writes: &'a Writes,
    writes_next: Option<(&'a Bytes, &'a Option<Bytes>)>,
}

/// The row of the engine that comes next. It is read when it is needed, and held no longer.
#[derive(Debug)]
enum Ahead {
    Unread,
    /// With its value, unless only keys were asked for.
    Row(Bytes, Option<Bytes>),
    End,
}

/// What a step of a cursor brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Key,
    Pair,
}

/// A row of either side; a key whose value was not asked for comes with an empty one.
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

    /// Reads the engine's next row, if that was not done.
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

    /// The least row of both sides.
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
            // Its key was read when only keys were asked for.
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
