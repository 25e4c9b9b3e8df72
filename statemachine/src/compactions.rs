//! The last compactions, and the hash of history at the revision of each, as it was before.
//!
//! `HashKV` at a revision that was compacted answers what it answered before, as etcd's does for
//! its last ten compactions. That hash depends on the floor before, which is noted when a
//! compaction is applied, and on history that collection takes away, which is why collection hashes
//! first. Invariant: what is noted is a function of the commands applied; the hashes are this
//! node's own, and the same on every node.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    engine::{Table, View, WriteOp},
    error::Fault,
    keys::{MetaRow, damaged, split_i64},
    overlay::Overlay,
    types::Revision,
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

/// The compactions that are remembered, oldest first.
pub(crate) fn remembered(view: &dyn View) -> Result<Vec<Compaction>, Fault> {
    let row = view.get(Table::Meta, MetaRow::Compactions.key())?;
    let pairs = read(row.as_deref().unwrap_or_default())?;
    Ok(pairs
        .into_iter()
        .map(|(revision, floor)| Compaction {
            revision: Revision(revision),
            floor_before: Revision(floor),
        })
        .collect())
}

/// Notes a compaction, and forgets the oldest.
pub(crate) fn note(overlay: &mut Overlay, compaction: Compaction) -> Result<(), Fault> {
    let mut all = remembered(overlay)?;
    all.push(compaction);
    let first = all.len().saturating_sub(REMEMBERED_MAX);
    let pairs = all.iter().skip(first);
    let row = written(pairs.map(|it| (it.revision.0, it.floor_before.0)));
    let key = Bytes::from_static(MetaRow::Compactions.key());
    overlay.put(Table::Meta, key, row);
    Ok(())
}

/// The hashes that collection made, by revision.
pub(crate) fn hashes(view: &dyn View) -> Result<Vec<(Revision, u32)>, Fault> {
    let row = view.get(Table::Meta, MetaRow::CompactionHashes.key())?;
    let pairs = read(row.as_deref().unwrap_or_default())?;
    let hashes = pairs.into_iter().map(|(revision, hash)| {
        let hash = u32::try_from(hash).map_err(|_| damaged("a hash is of 32 bits"))?;
        Ok((Revision(revision), hash))
    });
    hashes.collect()
}

/// Keeps the hashes, the newest of them.
pub(crate) fn keep_hashes(hashes: &[(Revision, u32)]) -> WriteOp {
    let first = hashes.len().saturating_sub(REMEMBERED_MAX);
    let pairs = hashes.iter().skip(first);
    let row = written(pairs.map(|(revision, hash)| (revision.0, i64::from(*hash))));
    let key = Bytes::from_static(MetaRow::CompactionHashes.key());
    WriteOp::Put(Table::Meta, key, row)
}

fn written(pairs: impl Iterator<Item = (i64, i64)>) -> Bytes {
    let mut row = BytesMut::new();
    for (left, right) in pairs {
        row.put_i64(left);
        row.put_i64(right);
    }
    row.freeze()
}

fn read(mut row: &[u8]) -> Result<Vec<(i64, i64)>, Fault> {
    let mut pairs = Vec::new();
    while !row.is_empty() {
        let pair = split_i64(row).and_then(|(left, rest)| {
            let (right, rest) = split_i64(rest)?;
            Some((left, right, rest))
        });
        let (left, right, rest) = pair.ok_or_else(|| damaged("a row of pairs ends within one"))?;
        pairs.push((left, right));
        row = rest;
    }
    Ok(pairs)
}
