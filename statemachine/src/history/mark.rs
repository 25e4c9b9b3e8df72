//! How far collection has come on this node: a local row.

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

/// How far collection has come; a local row.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    /// The floor that `next` counts towards.
    pub(super) floor: Revision,
    /// The first change not gone through yet; past every change of `floor` when all were.
    pub(super) next: Stamp,
    /// Bytes of history records ever deleted on this node.
    pub(super) collected_bytes: u64,
}

/// The floor that collection has begun to work towards: nothing that a reader at or above it needs
/// was taken away. -1 when nothing was ever collected.
pub(super) fn reached(view: &dyn View) -> Result<Revision, Fault> {
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
    pub(super) fn load(view: &dyn View) -> Result<Self, Fault> {
        let mark = Self::find(view, Table::Meta, MetaRow::Collection.key())?;
        Ok(mark.unwrap_or_default())
    }

    pub(super) fn op(&self) -> WriteOp {
        let key = Bytes::from_static(MetaRow::Collection.key());
        WriteOp::Put(Table::Meta, key, self.encode())
    }

    /// Sets out for a higher floor. The changes of the old floor itself are gone through again:
    /// its tombstones were still readable then.
    pub(super) fn aim_at(&mut self, floor: Revision) {
        if self.floor != floor {
            self.next = self.next.min(Stamp::first_of(self.floor));
            self.floor = floor;
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.next.main > self.floor
    }
}
