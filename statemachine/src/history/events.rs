//! Past changes in order, for watchers that start in the past or fell behind.
//!
//! Unwanted changes are skipped: if no reader wants a change, its record is dropped and its
//! previous record not read. The size of a revision is known before it is kept.
//!
//! Invariant: of a revision, all wanted changes are returned or none.

use std::mem;

use bytes::Bytes;

use crate::{
    engine::Table,
    error::{Fault, ReadError, Refusal},
    outcome::{Event, EventKind},
    read::Reader,
    rows::{
        Row,
        keys::{self, ChangeKind, Stamp},
    },
    value::{KeyValue, Revision},
};

/// The wanted changes of one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionEvents {
    /// The revision.
    pub revision: Revision,
    /// Its changes, in sub-revision order; never empty.
    pub events: Vec<Event>,
}

/// Bounds of one read of history.
#[derive(Clone, Copy, Debug)]
pub struct HistoryQuery {
    /// The first revision.
    pub from: Revision,
    /// The last revision.
    pub through: Revision,
    /// Most revisions to read.
    pub revisions_max: usize,
    /// Most bytes of the result: keys and values of each event, plus `event_bytes`.
    pub bytes_max: usize,
    /// Size of an event beside its keys and values.
    pub event_bytes: usize,
    /// Bytes of rows read, wanted or not, after which no further revision is started.
    pub scanned_bytes_max: usize,
}

/// The part of a change that is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Nothing.
    Nothing,
    /// The change.
    Change,
    /// The change, and the previous record.
    WithPrevious,
}

/// The result of a read of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum History {
    /// Some revisions.
    Part {
        /// Those with wanted changes.
        revisions: Vec<RevisionEvents>,
        /// The last revision that was read.
        through: Revision,
    },
    /// Nothing is returned: the wanted changes of the first revision take this many bytes, more
    /// than allowed.
    TooLarge(usize),
}

impl Reader<'_> {
    /// Returns every change of the revisions `from` to `through`, both included.
    ///
    /// Ends early after `revisions_max` revisions or, after the first, before the revision that
    /// would bring keys and values to more than `bytes_max`. Events carry the previous record if it
    /// can be read, which is so above the floor.
    ///
    /// # Errors
    /// Refused as compacted when `from` is below the floor. A fault when the engine cannot read or
    /// a row does not decode.
    pub fn history(
        &self,
        from: Revision,
        through: Revision,
        revisions_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<RevisionEvents>, ReadError> {
        let all = &mut |_, _, _: &[u8]| Wanted::WithPrevious;
        let mut query = HistoryQuery {
            from,
            through,
            revisions_max,
            bytes_max,
            event_bytes: 0,
            scanned_bytes_max: usize::MAX,
        };
        loop {
            match self.history_of(&query, all)? {
                History::Part { revisions, .. } => return Ok(revisions),
                History::TooLarge(bytes) => {
                    (query.bytes_max, query.revisions_max) = (bytes, 1);
                }
            }
        }
    }

    /// Returns the changes that `wanted` selects by the revision, the kind and the key of each.
    /// Reads at least one revision, regardless of its number of rows.
    ///
    /// # Errors
    /// As [`Reader::history`].
    pub fn history_of(
        &self,
        query: &HistoryQuery,
        wanted: &mut dyn FnMut(Revision, EventKind, &[u8]) -> Wanted,
    ) -> Result<History, ReadError> {
        let floor = self.meta().floor;
        if query.from < floor {
            return Err(Refusal::Compacted { floor }.into());
        }
        let mut gathered = Gathered::new(*query);
        let from = Stamp::first_of(Revision(query.from.0.max(0)));
        let first = keys::history(from, ChangeKind::Put);
        let mut cursor = self.view.scan(Table::History, &first)?;
        while let Some((row, value)) = cursor.next()? {
            let (stamp, kind) = keys::read_history(&row)?;
            if stamp.main > query.through {
                break;
            }
            if !gathered.begin(stamp.main) {
                return Ok(gathered.finish(false));
            }
            gathered.scanned(&row, &value);
            let kv = KeyValue::decode(&value)?;
            let kind = match kind {
                ChangeKind::Put => EventKind::Put,
                ChangeKind::Tombstone => EventKind::Delete,
            };
            let previous = match wanted(stamp.main, kind, &kv.key) {
                Wanted::Nothing => continue,
                Wanted::Change => None,
                Wanted::WithPrevious => self.previous(kind, &kv, stamp)?,
            };
            let kv = KeyValue {
                mod_revision: stamp.main,
                ..kv
            };
            if !gathered.take(Event { kind, kv, previous }) {
                return Ok(gathered.finish(false));
            }
        }
        Ok(gathered.finish(true))
    }

    /// Returns the record before a change. The one before the floor's revision cannot be read,
    /// whether or not its rows still exist.
    fn previous(
        &self,
        kind: EventKind,
        kv: &KeyValue,
        stamp: Stamp,
    ) -> Result<Option<KeyValue>, Fault> {
        let is_first = kind == EventKind::Put && kv.version <= 1;
        if is_first || stamp.main <= self.meta().floor {
            return Ok(None);
        }
        match self.change_before(&kv.key, stamp)? {
            Some((before, ChangeKind::Put)) => Ok(Some(self.put_at(before)?)),
            Some((_, ChangeKind::Tombstone)) | None => Ok(None),
        }
    }
}

/// The revisions of one result, as far as they were read.
#[derive(Debug)]
struct Gathered {
    query: HistoryQuery,
    /// Those that were read completely and have wanted changes.
    whole: Vec<RevisionEvents>,
    /// The last revision that was read completely.
    end: Revision,
    /// Number of revisions read, including the current one.
    revisions: usize,
    /// The current revision, and its wanted changes.
    now: Option<Revision>,
    events: Vec<Event>,
    /// Size of all events.
    bytes: usize,
    scanned_bytes: usize,
}

impl Gathered {
    const fn new(query: HistoryQuery) -> Self {
        Self {
            query,
            whole: Vec::new(),
            end: Revision(query.from.0.saturating_sub(1)),
            revisions: 0,
            now: None,
            events: Vec::new(),
            bytes: 0,
            scanned_bytes: 0,
        }
    }

    /// Starts `revision` unless it is the current one. Returns whether it belongs to the result.
    fn begin(&mut self, revision: Revision) -> bool {
        if self.now == Some(revision) {
            return true;
        }
        let is_full = self.revisions >= self.query.revisions_max
            || self.scanned_bytes >= self.query.scanned_bytes_max
            || self.is_too_large();
        if self.revisions > 0 && is_full {
            return false;
        }
        debug_assert!(
            self.now.is_none_or(|now| now < revision),
            "revisions ascend"
        );
        self.close();
        self.revisions = self.revisions.saturating_add(1);
        self.now = Some(revision);
        true
    }

    const fn scanned(&mut self, row: &Bytes, value: &Bytes) {
        let bytes = row.len().saturating_add(value.len());
        self.scanned_bytes = self.scanned_bytes.saturating_add(bytes);
    }

    /// Adds a change of the current revision. If the first revision is too large, its size is
    /// counted and nothing kept. Returns whether to continue: not when a later revision makes the
    /// result too large.
    fn take(&mut self, event: Event) -> bool {
        let size = |kv: &KeyValue| kv.key.len().saturating_add(kv.value.len());
        let bytes = size(&event.kv)
            .saturating_add(event.previous.as_ref().map_or(0, size))
            .saturating_add(self.query.event_bytes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.is_too_large() {
            self.events = Vec::new();
            return self.revisions <= 1;
        }
        self.events.push(event);
        true
    }

    const fn is_too_large(&self) -> bool {
        self.bytes > self.query.bytes_max
    }

    /// Keeps the wanted changes of the current revision, which was read completely.
    fn close(&mut self) {
        let Some(revision) = self.now else {
            return;
        };
        self.end = revision;
        if !self.events.is_empty() {
            self.whole.push(RevisionEvents {
                revision,
                events: mem::take(&mut self.events),
            });
        }
    }

    /// Returns the result; `is_over` when there is nothing more to read.
    fn finish(mut self, is_over: bool) -> History {
        if !self.is_too_large() {
            self.close();
        } else if self.revisions <= 1 {
            return History::TooLarge(self.bytes);
        }
        History::Part {
            revisions: self.whole,
            through: if is_over {
                self.query.through
            } else {
                self.end
            },
        }
    }
}
