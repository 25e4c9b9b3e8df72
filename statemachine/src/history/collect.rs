//! Background collection: deletes history that compaction has made unreachable.
//!
//! Node-local: its timing and progress are not replicated. It runs concurrently with apply, because
//! the rows it deletes are never written again. Invariant: nothing changes for a reader at or above
//! the floor.

use bytes::Bytes;

use super::{
    compactions,
    hash::HashPass,
    mark::{Mark, reached},
};
use crate::{
    engine::{Engine, Table, View, WriteBatch, WriteOp},
    error::Fault,
    meta::Meta,
    read::Reader,
    rows::{
        Row,
        keys::{self, ChangeKind, Stamp},
    },
    value::{KeyValue, Revision},
};

/// Walks history up to the floor and deletes superseded changes.
///
/// Before that it hashes history as of the compaction. The progress of collection is stored in the
/// engine, in the same write as the deletes; an unfinished hash starts over. To be used with one
/// engine.
#[derive(Debug, Default)]
pub struct Collector {
    hashing: Option<HashPass>,
}

/// The result of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whether all history below the present floor is collected.
    pub done: bool,
    /// Bytes of history records this step deleted.
    pub collected_bytes: u64,
    /// All revisions below this one were processed.
    pub through: Revision,
}

impl Progress {
    fn of(mark: &Mark, collected_bytes: u64) -> Self {
        Self {
            done: mark.is_done(),
            collected_bytes,
            through: mark.next.main.min(mark.floor),
        }
    }
}

impl Collector {
    /// Creates a collector; it resumes where the last one on the same engine stopped.
    #[must_use]
    pub const fn new() -> Self {
        Self { hashing: None }
    }

    /// Returns the bytes of history records ever deleted from this state on this node.
    /// [`Meta::history_bytes`] less this is the present size of history.
    ///
    /// # Errors
    /// When the engine cannot read, or the row does not decode.
    pub fn collected_bytes(view: &dyn View) -> Result<u64, Fault> {
        Ok(Mark::load(view)?.collected_bytes)
    }

    /// Returns where the history of `revision` and of later ones begins in
    /// [`Table::History`], for engines that store tables in parts.
    #[must_use]
    pub fn history_from(revision: Revision) -> Bytes {
        keys::history(Stamp::first_of(revision), ChangeKind::Put)
    }

    /// Processes at most `entries_max` changes, at least one: hashes them, or deletes what they
    /// superseded.
    ///
    /// # Errors
    /// When the engine cannot read or write, or a row does not decode.
    pub fn step(&mut self, engine: &dyn Engine, entries_max: usize) -> Result<Progress, Fault> {
        let snapshot = engine.snapshot()?;
        let view = snapshot.as_ref();
        let meta = Meta::load(view)?;
        let mut mark = Mark::load(view)?;
        if meta.floor.0 < 0 {
            return Ok(Progress {
                done: true,
                collected_bytes: 0,
                through: Revision(0),
            });
        }
        let entries_max = match self.hash(engine, view, meta, entries_max.max(1))? {
            Some(left) => left,
            None => {
                return Ok(Progress {
                    done: false,
                    ..Progress::of(&mark, 0)
                });
            }
        };
        mark.aim_at(meta.floor);
        if mark.is_done() {
            return Ok(Progress::of(&mark, 0));
        }
        let mut sweep = Sweep::new(Reader::over(view, meta));
        let mut cursor = view.scan(Table::History, &keys::history(mark.next, ChangeKind::Put))?;
        let mut entries = 0_usize;
        while entries < entries_max.max(1) {
            let Some((row, value)) = cursor.next()? else {
                mark.next = Stamp::first_of(meta.floor.next());
                break;
            };
            let (stamp, kind) = keys::read_history(&row)?;
            if stamp.main > meta.floor {
                mark.next = Stamp::first_of(meta.floor.next());
                break;
            }
            debug_assert!(stamp >= mark.next, "collection goes forward");
            sweep.visit(stamp, kind, &row, value)?;
            mark.next = Stamp {
                main: stamp.main,
                sub: stamp.sub.saturating_add(1),
            };
            entries = entries.saturating_add(1);
        }
        mark.collected_bytes = mark.collected_bytes.saturating_add(sweep.bytes);
        let mut ops = sweep.deletes;
        ops.push(mark.op());
        engine.write(WriteBatch { ops })?;
        Ok(Progress::of(&mark, sweep.bytes))
    }

    /// Computes the hashes that collection would make impossible. Returns how many entries of the
    /// step are left for collection; `None` when hashing is not finished.
    fn hash(
        &mut self,
        engine: &dyn Engine,
        view: &dyn View,
        meta: Meta,
        entries_max: usize,
    ) -> Result<Option<usize>, Fault> {
        let reached = reached(view)?;
        debug_assert!(
            reached <= meta.floor,
            "nothing above the floor is collected"
        );
        if reached == meta.floor {
            return Ok(Some(entries_max));
        }
        let reader = Reader::over(view, meta);
        let mut hashes = compactions::hashes(view)?;
        let mut left = entries_max;
        for compaction in compactions::remembered(view)? {
            let revision = compaction.revision;
            let is_known = hashes.iter().any(|(known, _)| *known == revision);
            if is_known || compaction.floor_before < reached {
                continue;
            }
            let begun = self.hashing.take();
            let mut pass = match begun.filter(|pass| pass.revision() == revision) {
                Some(pass) => pass,
                None => HashPass::before(&reader, compaction)?,
            };
            let step = pass.step(&reader, left)?;
            left = left.saturating_sub(step.entries);
            if !step.done {
                self.hashing = Some(pass);
                return Ok(None);
            }
            hashes.push((revision, pass.into_hash().hash));
            let ops = vec![compactions::keep_hashes(&hashes)];
            engine.write(WriteBatch { ops })?;
        }
        Ok(Some(left))
    }
}

/// The deletes of one step.
struct Sweep<'a> {
    reader: Reader<'a>,
    deletes: Vec<WriteOp>,
    bytes: u64,
}

impl<'a> Sweep<'a> {
    const fn new(reader: Reader<'a>) -> Self {
        Self {
            reader,
            deletes: Vec::new(),
            bytes: 0,
        }
    }

    /// A put is deleted by the change that superseded it, a tombstone by itself. Changes are
    /// visited oldest first, so a tombstone is never deleted before the puts it hides.
    fn visit(
        &mut self,
        stamp: Stamp,
        kind: ChangeKind,
        row: &Bytes,
        value: Bytes,
    ) -> Result<(), Fault> {
        let floor = self.reader.meta().floor;
        let value_len = value.len();
        let key = KeyValue::decode(&value)?.key;
        debug_assert!(stamp.main <= floor, "changes above the floor stay");
        if let Some((before, ChangeKind::Put)) = self.reader.change_before(&key, stamp)?
            && before.main < floor
        {
            debug_assert!(before < stamp, "a change is superseded by a later one");
            let row = keys::history(before, ChangeKind::Put);
            let value = self.reader.view.get(Table::History, &row)?;
            self.delete(&key, before, row, value.map_or(0, |value| value.len()));
        }
        if kind == ChangeKind::Tombstone && stamp.main < floor {
            self.delete(&key, stamp, row.clone(), value_len);
        }
        Ok(())
    }

    fn delete(&mut self, key: &[u8], stamp: Stamp, row: Bytes, value_len: usize) {
        let bytes = row.len().saturating_add(value_len);
        self.bytes = self.bytes.saturating_add(bytes as u64);
        self.deletes.push(WriteOp::Delete(Table::History, row));
        self.deletes
            .push(WriteOp::Delete(Table::Versions, keys::version(key, stamp)));
    }
}
