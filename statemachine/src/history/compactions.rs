//! The last compactions, and the hash of history at the revision of each, as it was before.
//!
//! `HashKV` at a revision that was compacted answers what it answered before, as etcd's does for
//! its last ten compactions. That hash depends on the floor before, which is noted when a
//! compaction is applied, and on history that collection takes away, which is why collection hashes
//! first. Invariant: what is noted is a function of the commands applied; the hashes are this
//! node's own, and the same on every node.

use bytes::Bytes;

use crate::{
    encoding::{Decoder, Encoder, Malformed},
    engine::{Table, View, WriteOp},
    error::Fault,
    rows::{self, Overlay, Row, keys::MetaRow},
    value::Revision,
};

/// Compactions that are remembered: as many as etcd keeps hashes of.
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

/// The last of what is remembered of compactions, one after the other in a row.
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

/// The compactions that are remembered, oldest first.
pub(crate) fn remembered(view: &dyn View) -> Result<Vec<Compaction>, Fault> {
    let last = Last::find(view, Table::Meta, MetaRow::Compactions.key())?;
    Ok(last.map_or_else(Vec::new, |last| last.0))
}

/// Notes a compaction, and forgets the oldest.
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

/// The hashes that collection made, by revision.
pub(crate) fn hashes(view: &dyn View) -> Result<Vec<(Revision, u32)>, Fault> {
    let last = Last::<Hashed>::find(view, Table::Meta, MetaRow::CompactionHashes.key())?;
    let hashes = last.map_or_else(Vec::new, |last| last.0);
    Ok(hashes.iter().map(|it| (it.revision, it.hash)).collect())
}

/// Keeps the hashes, the newest of them.
pub(crate) fn keep_hashes(hashes: &[(Revision, u32)]) -> WriteOp {
    let hashes = hashes.iter().map(|(revision, hash)| Hashed {
        revision: *revision,
        hash: *hash,
    });
    let row = Last(hashes.collect()).encode();
    let key = Bytes::from_static(MetaRow::CompactionHashes.key());
    WriteOp::Put(Table::Meta, key, row)
}
