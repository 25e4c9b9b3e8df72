//! Which keys differ between two revisions, by the history in a snapshot and in segments.

use std::collections::BTreeMap;

use bytes::Bytes;
use tenure_statemachine::Revision;

use super::{PointError, segment::Segment, span::span};
use crate::{
    bbolt::{Database, ReadAt},
    content::records_of,
    schema::{BucketName, KeyValue, Record, RevisionKey},
};

/// A key at a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyState {
    /// Revision in which its life began.
    pub create_revision: Revision,
    /// Revision of its last change.
    pub mod_revision: Revision,
    /// Number of puts in this life.
    pub version: i64,
    /// The lease; zero without one.
    pub lease: i64,
}

impl KeyState {
    fn of(kv: &KeyValue) -> Self {
        Self {
            create_revision: Revision(kv.create_revision),
            mod_revision: Revision(kv.mod_revision),
            version: kv.version,
            lease: kv.lease,
        }
    }
}

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DifferenceKind {
    /// It exists at the later revision only.
    Added,
    /// It exists at both, and was written in between.
    Changed,
    /// It exists at the earlier revision only.
    Deleted,
}

/// A key that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key.
    pub key: Bytes,
    /// What it was at the earlier revision.
    pub before: Option<KeyState>,
    /// What it is at the later one.
    pub after: Option<KeyState>,
}

impl Difference {
    /// What became of the key; `None` when it is as it was.
    #[must_use]
    pub fn kind(&self) -> Option<DifferenceKind> {
        match (self.before, self.after) {
            (None, Some(_)) => Some(DifferenceKind::Added),
            (Some(_), None) => Some(DifferenceKind::Deleted),
            (Some(before), Some(after)) if before != after => Some(DifferenceKind::Changed),
            _ => None,
        }
    }
}

/// Why differences cannot be told: nothing is written, so a chunk is always taken.
type NoPoint = PointError<std::convert::Infallible>;

/// The keys below `prefix` that differ between two revisions, by key.
///
/// In memory are the keys that were written between the two, without their values.
///
/// # Errors
/// When a revision cannot be reached, or a file cannot be read.
pub fn differences<S: ReadAt, T: ReadAt>(
    snapshot: &Database<S>,
    segments: &[Segment<T>],
    (from, to): (Revision, Revision),
    prefix: &[u8],
) -> Result<Vec<Difference>, NoPoint> {
    let held = span(snapshot)?;
    let floor = held.floor.unwrap_or(Revision::EMPTY);
    if from < floor {
        return Err(PointError::Compacted {
            wanted: from,
            floor,
        });
    }
    let mut touched: BTreeMap<Box<[u8]>, [Option<KeyState>; 2]> = BTreeMap::new();
    // First which keys were written in between, then what they were before.
    each(snapshot, segments, held.last, to, |at, kv| {
        if at.main > from && kv.key.starts_with(prefix) {
            let after = (!at.is_tombstone).then(|| KeyState::of(kv));
            let [_, known] = touched.entry(kv.key[..].into()).or_default();
            *known = after;
        }
    })?;
    each(snapshot, segments, held.last, from, |at, kv| {
        if let Some([before, _]) = touched.get_mut(&kv.key[..]) {
            *before = (!at.is_tombstone).then(|| KeyState::of(kv));
        }
    })?;
    let all = touched
        .into_iter()
        .map(|(key, [before, after])| Difference {
            key: key.into(),
            before,
            after,
        });
    Ok(all.filter(|found| found.kind().is_some()).collect())
}

/// Passes on every change up to a revision.
fn each<S: ReadAt, T: ReadAt>(
    snapshot: &Database<S>,
    segments: &[Segment<T>],
    mut last: Revision,
    to: Revision,
    mut take: impl FnMut(RevisionKey, &KeyValue),
) -> Result<(), NoPoint> {
    for record in records_of(snapshot, BucketName::Key)? {
        if let Record::Change(at, kv) = record? {
            if at.main > to {
                return Ok(());
            }
            // A restore with a bumped revision leaves an empty key, which is none.
            if !kv.key.is_empty() {
                take(at, &kv);
            }
        }
    }
    for segment in segments {
        if last >= to || segment.header().after > last {
            break;
        }
        let mut frames = segment.frames();
        while last < to
            && let Some(revision) = frames.next()?
        {
            if revision.revision > last.0 {
                for (at, kv) in revision.rows() {
                    take(at, &kv);
                }
                last = Revision(revision.revision);
            }
        }
    }
    if last < to {
        let missing = Revision(last.0.saturating_add(1));
        return Err(PointError::Missing { missing });
    }
    Ok(())
}
