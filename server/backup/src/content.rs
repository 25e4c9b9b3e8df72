//! What is in a snapshot, counted.

use std::collections::HashSet;

use tenure_statemachine::Revision;
use thiserror::Error;

use crate::{
    bbolt::{Database, ReadAt, ReadError},
    schema::{Alarm, BucketName, EncodedRow, Member, Record, RowError},
};

/// Members, and alarms, that are listed at most. A cluster has a handful of either; more can only
/// come out of a file that somebody made.
const LISTED_MAX: usize = 10_000;

/// What is in a snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Contents {
    /// The revision of the key space: that of the last change, or of a later compaction.
    pub revision: Revision,
    /// The revision that history is compacted at; `None` before the first compaction.
    pub compacted: Option<Revision>,
    /// Whether history below that revision is deleted from the file.
    pub is_collected: bool,
    /// Number of keys that exist. The empty key, which a restore with a bumped revision adds, does
    /// not count.
    pub keys: u64,
    /// Number of changes in the bucket `key`.
    pub changes: u64,
    /// Number of rows in all buckets.
    pub rows: u64,
    /// Number of leases.
    pub leases: u64,
    /// Whether authentication is on.
    pub auth_enabled: bool,
    /// Number of users.
    pub users: u64,
    /// Number of roles.
    pub roles: u64,
    /// Raft's applied index; zero when it is not stored.
    pub consistent_index: u64,
    /// Raft's term at that index; zero when it is not stored.
    pub term: u64,
    /// The storage version, if it is stored.
    pub storage_version: Option<String>,
    /// The version of the cluster, if it is stored.
    pub cluster_version: Option<String>,
    /// The members.
    pub members: Vec<Member>,
    /// Number of members that were removed.
    pub removed_members: u64,
    /// The active alarms.
    pub alarms: Vec<Alarm>,
    /// Number of rows in the bucket `tenure`.
    pub tenure_rows: u64,
}

/// Why the contents of a snapshot cannot be read.
#[derive(Debug, Error)]
pub enum ContentError {
    /// The file is damaged, or cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A row is malformed.
    #[error(transparent)]
    Row(#[from] Box<RowError>),
    /// There are more members or alarms than any cluster has.
    #[error("bucket {} has more than {LISTED_MAX} rows", .0.as_str())]
    TooMany(BucketName),
}

impl From<RowError> for ContentError {
    fn from(error: RowError) -> Self {
        Self::Row(Box::new(error))
    }
}

/// Reads what is in a database. Every row is decoded. Rows in buckets that are neither etcd's nor
/// tenure's are counted.
///
/// It keeps all keys that exist in memory.
///
/// # Errors
/// When the file is damaged or cannot be read, or a row is malformed.
pub fn contents<S: ReadAt>(database: &Database<S>) -> Result<Contents, ContentError> {
    let mut count = Count::default();
    for bucket in database.buckets() {
        let bucket = bucket?;
        let name = BucketName::from_bytes(bucket.name());
        for row in database.rows(&bucket) {
            let row = row?;
            count.contents.rows = count.contents.rows.saturating_add(1);
            if let Some(bucket) = name {
                count.row(Record::decode(EncodedRow::new(bucket, row))?)?;
            }
        }
    }
    Ok(count.finish())
}

/// The rows of one bucket in bytes; none when there is no such bucket.
///
/// # Errors
/// When the file is damaged or cannot be read; each row, too.
pub fn rows_of<S: ReadAt>(
    database: &Database<S>,
    name: BucketName,
) -> Result<impl Iterator<Item = Result<EncodedRow, ReadError>>, ReadError> {
    let bucket = database.bucket(name.as_bytes())?;
    let rows = bucket.map(|bucket| database.rows(&bucket));
    let rows = rows.into_iter().flatten();
    Ok(rows.map(move |row| Ok(EncodedRow::new(name, row?))))
}

/// As [`rows_of`], decoded.
pub(crate) fn records_of<S: ReadAt>(
    database: &Database<S>,
    name: BucketName,
) -> Result<impl Iterator<Item = Result<Record, ContentError>>, ContentError> {
    Ok(rows_of(database, name)?.map(|row| Ok(Record::decode(row?)?)))
}

/// The keys that exist after the changes so far. In memory, because their history is in the order
/// of revisions.
#[derive(Debug, Default)]
pub(crate) struct LiveKeys {
    keys: HashSet<Box<[u8]>>,
}

impl LiveKeys {
    /// Takes the next change. The key is copied: a slice would keep its page.
    pub(crate) fn change(&mut self, key: &[u8], is_tombstone: bool) {
        if is_tombstone {
            self.keys.remove(key);
        } else if !self.keys.contains(key) {
            self.keys.insert(key.into());
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.keys.len() as u64
    }
}

/// Contents while they are counted.
#[derive(Debug, Default)]
struct Count {
    contents: Contents,
    live: LiveKeys,
    last: Revision,
    scheduled: Option<Revision>,
    finished: Option<Revision>,
}

impl Count {
    fn row(&mut self, record: Record) -> Result<(), ContentError> {
        let all = &mut self.contents;
        match record {
            Record::Change(at, kv) => {
                add_one(&mut all.changes);
                self.last = at.main;
                if !kv.key.is_empty() {
                    self.live.change(&kv.key, at.is_tombstone);
                }
            }
            Record::ConsistentIndex(index) => all.consistent_index = index,
            Record::Term(term) => all.term = term,
            Record::ScheduledCompaction(at) => self.scheduled = Some(at),
            Record::FinishedCompaction(at) => self.finished = Some(at),
            Record::StorageVersion(version) => all.storage_version = Some(version),
            Record::Lease(_) => add_one(&mut all.leases),
            Record::AuthEnabled(on) => all.auth_enabled = on,
            Record::User(_) => add_one(&mut all.users),
            Record::Role(_) => add_one(&mut all.roles),
            Record::ClusterVersion(version) => all.cluster_version = Some(version),
            Record::Alarm(alarm) => list(&mut all.alarms, alarm, BucketName::Alarm)?,
            Record::Member(member) => list(&mut all.members, member, BucketName::Members)?,
            Record::RemovedMember(_) => add_one(&mut all.removed_members),
            Record::Tenure { .. } => add_one(&mut all.tenure_rows),
            Record::ConfState(_)
            | Record::AuthRevision(_)
            | Record::Downgrade(_)
            | Record::Other(_) => {}
        }
        Ok(())
    }

    fn finish(self) -> Contents {
        let compacted = self.scheduled.max(self.finished);
        let floor = compacted.unwrap_or_default();
        Contents {
            revision: self.last.max(floor).max(Revision::EMPTY),
            compacted,
            is_collected: self.finished == compacted,
            keys: self.live.count(),
            ..self.contents
        }
    }
}

fn add_one(count: &mut u64) {
    *count = count.saturating_add(1);
}

fn list<T>(all: &mut Vec<T>, one: T, bucket: BucketName) -> Result<(), ContentError> {
    if all.len() >= LISTED_MAX {
        return Err(ContentError::TooMany(bucket));
    }
    all.push(one);
    Ok(())
}
