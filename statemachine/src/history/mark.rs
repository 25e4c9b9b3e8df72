//! The progress of collection on this node: a local row.

use bytes::Bytes;

use crate::{
    encoding::{Decoder, Encoder, Malformed},
    engine::{Table, View, WriteOp},
    error::Fault,
    rows::{
        Row,
        keys::{MetaRow, Stamp},
    },
    value::Revision,
};

/// The progress of collection; a local row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// The floor up to which collection works.
    pub(super) floor: Revision,
    /// The next change to process; after every change of `floor` once all are processed.
    pub(super) next: Stamp,
    /// Bytes of history records ever deleted on this node.
    pub(super) collected_bytes: u64,
}

impl Default for Mark {
    /// Before the first collection.
    fn default() -> Self {
        Self {
            floor: Revision(-1),
            next: Stamp::default(),
            collected_bytes: 0,
        }
    }
}

/// Returns the floor up to which collection has begun to work: nothing that a reader at or above it
/// needs is deleted. -1 before the first collection.
pub(super) fn reached(view: &dyn View) -> Result<Revision, Fault> {
    Ok(Mark::load(view)?.floor)
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
    pub(super) fn load(view: &dyn View) -> Result<Self, Fault> {
        let mark = Self::find(view, Table::Meta, MetaRow::Collection.key())?;
        Ok(mark.unwrap_or_default())
    }

    pub(super) fn op(&self) -> WriteOp {
        let key = Bytes::from_static(MetaRow::Collection.key());
        WriteOp::Put(Table::Meta, key, self.encode())
    }

    /// Sets a higher floor as the goal. The changes of the old floor are processed again: its
    /// tombstones were still readable then.
    pub(super) fn aim_at(&mut self, floor: Revision) {
        if self.floor != floor {
            let old = self.floor.max(Revision(0));
            self.next = self.next.min(Stamp::first_of(old));
            self.floor = floor;
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.next.main > self.floor
    }
}
