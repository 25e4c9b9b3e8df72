//! The hash over history that etcd calls `HashKV`, computed from a state.

use super::{
    compactions::{self, Compaction},
    hash_rule::{Counts, HashKv, HashRule},
    mark,
};
use crate::{
    engine::Table,
    error::{Fault, ReadError, Refusal},
    read::Reader,
    rows::{
        Row,
        keys::{self, ChangeKind, Stamp, VersionRow},
    },
    value::{KeyValue, Revision},
};

impl Reader<'_> {
    /// Hashes history up to `revision`, or up to the latest if it is zero; below zero, as in etcd,
    /// there is nothing to hash.
    ///
    /// Above the floor every change counts. At and below it a put counts if it is still the latest
    /// of its key at `revision`; when no key exists at `revision`, etcd has nothing to keep and
    /// counts the puts that compaction left, those that were latest at the floor. A tombstone
    /// exactly at the floor is kept since 3.5.16 and 3.4.34 and was deleted before; like the newer
    /// versions this skips it, so that all versions agree.
    ///
    /// The revision of one of the last ten compactions keeps the hash from before the compaction,
    /// under the previous floor, as in etcd since 3.5.5.
    ///
    /// # Errors
    /// Refused when `revision` is compacted or in the future. A fault when the engine cannot read
    /// or a row does not decode.
    pub fn hash_kv(&self, revision: Revision) -> Result<HashKv, ReadError> {
        if revision.0 > 0
            && let Some(found) = self.hash_before_compaction(revision)?
        {
            return Ok(found);
        }
        let (latest, floor) = (self.meta().revision, self.meta().floor);
        if revision.0 > 0 && revision < floor {
            return Err(Refusal::Compacted { floor }.into());
        }
        if revision > latest {
            return Err(Refusal::FutureRevision { latest }.into());
        }
        let revision = if revision.0 == 0 { latest } else { revision };
        Ok(self.hash_under(floor, revision)?)
    }

    /// Returns the hash at a compacted revision, as it was before the compaction.
    fn hash_before_compaction(&self, revision: Revision) -> Result<Option<HashKv>, Fault> {
        let all = compactions::remembered(self.view)?;
        let Some(found) = all.into_iter().find(|it| it.revision == revision) else {
            return Ok(None);
        };
        let hashes = compactions::hashes(self.view)?;
        if let Some((_, hash)) = hashes.into_iter().find(|it| it.0 == revision) {
            return Ok(Some(HashKv {
                hash,
                compact_revision: found.floor_before,
                hash_revision: revision,
            }));
        }
        if mark::reached(self.view)? > found.floor_before {
            return Ok(None);
        }
        // No counted row is collected yet.
        self.hash_under(found.floor_before, revision).map(Some)
    }

    fn hash_under(&self, floor: Revision, revision: Revision) -> Result<HashKv, Fault> {
        let mut pass = HashPass::begin(self, floor, revision)?;
        while !pass.step(self, usize::MAX)?.done {}
        Ok(pass.into_hash())
    }

    fn is_latest_at(&self, key: &[u8], stamp: Stamp, at: Revision) -> Result<bool, Fault> {
        let found = self.change_at(key, Stamp::last_of(at))?;
        Ok(found.is_some_and(|(found, _)| found == stamp))
    }

    /// Whether any key exists at `revision`; usually decided by the first key.
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

/// An incremental hash over history. Between the steps nothing may be collected beyond its floor;
/// later writes do not count.
#[derive(Debug)]
pub(crate) struct HashPass {
    rule: HashRule,
    /// The next change to process.
    next: Stamp,
}

/// The result of one step of a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HashStep {
    pub(crate) done: bool,
    /// Number of changes processed.
    pub(crate) entries: usize,
}

impl HashPass {
    /// Begins a pass up to `revision`, with the store compacted at `floor`.
    pub(crate) fn begin(
        reader: &Reader<'_>,
        floor: Revision,
        revision: Revision,
    ) -> Result<Self, Fault> {
        let any_key = revision.0 > 0 && reader.any_key_at(revision)?;
        Ok(Self {
            rule: HashRule::new(floor, revision, any_key),
            next: Stamp::default(),
        })
    }

    /// Begins a pass for an applied compaction.
    pub(crate) fn before(reader: &Reader<'_>, compaction: Compaction) -> Result<Self, Fault> {
        Self::begin(reader, compaction.floor_before, compaction.revision)
    }

    /// Returns the revision up to which it hashes.
    pub(crate) const fn revision(&self) -> Revision {
        self.rule.revision()
    }

    /// Processes at most `entries_max` changes.
    pub(crate) fn step(
        &mut self,
        reader: &Reader<'_>,
        entries_max: usize,
    ) -> Result<HashStep, Fault> {
        let from = keys::history(self.next, ChangeKind::Put);
        let mut cursor = reader.view.scan(Table::History, &from)?;
        let mut entries = 0_usize;
        while entries < entries_max {
            let Some((row, value)) = cursor.next()? else {
                return Ok(HashStep {
                    done: true,
                    entries,
                });
            };
            let (stamp, kind) = keys::read_history(&row)?;
            let counts = self.rule.counts(stamp.main, kind == ChangeKind::Tombstone);
            if counts == Counts::Beyond {
                return Ok(HashStep {
                    done: true,
                    entries,
                });
            }
            debug_assert!(stamp >= self.next, "a pass goes forward");
            entries = entries.saturating_add(1);
            self.next = Stamp {
                main: stamp.main,
                sub: stamp.sub.saturating_add(1),
            };
            let counts = match counts {
                Counts::Always => true,
                Counts::IfLatest => {
                    let key = KeyValue::decode(&value)?.key;
                    reader.is_latest_at(&key, stamp, self.rule.latest_at())?
                }
                Counts::Never | Counts::Beyond => false,
            };
            if counts {
                self.rule.add(&row, &value);
            }
        }
        Ok(HashStep {
            done: false,
            entries,
        })
    }

    /// Returns the hash, once the pass is done.
    pub(crate) const fn into_hash(self) -> HashKv {
        self.rule.into_hash()
    }
}
