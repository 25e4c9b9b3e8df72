//! etcd's `HashKV` of a snapshot: what a member that is restored from it answers.
//!
//! The rule of what counts is the state machine's. What this adds is finding out, without an index,
//! which changes are the latest of their keys.

use std::collections::HashMap;

use tenure_statemachine::{Counts, HashKv, HashRule, Revision};
use thiserror::Error;

use crate::{
    bbolt::{Database, ReadAt, ReadError},
    content::{ContentError, records_of},
    schema::{BucketName, EncodedRow, Record, RevisionKey},
};

/// The floor before the first compaction, as `HashKV` reports it.
const NO_FLOOR: Revision = Revision(-1);

/// Why there is no hash.
#[derive(Debug, Error)]
pub enum HashError {
    /// The contents cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// The revision is below the floor.
    #[error("revision is compacted; the floor is {floor}")]
    Compacted {
        /// The oldest readable revision.
        floor: Revision,
    },
    /// The revision is in the future.
    #[error("revision is in the future; the latest is {latest}")]
    Future {
        /// The latest revision.
        latest: Revision,
    },
}

impl From<ReadError> for HashError {
    fn from(error: ReadError) -> Self {
        Self::Content(error.into())
    }
}

/// Hashes the history in a database up to `revision`, or up to the latest if it is zero.
///
/// A compaction that was scheduled and whose rows are not deleted yet counts as done: this is the
/// hash that a member answers after it has deleted them. When history was compacted, the keys that
/// exist are kept in memory.
///
/// # Errors
/// When the revision is compacted or in the future, or the file is damaged or cannot be read.
pub fn hash_kv<S: ReadAt>(database: &Database<S>, revision: Revision) -> Result<HashKv, HashError> {
    let (latest, floor) = range(database)?;
    if revision.0 > 0 && revision < floor {
        return Err(HashError::Compacted { floor });
    }
    if revision > latest {
        return Err(HashError::Future { latest });
    }
    let revision = if revision.0 == 0 { latest } else { revision };
    // Without a floor every change counts.
    let found = match floor {
        NO_FLOOR => None,
        floor => {
            let at_revision = Latest::at(database, revision)?;
            let any_key = at_revision.any_put();
            Some((
                any_key,
                if any_key {
                    at_revision
                } else {
                    Latest::at(database, floor)?
                },
            ))
        }
    };
    let any_key = found.as_ref().is_some_and(|(any_key, _)| *any_key);
    let mut rule = HashRule::new(floor, revision, any_key);
    let Some(bucket) = database.bucket(BucketName::Key.as_bytes())? else {
        return Ok(rule.into_hash());
    };
    for row in database.rows(&bucket) {
        let row = row?;
        let encoded = EncodedRow::new(BucketName::Key, row.clone());
        let Record::Change(at, kv) = Record::decode(encoded).map_err(ContentError::from)? else {
            continue;
        };
        let counts = match rule.counts(at.main, at.is_tombstone) {
            Counts::Always => true,
            Counts::IfLatest => {
                let latest = found.as_ref();
                latest.is_some_and(|(_, latest)| latest.is_latest(&kv.key, at))
            }
            Counts::Never => false,
            Counts::Beyond => break,
        };
        if counts {
            rule.add(&row.key, &row.value);
        }
    }
    Ok(rule.into_hash())
}

/// Returns the latest revision and the floor.
fn range<S: ReadAt>(database: &Database<S>) -> Result<(Revision, Revision), ContentError> {
    let mut floor = NO_FLOOR;
    for record in records_of(database, BucketName::Meta)? {
        if let Record::ScheduledCompaction(at) | Record::FinishedCompaction(at) = record? {
            floor = floor.max(at);
        }
    }
    let mut last = None;
    if let Some(bucket) = database.bucket(BucketName::Key.as_bytes())? {
        for row in database.rows(&bucket) {
            last = Some(EncodedRow::new(BucketName::Key, row?));
        }
    }
    let mut latest = Revision::EMPTY.max(floor);
    if let Some(Record::Change(at, _)) = last.map(Record::decode).transpose()? {
        latest = latest.max(at.main);
    }
    Ok((latest, floor))
}

/// The latest change of every key that exists at a revision.
#[derive(Debug, Default)]
struct Latest {
    puts: HashMap<Box<[u8]>, RevisionKey>,
}

impl Latest {
    fn at<S: ReadAt>(database: &Database<S>, revision: Revision) -> Result<Self, ContentError> {
        let mut latest = Self::default();
        for record in records_of(database, BucketName::Key)? {
            let Record::Change(at, kv) = record? else {
                continue;
            };
            if at.main > revision {
                break;
            }
            if at.is_tombstone {
                latest.puts.remove(&kv.key[..]);
            } else if let Some(known) = latest.puts.get_mut(&kv.key[..]) {
                *known = at;
            } else {
                // A copy: the slice would keep its page.
                latest.puts.insert(kv.key[..].into(), at);
            }
        }
        Ok(latest)
    }

    fn any_put(&self) -> bool {
        !self.puts.is_empty()
    }

    fn is_latest(&self, key: &[u8], at: RevisionKey) -> bool {
        self.puts.get(key) == Some(&at)
    }
}
