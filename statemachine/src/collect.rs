//! Background collection: deletes history that compaction has put out of reach.
//!
//! Node-local: when it runs, and how far it has come, is no part of the replicated state. It runs
//! beside apply, because the rows it deletes are never written again. Invariant: for a reader at or
//! above the floor nothing changes.

use bytes::Bytes;

use crate::{
    codec::{Decoder, Encoder, Malformed, Row},
    compactions,
    engine::{Engine, Table, View, WriteBatch, WriteOp},
    error::Fault,
    hash::HashPass,
    keys::{self, ChangeKind, MetaRow, Stamp},
    meta::Meta,
    read::Reader,
    types::{KeyValue, Revision},
};

/// Walks history up to the floor and deletes what is superseded there.
///
/// Before that it hashes history as the compaction found it. How far it has come with collecting is
/// in the engine, in the same write as the deletes; a hash that is not finished begins anew. To be
/// used with one engine.
#[derive(Debug, Default)]
pub struct Collector {
    hashing: Option<HashPass>,
}

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whether nothing is left to do below the present floor.
    pub done: bool,
    /// Bytes of history records this step deleted.
    pub collected_bytes: u64,
    /// Every revision below this one has been gone through.
    pub through: Revision,
}

/// How far collection has come; a local row.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    /// The floor that `next` counts towards.
    floor: Revision,
    /// The first change not gone through yet; past every change of `floor` when all were.
    next: Stamp,
    /// Bytes of history records ever deleted on this node.
    collected_bytes: u64,
}

/// The floor that collection has begun to work towards: nothing that a reader at or above it needs
/// was taken away. -1 when nothing was ever collected.
pub(crate) fn reached(view: &dyn View) -> Result<Revision, Fault> {
    let present = view.get(Table::Meta, MetaRow::Collection.key())?.is_some();
    Ok(if present {
        Mark::load(view)?.floor
    } else {
        Revision(-1)
    })
}

impl Row for Mark {
    const DAMAGED: &'static str = "collection mark is not of its length";

    fn room(&self) -> usize {
        32
    }

    fn write_row(&self, out: &mut Encoder) {
        out.fixed(self.floor);
        out.fixed(self.next.main);
        out.fixed(self.next.sub);
        out.fixed(self.collected_bytes);
    }

    fn read_row(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            floor: input.fixed()?,
            next: Stamp {
                main: input.fixed()?,
                sub: input.fixed()?,
            },
            collected_bytes: input.fixed()?,
        })
    }
}

impl Mark {
    fn load(view: &dyn View) -> Result<Self, Fault> {
        let mark = Self::find(view, Table::Meta, MetaRow::Collection.key())?;
        Ok(mark.unwrap_or_default())
    }

    fn op(&self) -> WriteOp {
        let key = Bytes::from_static(MetaRow::Collection.key());
        WriteOp::Put(Table::Meta, key, self.encode())
    }

    /// Sets out for a higher floor. The changes of the old floor itself are gone through again:
    /// its tombstones were still readable then.
    fn aim_at(&mut self, floor: Revision) {
        if self.floor != floor {
            self.next = self.next.min(Stamp::first_of(self.floor));
            self.floor = floor;
        }
    }

    fn is_done(&self) -> bool {
        self.next.main > self.floor
    }

    fn progress(&self, collected_bytes: u64) -> Progress {
        let through = self.next.main.min(self.floor);
        Progress {
            done: self.is_done(),
            collected_bytes,
            through,
        }
    }
}

impl Collector {
    /// A collector; it resumes where the last one on the same engine stopped.
    #[must_use]
    pub const fn new() -> Self {
        Self { hashing: None }
    }

    /// Bytes of history records that were ever deleted from this state on this node. Subtracted
    /// from [`Meta::history_bytes`] it is what history takes.
    ///
    /// # Errors
    /// When the engine cannot read, or the row does not decode.
    pub fn collected_bytes(view: &dyn View) -> Result<u64, Fault> {
        Ok(Mark::load(view)?.collected_bytes)
    }

    /// Goes through at most `entries_max` changes, at least one: hashes them, or deletes what they
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
                    ..mark.progress(0)
                });
            }
        };
        mark.aim_at(meta.floor);
        if mark.is_done() {
            return Ok(mark.progress(0));
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
        Ok(mark.progress(sweep.bytes))
    }

    /// Makes the hashes that collection would make impossible; returns how many entries of the step
    /// are left for that, or none when it must wait.
    fn hash(
        &mut self,
        engine: &dyn Engine,
        view: &dyn View,
        meta: Meta,
        entries_max: usize,
    ) -> Result<Option<usize>, Fault> {
        let reached = reached(view)?;
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

    /// Every put is deleted by the change that superseded it, every tombstone by itself. Changes
    /// come oldest first, so a tombstone never goes before the puts it hides.
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
        if let Some((before, ChangeKind::Put)) = self.reader.change_before(&key, stamp)?
            && before.main < floor
        {
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
