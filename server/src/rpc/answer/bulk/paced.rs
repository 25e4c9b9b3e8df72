//! A view that reports every row read through it to a [`Turn`].
//!
//! Once the read must end, its cursors are at their end. A lookup by key never reports a present
//! row as absent.

use bytes::Bytes;
use tenure_statemachine::{
    EngineError,
    engine::{Cursor, Table, View},
};

use super::Turn;

#[derive(Debug)]
pub(super) struct Paced<'a> {
    view: &'a dyn View,
    turn: &'a Turn,
}

impl<'a> Paced<'a> {
    pub(super) const fn new(view: &'a dyn View, turn: &'a Turn) -> Self {
        Self { view, turn }
    }
}

impl View for Paced<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let found = self.view.get(table, key)?;
        // Only cursors end early.
        let _goes_on = self.turn.row(found.as_ref().map_or(0, Bytes::len));
        Ok(found)
    }

    fn scan<'a>(&'a self, table: Table, from: &[u8]) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        Ok(Box::new(PacedCursor {
            cursor: self.view.scan(table, from)?,
            turn: self.turn,
        }))
    }
}

struct PacedCursor<'a> {
    cursor: Box<dyn Cursor + 'a>,
    turn: &'a Turn,
}

impl Cursor for PacedCursor<'_> {
    fn next(&mut self) -> Result<Option<(Bytes, Bytes)>, EngineError> {
        let Some((key, value)) = self.cursor.next()? else {
            return Ok(None);
        };
        let goes_on = self.turn.row(key.len() + value.len());
        Ok(goes_on.then_some((key, value)))
    }

    fn next_key(&mut self) -> Result<Option<Bytes>, EngineError> {
        let Some(key) = self.cursor.next_key()? else {
            return Ok(None);
        };
        // Counted, not kept.
        Ok(self.turn.row(0).then_some(key))
    }

    fn skip_to(&mut self, key: &[u8]) -> Result<(), EngineError> {
        self.cursor.skip_to(key)
    }
}
