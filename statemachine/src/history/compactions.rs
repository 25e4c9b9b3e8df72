//! The last compactions, and the hash of history at the revision of each, as it was before.
//!
//! As in etcd for its last ten compactions, `HashKV` at a compacted revision still returns the hash
//! from before the compaction. That hash depends on the previous floor, which is recorded when a
//! compaction is applied, and on history that collection deletes, so collection hashes first.
//! Invariant: the recorded compactions are a function of the applied commands; the hashes are
//! computed by each node, with equal results.

use bytes::Bytes;

use crate::{
    encoding::{Decoder, Encoder, Malformed},
    engine::{Table, View, WriteOp},
    error::Fault,
    rows::{self, Overlay, Row, keys::MetaRow},
    value::Revision,
};

/// Number of compactions recorded: as many as etcd keeps hashes of.
const REMEMBERED_MAX: usize = 10;

/// A compaction that was applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compaction {
    /// The revision compacted, the floor since.
    pub(crate) revision: Revision,
    /// The floor before.
    pub(crate) floor_before: Revision,
}

rows::row! { Compaction { revision, floor_before }, "a compaction is cut short" }

/// The hash of history at the revision of a compaction.
#[derive(Clone, Copy, Debug)]
struct Hashed {
    revision: Revision,
    hash: u32,
}

impl Row for Hashed {
    const DAMAGED: &'static str = "a hash is of 32 bits";

    fn write_row(&self, out: &mut Encoder) {
        out.fixed(self.revision);
        out.fixed(u64::from(self.hash));
    }

    fn read_row(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let (revision, hash) = (input.fixed()?, input.fixed::<u64>()?);
        let hash = u32::try_from(hash).map_err(|_| Malformed::Form(Self::DAMAGED))?;
        Ok(Self { revision, hash })
    }
}

/// The newest recorded items, one after the other in a row.
#[derive(Debug)]
struct Last<T>(Vec<T>);

impl<T: Row> Row for Last<T> {
    const DAMAGED: &'static str = T::DAMAGED;

    fn write_row(&self, out: &mut Encoder) {
        let first = self.0.len().saturating_sub(REMEMBERED_MAX);
        self.0.iter().skip(first).for_each(|it| it.write_row(out));
    }

    fn read_row(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let mut all = Vec::new();
        while !input.is_at_end() {
            all.push(T::read_row(input)?);
        }
        Ok(Self(all))
    }
}

/// Returns the recorded compactions, oldest first.
pub(crate) fn remembered(view: &dyn View) -> Result<Vec<Compaction>, Fault> {
    let last = Last::find(view, Table::Meta, MetaRow::Compactions.key())?;
    Ok(last.map_or_else(Vec::new, |last| last.0))
}

/// Records a compaction, and drops the oldest.
pub(crate) fn note(overlay: &mut Overlay, compaction: Compaction) -> Result<(), Fault> {
    let mut all = remembered(overlay)?;
    debug_assert!(
        compaction.floor_before < compaction.revision,
        "the floor moves up"
    );
    debug_assert!(
        all.last()
            .is_none_or(|last| last.revision == compaction.floor_before),
        "the floor before is that of the compaction before"
    );
    all.push(compaction);
    let key = Bytes::from_static(MetaRow::Compactions.key());
    overlay.put(Table::Meta, key, Last(all).encode());
    Ok(())
}

/// Returns the hashes that collection made, by revision.
pub(crate) fn hashes(view: &dyn View) -> Result<Vec<(Revision, u32)>, Fault> {
    let last = Last::<Hashed>::find(view, Table::Meta, MetaRow::CompactionHashes.key())?;
    let hashes = last.map_or_else(Vec::new, |last| last.0);
    Ok(hashes.iter().map(|it| (it.revision, it.hash)).collect())
}

/// Returns the write that stores the newest hashes.
pub(crate) fn keep_hashes(hashes: &[(Revision, u32)]) -> WriteOp {
    let hashes = hashes.iter().map(|(revision, hash)| Hashed {
        revision: *revision,
        hash: *hash,
    });
    let row = Last(hashes.collect()).encode();
    let key = Bytes::from_static(MetaRow::CompactionHashes.key());
    WriteOp::Put(Table::Meta, key, row)
}
