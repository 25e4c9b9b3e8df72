//! The hash over history that etcd calls `HashKV`, bit for bit.
//!
//! Invariant: it depends on the logical history only. etcd hashes whatever rows are there; here a
//! row that collection may or may not have deleted yet is never counted, which is what etcd comes
//! to once its own compaction is through.

use crate::{
    engine::Table,
    error::{Fault, ReadError, Refusal},
    keys::{self, ChangeKind, Stamp, VersionRow},
    read::Reader,
    record,
    types::Revision,
};

/// etcd names the hashed bucket first.
const BUCKET: &[u8] = b"key";

/// A hash over history, and what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKv {
    /// CRC-32 (Castagnoli).
    pub hash: u32,
    /// The floor at the time; -1 when nothing was compacted.
    pub compact_revision: Revision,
    /// The last revision hashed.
    pub hash_revision: Revision,
}

impl Reader<'_> {
    /// Hashes history up to `revision`, or up to the latest when it is zero; below zero, as in
    /// etcd, there is nothing to hash.
    ///
    /// Above the floor every change counts. At and below it a put counts if it is still the latest
    /// of its key at `revision`; when no key exists at `revision`, etcd has nothing to keep and
    /// counts what compaction left, the puts that were latest at the floor. A tombstone exactly at
    /// the floor is kept since 3.5.16 and 3.4.34 and was deleted before; like the newer versions
    /// this skips it, so that all of them agree.
    ///
    /// etcd answers for the revision of one of its last ten compactions from a store of hashes made
    /// while it compacted, under the floor before; this hashes anew, under the present floor.
    ///
    /// # Errors
    /// Refused when `revision` is compacted or in the future. A fault when the engine cannot read
    /// or a row does not decode.
    pub fn hash_kv(&self, revision: Revision) -> Result<HashKv, ReadError> {
        let (latest, floor) = (self.meta().revision, self.meta().floor);
        if revision.0 > 0 && revision < floor {
            return Err(Refusal::Compacted { floor }.into());
        }
        if revision > latest {
            return Err(Refusal::FutureRevision { latest }.into());
        }
        let revision = if revision.0 == 0 { latest } else { revision };
        let keep_at = if revision.0 > 0 && self.any_key_at(revision)? {
            revision
        } else {
            floor
        };
        let mut hash = crc32c::crc32c(BUCKET);
        let mut cursor = self.view.scan(Table::History, &[])?;
        while let Some((row, value)) = cursor.next()? {
            let (stamp, kind) = keys::read_history(&row)?;
            if stamp.main > revision {
                break;
            }
            let counts = stamp.main > floor
                || (kind == ChangeKind::Put && {
                    let key = record::decode(value.clone())?.key;
                    self.is_latest_at(&key, stamp, keep_at)?
                });
            if counts {
                hash = crc32c::crc32c_append(hash, &row);
                hash = crc32c::crc32c_append(hash, &value);
            }
        }
        Ok(HashKv {
            hash,
            compact_revision: floor,
            hash_revision: revision,
        })
    }

    fn is_latest_at(&self, key: &[u8], stamp: Stamp, at: Revision) -> Result<bool, Fault> {
        let found = self.change_at(key, Stamp::last_of(at))?;
        Ok(found.is_some_and(|(found, _)| found == stamp))
    }

    /// Whether any key exists at `revision`; nearly always the first one answers.
    fn any_key_at(&self, revision: Revision) -> Result<bool, Fault> {
        if revision == self.meta().revision {
            return Ok(self.meta().keys > 0);
        }
        let mut cursor = self.view.scan(Table::Versions, &[])?;
        while let Some((row, kind)) = cursor.next()? {
            let found = VersionRow::parse(&row)?;
            if found.stamp.main > revision {
                cursor.skip_to(&found.at(Stamp::last_of(revision)))?;
            } else if ChangeKind::from_row_value(&kind)? == ChangeKind::Put {
                return Ok(true);
            } else {
                cursor.skip_to(&found.after())?;
            }
        }
        Ok(false)
    }
}
