//! Background collection: deletes history that compaction has made unreachable.
//!
//! Node-local: its timing and progress are not replicated. It runs concurrently with apply, because
//! the rows it deletes are never written again. Invariant: nothing changes for a reader at or above
//! the floor.

use bytes::Bytes;

use super::{
    compactions::{self, Compaction},
    hash::HashPass,
    mark::Mark,
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

/// Most compactions that are hashed one after the other. Each hash visits all of history, so of
/// more only the newest is: compactions that come faster than they are hashed would otherwise keep
/// collection from deleting anything.
const IN_ORDER_MAX: usize = 2;

/// Walks history up to the floor and deletes superseded changes.
///
/// It goes from compaction to compaction: it hashes history as of one, and deletes what that one
/// made unreachable before it turns to a later one. The progress of collection is stored in the
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
    fn of(mark: &Mark, meta: Meta, collected_bytes: u64) -> Self {
        Self {
            done: mark.is_done() && mark.floor == meta.floor,
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
        let mut entries_max = entries_max.max(1);
        if mark.is_done() {
            let Some((goal, left)) = self.next_goal(engine, view, meta, &mark, entries_max)? else {
                return Ok(Progress::of(&mark, meta, 0));
            };
            mark.aim_at(goal);
            entries_max = left;
        }
        if mark.is_done() {
            return Ok(Progress::of(&mark, meta, 0));
        }
        let floor = mark.floor;
        let mut sweep = Sweep::new(Reader::over(view, meta), floor);
        let mut cursor = view.scan(Table::History, &keys::history(mark.next, ChangeKind::Put))?;
        let mut entries = 0_usize;
        while entries < entries_max {
            let Some((row, value)) = cursor.next()? else {
                mark.next = Stamp::first_of(floor.next());
                break;
            };
            let (stamp, kind) = keys::read_history(&row)?;
            if stamp.main > floor {
                mark.next = Stamp::first_of(floor.next());
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
        Ok(Progress::of(&mark, meta, sweep.bytes))
    }

    /// Returns the floor up to which to delete next, and how many entries of the step are left for
    /// that, once the hash which this would make impossible is computed; `None` before.
    fn next_goal(
        &mut self,
        engine: &dyn Engine,
        view: &dyn View,
        meta: Meta,
        mark: &Mark,
        entries_max: usize,
    ) -> Result<Option<(Revision, usize)>, Fault> {
        if mark.floor == meta.floor {
            return Ok(Some((meta.floor, entries_max)));
        }
        let mut hashes = compactions::hashes(view)?;
        let is_known = |at| hashes.iter().any(|(known, _)| *known == at);
        // What the hash of another compaction counts is collected in part.
        let mut due = compactions::remembered(view)?;
        due.retain(|it| it.floor_before >= mark.floor && !is_known(it.revision));
        let begun = self.hashing.as_ref().map(HashPass::revision);
        let compaction = match begun {
            Some(begun) => due.iter().find(|it| it.revision == begun).copied(),
            None => next_of(&due),
        };
        let Some(compaction) = compaction else {
            // Nobody may ask for the hash begun any more: it took longer than ten compactions.
            self.hashing = None;
            return Ok(Some((begun.unwrap_or(meta.floor), entries_max)));
        };
        let reader = Reader::over(view, meta);
        let mut pass = match self.hashing.take() {
            Some(pass) => pass,
            None => HashPass::before(&reader, compaction)?,
        };
        let step = pass.step(&reader, entries_max)?;
        if !step.done {
            self.hashing = Some(pass);
            return Ok(None);
        }
        hashes.push((compaction.revision, pass.into_hash().hash));
        hashes.sort_unstable();
        let ops = vec![compactions::keep_hashes(&hashes)];
        engine.write(WriteBatch { ops })?;
        let left = entries_max.saturating_sub(step.entries).max(1);
        Ok(Some((compaction.revision, left)))
    }
}

/// The compaction to hash next of those that are `due`, oldest first.
fn next_of(due: &[Compaction]) -> Option<Compaction> {
    let is_many = due.len() > IN_ORDER_MAX;
    let next = if is_many { due.last() } else { due.first() };
    next.copied()
}

/// The deletes of one step.
struct Sweep<'a> {
    reader: Reader<'a>,
    floor: Revision,
    deletes: Vec<WriteOp>,
    bytes: u64,
}

impl<'a> Sweep<'a> {
    const fn new(reader: Reader<'a>, floor: Revision) -> Self {
        Self {
            reader,
            floor,
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
        let floor = self.floor;
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
