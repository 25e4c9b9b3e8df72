//! The snapshot of a revision: a snapshot of another time, and the revisions between.

use std::convert::Infallible;

use bytes::Bytes;
use prost::Message;
use tenure_statemachine::Revision;
use thiserror::Error;

use super::{
    change::ArchivedRevision,
    fault::SegmentError,
    leases::Leases,
    segment::Segment,
    span::{Span, span},
};
use crate::{
    bbolt::{Database, Planner, ReadAt, ReadError, RowFault, RowSink, WriteError, Writer},
    content::{ContentError, records_of, rows_of},
    schema::{BucketName, Lease, Record, RevisionKey, RowError},
};

/// Why there is no snapshot of a revision.
#[derive(Debug, Error)]
pub enum PointError<E> {
    /// The snapshot cannot be read.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A segment cannot be read.
    #[error(transparent)]
    Segment(#[from] SegmentError),
    /// The snapshot is of a later time, and its history does not reach back so far.
    #[error("revision {wanted} is compacted; the snapshot begins at {floor}")]
    Compacted {
        /// The revision asked for.
        wanted: Revision,
        /// The first one of the snapshot.
        floor: Revision,
    },
    /// A revision between the snapshot and the one asked for is in no segment.
    #[error("revision {missing} is missing")]
    Missing {
        /// The first one that is missing.
        missing: Revision,
    },
    /// A row cannot be written.
    #[error(transparent)]
    Row(#[from] RowFault),
    /// A file changed while it was read.
    #[error("the archive changed while it was read")]
    Changed,
    /// The chunk was not taken.
    #[error(transparent)]
    Sink(E),
}

impl<E> From<ReadError> for PointError<E> {
    fn from(error: ReadError) -> Self {
        Self::Content(error.into())
    }
}

impl<E> From<RowError> for PointError<E> {
    fn from(error: RowError) -> Self {
        Self::Content(error.into())
    }
}

/// Writes the database of the snapshot of `to`, in chunks, from a snapshot and the segments after
/// it, in order. Segments of earlier revisions are skipped. Everything is read three times. In
/// memory are the keys that have a lease.
///
/// What watches do not tell is that of the snapshot: users, roles, and leases without keys. Rows of
/// tenure's are written only when `to` is the revision of the snapshot.
///
/// # Errors
/// When the revision cannot be reached, a file cannot be read, or a chunk is not taken.
pub fn point_in_time<S: ReadAt, T: ReadAt, E>(
    snapshot: &Database<S>,
    segments: &[Segment<T>],
    to: Revision,
    sink: impl FnMut(Bytes) -> Result<(), E>,
) -> Result<(), PointError<E>> {
    let held = span(snapshot)?;
    let floor = held.floor.unwrap_or(Revision::EMPTY);
    if to < floor {
        return Err(PointError::Compacted { wanted: to, floor });
    }
    let mut feed = Feed {
        snapshot,
        segments,
        held,
        to,
        leases: Vec::new(),
    };
    feed.leases = feed.collect()?;
    let mut planner = Planner::new();
    feed.feed(&mut planner).map_err(|error| match error {
        FeedError::Point(error) => error,
        FeedError::Sink(fault) => PointError::Row(fault),
    })?;
    let mut writer = Writer::begin(planner.finish(), sink).map_err(unwritten)?;
    feed.feed(&mut writer).map_err(|error| match error {
        FeedError::Point(error) => error,
        FeedError::Sink(error) => unwritten(error),
    })?;
    writer.finish().map_err(unwritten)
}

fn unwritten<E>(error: WriteError<E>) -> PointError<E> {
    match error {
        WriteError::Row(fault) => PointError::Row(fault),
        WriteError::Changed { .. } => PointError::Changed,
        WriteError::Sink(error) => PointError::Sink(error),
    }
}

enum FeedError<E, K> {
    Point(PointError<E>),
    Sink(K),
}

impl<E, K> From<ReadError> for FeedError<E, K> {
    fn from(error: ReadError) -> Self {
        Self::Point(error.into())
    }
}

impl<E, K> From<RowError> for FeedError<E, K> {
    fn from(error: RowError) -> Self {
        Self::Point(error.into())
    }
}

impl<E, K> From<SegmentError> for FeedError<E, K> {
    fn from(error: SegmentError) -> Self {
        Self::Point(error.into())
    }
}

/// Tells the rows of the snapshot to be, as often as it is asked.
struct Feed<'a, S, T> {
    snapshot: &'a Database<S>,
    segments: &'a [Segment<T>],
    held: Span,
    to: Revision,
    leases: Vec<Lease>,
}

impl<S: ReadAt, T: ReadAt> Feed<'_, S, T> {
    /// The leases, from one pass over everything.
    fn collect<E>(&self) -> Result<Vec<Lease>, PointError<E>> {
        let mut leases = Leases::default();
        for record in records_of(self.snapshot, BucketName::Lease)? {
            if let Record::Lease(lease) = record? {
                leases.keep(lease);
            }
        }
        for record in records_of(self.snapshot, BucketName::Key)? {
            if let Record::Change(at, kv) = record?
                && at.main <= self.to
            {
                leases.change(at, &kv);
            }
        }
        let later = self.later::<E, Infallible>(|revision| {
            for lease in &revision.leases {
                leases.know(*lease);
            }
            for (at, kv) in revision.rows() {
                leases.change(at, &kv);
            }
            Ok(())
        });
        match later {
            Ok(()) => Ok(leases.finish()),
            Err(FeedError::Point(error)) => Err(error),
            Err(FeedError::Sink(never)) => match never {},
        }
    }

    fn feed<K: RowSink, E>(&self, sink: &mut K) -> Result<(), FeedError<E, K::Error>> {
        for bucket in BucketName::ALL {
            sink.bucket(bucket.as_bytes()).map_err(FeedError::Sink)?;
            match bucket {
                BucketName::Key => self.history(sink)?,
                BucketName::Lease => {
                    for lease in &self.leases {
                        let row = Record::Lease(*lease).encode()?;
                        sink.row(&row.key, &row.value).map_err(FeedError::Sink)?;
                    }
                }
                // They are of the revision of the snapshot and of no other.
                BucketName::Tenure if self.to != self.held.last => {}
                _ => {
                    for row in rows_of(self.snapshot, bucket)? {
                        let row = row?;
                        sink.row(&row.key, &row.value).map_err(FeedError::Sink)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn history<K: RowSink, E>(&self, sink: &mut K) -> Result<(), FeedError<E, K::Error>> {
        for row in rows_of(self.snapshot, BucketName::Key)? {
            let row = row?;
            let at = RevisionKey::decode(&row.key);
            if at.is_some_and(|at| at.main > self.to) {
                break;
            }
            sink.row(&row.key, &row.value).map_err(FeedError::Sink)?;
        }
        self.later(|revision| {
            revision
                .rows()
                .try_for_each(|(at, kv)| sink.row(&at.encode(), &kv.encode_to_vec()))
        })
    }

    /// Passes on the revisions after the snapshot, up to the one asked for.
    fn later<E, K>(
        &self,
        mut take: impl FnMut(&ArchivedRevision) -> Result<(), K>,
    ) -> Result<(), FeedError<E, K>> {
        let mut last = self.held.last;
        for segment in self.segments {
            if last >= self.to || segment.header().after > last {
                break;
            }
            let mut frames = segment.frames();
            while last < self.to
                && let Some(revision) = frames.next()?
            {
                if revision.revision <= last.0 {
                    continue;
                }
                take(&revision).map_err(FeedError::Sink)?;
                last = Revision(revision.revision);
            }
        }
        if last < self.to {
            let missing = Revision(last.0.saturating_add(1));
            return Err(FeedError::Point(PointError::Missing { missing }));
        }
        Ok(())
    }
}
