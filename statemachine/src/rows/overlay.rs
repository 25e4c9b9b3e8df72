//! Writes that are not in the engine yet, laid over it, so that later commands of a batch read the
//! writes of earlier ones.
//!
//! Not a cache: it contains writes only. Invariant: reading the overlay equals reading the engine
//! after the overlay's writes.

use std::sync::Arc;

use bytes::Bytes;

use super::merge::{self, Writes};
use crate::{
    engine::{Cursor, Engine, Table, View, WriteBatch, WriteOp},
    error::EngineError,
};

#[derive(Debug)]
pub(crate) struct Overlay {
    base: Arc<dyn Engine>,
    current: Writes,
    history: Writes,
    versions: Writes,
    leases: Writes,
    lease_keys: Writes,
    cluster: Writes,
    meta: Writes,
    /// The previous state of rows written since [`Overlay::begin_undo`].
    undo: Option<Undo>,
    bytes: usize,
}

/// The data to restore an earlier state of an overlay.
#[derive(Debug, Default)]
struct Undo(Vec<(Table, Bytes, Option<Option<Bytes>>)>);

/// Memory of a write beside its key and value: nodes of trees, handles of shared bytes.
const WRITE_OVERHEAD_BYTES: usize = 128;

impl Overlay {
    pub(crate) fn new(base: Arc<dyn Engine>) -> Self {
        Self {
            base,
            current: Writes::new(),
            history: Writes::new(),
            versions: Writes::new(),
            leases: Writes::new(),
            lease_keys: Writes::new(),
            cluster: Writes::new(),
            meta: Writes::new(),
            undo: None,
            bytes: 0,
        }
    }

    /// Returns about how many bytes the writes take.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Makes the following writes undoable.
    pub(crate) fn begin_undo(&mut self) {
        debug_assert!(self.undo.is_none(), "undo sections do not nest");
        self.undo = Some(Undo::default());
    }

    /// Keeps the writes since [`Overlay::begin_undo`].
    pub(crate) fn keep(&mut self) {
        debug_assert!(self.undo.is_some(), "a kept section was begun");
        self.undo = None;
    }

    /// Undoes the writes since [`Overlay::begin_undo`].
    pub(crate) fn undo(&mut self) {
        debug_assert!(self.undo.is_some(), "an undone section was begun");
        let Some(undo) = self.undo.take() else {
            return;
        };
        for (table, key, before) in undo.0.into_iter().rev() {
            let writes = self.writes_mut(table);
            match before {
                Some(written) => writes.insert(key, written),
                None => writes.remove(&key),
            };
        }
    }

    pub(crate) fn put(&mut self, table: Table, key: Bytes, value: Bytes) {
        self.write(table, key, Some(value));
    }

    pub(crate) fn delete(&mut self, table: Table, key: Bytes) {
        self.write(table, key, None);
    }

    fn write(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        let len = key
            .len()
            .saturating_add(value.as_ref().map_or(0, Bytes::len));
        self.bytes = self
            .bytes
            .saturating_add(len)
            .saturating_add(WRITE_OVERHEAD_BYTES);
        let Some(mut undo) = self.undo.take() else {
            self.writes_mut(table).insert(key, value);
            return;
        };
        let before = self.writes_mut(table).insert(key.clone(), value);
        undo.0.push((table, key, before));
        self.undo = Some(undo);
    }

    /// Returns the writes, by table and key, so that the engine inserts in order.
    pub(crate) fn into_batch(mut self) -> WriteBatch {
        debug_assert!(self.undo.is_none(), "no change is under way in a batch");
        let mut ops = Vec::new();
        for table in Table::ALL {
            let writes = std::mem::take(self.writes_mut(table));
            ops.extend(writes.into_iter().map(|(key, value)| match value {
                Some(value) => WriteOp::Put(table, key, value),
                None => WriteOp::Delete(table, key),
            }));
        }
        WriteBatch { ops }
    }

    const fn writes(&self, table: Table) -> &Writes {
        match table {
            Table::Current => &self.current,
            Table::History => &self.history,
            Table::Versions => &self.versions,
            Table::Leases => &self.leases,
            Table::LeaseKeys => &self.lease_keys,
            Table::Cluster => &self.cluster,
            Table::Meta => &self.meta,
        }
    }

    const fn writes_mut(&mut self, table: Table) -> &mut Writes {
        match table {
            Table::Current => &mut self.current,
            Table::History => &mut self.history,
            Table::Versions => &mut self.versions,
            Table::Leases => &mut self.leases,
            Table::LeaseKeys => &mut self.lease_keys,
            Table::Cluster => &mut self.cluster,
            Table::Meta => &mut self.meta,
        }
    }
}

impl View for Overlay {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        match self.writes(table).get(key) {
            Some(written) => Ok(written.clone()),
            None => self.base.get(table, key),
        }
    }

    /// Reads all unwritten keys from the base at once.
    fn get_many(&self, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, EngineError> {
        let writes = self.writes(table);
        let asked: Vec<Bytes> = keys
            .iter()
            .filter(|key| !writes.contains_key(*key))
            .cloned()
            .collect();
        let mut of_base = self.base.get_many(table, &asked)?.into_iter();
        let found = keys.iter().map(|key| match writes.get(key) {
            Some(written) => written.clone(),
            None => of_base.next().expect("a view answers for each key"),
        });
        Ok(found.collect())
    }

    fn scan<'a>(&'a self, table: Table, from: &[u8]) -> Result<Box<dyn Cursor + 'a>, EngineError> {
        merge::scan(self.base.as_ref(), self.writes(table), table, from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::MemEngine;

    const TABLE: Table = Table::Current;

    fn put(key: &'static str, value: &'static str) -> WriteOp {
        WriteOp::Put(TABLE, Bytes::from(key), Bytes::from(value))
    }

    /// The engine has rows `a c e g`; over them `b`, `c` and `h` are written, and `e` is deleted.
    fn overlay() -> Overlay {
        let engine = MemEngine::new();
        let ops = ["a", "c", "e", "g"].map(|key| put(key, "engine")).to_vec();
        engine.write(WriteBatch { ops }).unwrap();
        let mut overlay = Overlay::new(Arc::new(engine));
        for key in ["b", "c", "h"] {
            overlay.put(TABLE, Bytes::from(key), Bytes::from("write"));
        }
        overlay.delete(TABLE, Bytes::from("e"));
        overlay
    }

    fn pairs(cursor: &mut dyn Cursor) -> Vec<(Bytes, Bytes)> {
        std::iter::from_fn(|| cursor.next().unwrap()).collect()
    }

    #[test]
    fn writes_hide_what_the_engine_holds() {
        let overlay = overlay();
        let get = |key: &str| overlay.get(TABLE, key.as_bytes()).unwrap();
        assert_eq!(get("a").unwrap(), "engine");
        assert_eq!(get("c").unwrap(), "write");
        assert_eq!(get("e"), None);
        assert_eq!(get("h").unwrap(), "write");
    }

    #[test]
    fn a_scan_merges_writes_and_engine() {
        let overlay = overlay();
        let all = pairs(overlay.scan(TABLE, b"").unwrap().as_mut());
        let keys: Vec<&[u8]> = all.iter().map(|(key, _)| key.as_ref()).collect();
        assert_eq!(keys, [b"a", b"b", b"c", b"g", b"h"]);
        let values: Vec<&[u8]> = all.iter().map(|(_, value)| value.as_ref()).collect();
        assert_eq!(
            values,
            [
                b"engine".as_slice(),
                b"write",
                b"write",
                b"engine",
                b"write"
            ]
        );
    }

    #[test]
    fn a_skip_moves_past_writes_and_engine_rows_alike() {
        let overlay = overlay();
        for (target, expected) in [("b", "b"), ("c", "c"), ("d", "g"), ("h", "h")] {
            let mut cursor = overlay.scan(TABLE, b"").unwrap();
            cursor.skip_to(target.as_bytes()).unwrap();
            assert_eq!(
                cursor.next().unwrap().unwrap().0,
                expected,
                "skipping to {target}"
            );
        }
        let mut cursor = overlay.scan(TABLE, b"").unwrap();
        cursor.skip_to(b"i").unwrap();
        assert_eq!(cursor.next().unwrap(), None);
    }

    #[test]
    fn a_walk_over_keys_may_go_on_with_values_and_the_other_way_round() {
        let overlay = overlay();
        let all = pairs(overlay.scan(TABLE, b"").unwrap().as_mut());
        for pattern in 0..32_u32 {
            let mut cursor = overlay.scan(TABLE, b"").unwrap();
            for (step, (key, value)) in all.iter().enumerate() {
                if pattern >> step & 1 == 0 {
                    assert_eq!(cursor.next_key().unwrap().as_ref(), Some(key));
                } else {
                    let pair = cursor.next().unwrap();
                    assert_eq!(pair, Some((key.clone(), value.clone())));
                }
            }
            assert_eq!(cursor.next_key().unwrap(), None);
            assert_eq!(cursor.next().unwrap(), None);
        }
    }

    #[test]
    fn several_rows_are_read_at_once_from_writes_and_engine() {
        let overlay = overlay();
        let keys = ["a", "b", "c", "d", "e", "g", "h"].map(Bytes::from);
        let found = overlay.get_many(TABLE, &keys).unwrap();
        let single = keys.map(|key| overlay.get(TABLE, &key).unwrap());
        assert_eq!(found, single);
        assert_eq!(found.iter().flatten().count(), 5);
    }

    #[test]
    fn writes_are_taken_back_as_if_they_had_not_been() {
        let mut overlay = overlay();
        let before = pairs(overlay.scan(TABLE, b"").unwrap().as_mut());
        overlay.begin_undo();
        overlay.put(TABLE, Bytes::from("b"), Bytes::from("again"));
        overlay.put(TABLE, Bytes::from("b"), Bytes::from("and again"));
        overlay.put(TABLE, Bytes::from("e"), Bytes::from("back"));
        overlay.delete(TABLE, Bytes::from("a"));
        assert_ne!(pairs(overlay.scan(TABLE, b"").unwrap().as_mut()), before);
        overlay.undo();
        assert_eq!(pairs(overlay.scan(TABLE, b"").unwrap().as_mut()), before);
    }

    #[test]
    fn the_batch_written_makes_the_engine_read_like_the_overlay() {
        let overlay = overlay();
        let read = pairs(overlay.scan(TABLE, b"").unwrap().as_mut());
        let base = Arc::clone(&overlay.base);
        base.write(overlay.into_batch()).unwrap();
        assert_eq!(pairs(base.scan(TABLE, b"").unwrap().as_mut()), read);
    }
}
