//! Which revisions a snapshot holds.

use tenure_statemachine::Revision;

use crate::{
    bbolt::{Database, ReadAt},
    content::{ContentError, records_of, rows_of},
    schema::{BucketName, Record, RevisionKey},
};

/// The revisions that can be read from a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The revision that history is compacted at: the first one that can be read. `None` before
    /// the first compaction.
    pub floor: Option<Revision>,
    /// The last revision.
    pub last: Revision,
}

impl Span {
    /// Whether the state at this revision can be read from the snapshot.
    #[must_use]
    pub fn holds(&self, revision: Revision) -> bool {
        self.floor.unwrap_or(Revision::EMPTY) <= revision && revision <= self.last
    }
}

/// Reads which revisions a snapshot holds.
///
/// # Errors
/// When the file is damaged or cannot be read.
pub fn span<S: ReadAt>(snapshot: &Database<S>) -> Result<Span, ContentError> {
    let mut last = Revision::EMPTY;
    for row in rows_of(snapshot, BucketName::Key)? {
        if let Some(at) = RevisionKey::decode(&row?.key) {
            last = last.max(at.main);
        }
    }
    let mut floor = None;
    for record in records_of(snapshot, BucketName::Meta)? {
        if let Record::ScheduledCompaction(at) | Record::FinishedCompaction(at) = record? {
            floor = floor.max(Some(at));
        }
    }
    let last = last.max(floor.unwrap_or_default());
    Ok(Span { floor, last })
}
