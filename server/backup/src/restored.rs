//! The database of a restored member: a snapshot with the members of a new cluster.
//!
//! It is what `etcdutl snapshot restore` puts into `member/snap/db`, without the log beside it:
//! tenured takes it over at its first start.

use bytes::Bytes;
use tenure_statemachine::Revision;
use thiserror::Error;

use crate::{
    bbolt::{Database, Planner, ReadAt, ReadError, RowFault, RowSink, WriteError, Writer},
    content::rows_of,
    schema::{BucketName, EncodedRow, Member, Record, RevisionKey, RowError},
};

/// Term of the state of a restored cluster.
const FIRST_TERM: u64 = 1;

/// What changes in a restored database.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// The members of the new cluster.
    pub members: Vec<Member>,
    /// Revisions by which the key space is moved on. Everything before is then compacted, so that
    /// no watcher resumes in a history that it does not know. Zero leaves it as it is.
    pub bump: u64,
}

/// Why a database was not restored.
#[derive(Debug, Error)]
pub enum RestoreError<E> {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A row is malformed.
    #[error(transparent)]
    Row(#[from] Box<RowError>),
    /// A row cannot be written.
    #[error(transparent)]
    Write(#[from] RowFault),
    /// The revision cannot be moved on so far.
    #[error("the revision {0} cannot be moved on by {1}")]
    Revision(i64, u64),
    /// The snapshot changed while it was read.
    #[error("the snapshot changed while it was read")]
    Changed,
    /// The chunk was not taken.
    #[error(transparent)]
    Sink(E),
}

/// Writes the database of a restored member, in chunks. The snapshot is read twice.
///
/// # Errors
/// When the snapshot cannot be read, or a chunk is not taken.
pub fn restored<S: ReadAt, E>(
    snapshot: &Database<S>,
    changes: &Changes,
    sink: impl FnMut(Bytes) -> Result<(), E>,
) -> Result<Revision, RestoreError<E>> {
    let (last, floor) = progress(snapshot)?;
    let bumped = bumped(last, changes.bump)?;
    let floor = bumped.or(floor);
    let feed = Feed {
        snapshot,
        changes,
        bumped,
        floor,
    };
    let mut planner = Planner::new();
    feed.to(&mut planner).map_err(|error| match error {
        FeedError::Read(error) => RestoreError::Read(error),
        FeedError::Row(error) => RestoreError::Row(error),
        FeedError::Sink(fault) => RestoreError::Write(fault),
    })?;
    let mut writer = Writer::begin(planner.finish(), sink).map_err(unwritten)?;
    feed.to(&mut writer).map_err(|error| match error {
        FeedError::Read(error) => RestoreError::Read(error),
        FeedError::Row(error) => RestoreError::Row(error),
        FeedError::Sink(error) => unwritten(error),
    })?;
    writer.finish().map_err(unwritten)?;
    Ok(bumped.unwrap_or(last))
}

fn unwritten<E>(error: WriteError<E>) -> RestoreError<E> {
    match error {
        WriteError::Row(fault) => RestoreError::Write(fault),
        WriteError::Changed { .. } => RestoreError::Changed,
        WriteError::Sink(error) => RestoreError::Sink(error),
    }
}

/// The revision to which the key space is moved on.
fn bumped<E>(last: Revision, bump: u64) -> Result<Option<Revision>, RestoreError<E>> {
    if bump == 0 {
        return Ok(None);
    }
    let moved = last.0.checked_add_unsigned(bump);
    match moved {
        Some(moved) => Ok(Some(Revision(moved))),
        None => Err(RestoreError::Revision(last.0, bump)),
    }
}

/// The last revision, and that at which history is compacted.
fn progress<S: ReadAt, E>(
    snapshot: &Database<S>,
) -> Result<(Revision, Option<Revision>), RestoreError<E>> {
    let mut last = Revision::EMPTY;
    for row in rows_of(snapshot, BucketName::Key)? {
        if let Some(at) = RevisionKey::decode(&row?.key) {
            last = last.max(at.main);
        }
    }
    let mut floor = None;
    for row in rows_of(snapshot, BucketName::Meta)? {
        match Record::decode(row?).map_err(Box::new)? {
            Record::ScheduledCompaction(at) | Record::FinishedCompaction(at) => {
                floor = floor.max(Some(at));
            }
            _ => {}
        }
    }
    Ok((last.max(floor.unwrap_or_default()), floor))
}

/// Why a row was not told.
enum FeedError<E> {
    Read(ReadError),
    Row(Box<RowError>),
    Sink(E),
}

impl<E> From<ReadError> for FeedError<E> {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl<E> From<RowError> for FeedError<E> {
    fn from(error: RowError) -> Self {
        Self::Row(Box::new(error))
    }
}

/// Tells the rows of the restored database, as often as it is asked.
struct Feed<'a, S> {
    snapshot: &'a Database<S>,
    changes: &'a Changes,
    bumped: Option<Revision>,
    floor: Option<Revision>,
}

impl<S: ReadAt> Feed<'_, S> {
    fn to<T: RowSink>(&self, sink: &mut T) -> Result<(), FeedError<T::Error>> {
        for bucket in BucketName::ALL {
            sink.bucket(bucket.as_bytes()).map_err(FeedError::Sink)?;
            match bucket {
                BucketName::Key => {
                    self.copy(bucket, sink)?;
                    self.bump(sink)?;
                }
                // Users, roles, leases and our own rows stay.
                BucketName::Auth
                | BucketName::AuthRoles
                | BucketName::AuthUsers
                | BucketName::Lease
                | BucketName::Tenure => self.copy(bucket, sink)?,
                BucketName::Members => {
                    let members = self.changes.members.iter().cloned();
                    tell(members.map(Record::Member), sink)?;
                }
                BucketName::Meta => tell(self.meta(), sink)?,
                // Alarms were those of other members, and versions those of another cluster.
                BucketName::Alarm | BucketName::Cluster | BucketName::MembersRemoved => {}
            }
        }
        Ok(())
    }

    fn copy<T: RowSink>(
        &self,
        bucket: BucketName,
        sink: &mut T,
    ) -> Result<(), FeedError<T::Error>> {
        for row in rows_of(self.snapshot, bucket)? {
            let row = row?;
            sink.row(&row.key, &row.value).map_err(FeedError::Sink)?;
        }
        Ok(())
    }

    /// An empty record at the revision to which the key space is moved on, as etcd's tool leaves.
    fn bump<T: RowSink>(&self, sink: &mut T) -> Result<(), FeedError<T::Error>> {
        let Some(main) = self.bumped else {
            return Ok(());
        };
        let key = RevisionKey {
            main,
            ..RevisionKey::default()
        };
        sink.row(&key.encode(), b"").map_err(FeedError::Sink)
    }

    fn meta(&self) -> impl Iterator<Item = Record> {
        let members = self.changes.members.len() as u64;
        let index = [Record::ConsistentIndex(members), Record::Term(FIRST_TERM)];
        index
            .into_iter()
            .chain(self.floor.map(Record::ScheduledCompaction))
    }
}

/// Tells records in the order of their keys.
fn tell<T: RowSink>(
    records: impl Iterator<Item = Record>,
    sink: &mut T,
) -> Result<(), FeedError<T::Error>> {
    let rows = records.map(|record| record.encode());
    let mut rows: Vec<EncodedRow> = rows.collect::<Result<_, _>>()?;
    rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    for row in rows {
        sink.row(&row.key, &row.value).map_err(FeedError::Sink)?;
    }
    Ok(())
}
