//! Past changes in the order they were made, for watchers that start in the past or fell behind.
//!
//! What is not wanted is passed over: of a change that no reader wants nothing is kept, and the
//! record before one is read only where it is wanted. What a revision takes is known before it is
//! kept.
//!
//! Invariant: a revision is returned whole, as far as it is wanted, or not at all.

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

/// Everything that is wanted of what one revision changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionEvents {
    /// The revision.
    pub revision: Revision,
    /// Its changes, in sub-revision order; never empty.
    pub events: Vec<Event>,
}

/// How much of history to read at once.
#[derive(Clone, Copy, Debug)]
pub struct HistoryQuery {
    /// The first revision.
    pub from: Revision,
    /// The last revision.
    pub through: Revision,
    /// Revisions to look at.
    pub revisions_max: usize,
    /// Bytes that what is returned may take: of each event keys and values, and `event_bytes`.
    pub bytes_max: usize,
    /// What an event takes beside its keys and values.
    pub event_bytes: usize,
    /// Bytes of rows, wanted or not, after which no further revision is begun.
    pub scanned_bytes_max: usize,
}

/// What is wanted of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Nothing.
    Nothing,
    /// The change.
    Change,
    /// The change, and the record before it.
    WithPrevious,
}

/// What was found of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum History {
    /// Some revisions.
    Part {
        /// Those of which something is wanted.
        revisions: Vec<RevisionEvents>,
        /// The last revision that was looked at.
        through: Revision,
    },
    /// Nothing is returned: what is wanted of the first revision takes this many bytes, more
    /// than there may be.
    TooLarge(usize),
}

impl Reader<'_> {
    /// Every change of the revisions `from` to `through`, both included.
    ///
    /// Ends early after `revisions_max` revisions or, once there is one, before the revision that
    /// would bring keys and values to more than `bytes_max`. Events carry the record before while
    /// that can be read, which is above the floor.
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

    /// What `wanted` says of the changes of some revisions, given the revision, the kind and the
    /// key of each. At least one revision is looked at, however many rows it has.
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

    /// The record before a change. The revision before the floor's cannot be read, whether or not
    /// its rows are still there.
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

/// The revisions of one answer, as far as they were looked at.
#[derive(Debug)]
struct Gathered {
    query: HistoryQuery,
    /// Those of which all was seen and something is wanted.
    whole: Vec<RevisionEvents>,
    /// The last revision of which all was seen.
    end: Revision,
    /// How many revisions were looked at, that under way included.
    revisions: usize,
    /// The revision under way, and what is wanted of it.
    now: Option<Revision>,
    events: Vec<Event>,
    /// Of all events.
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

    /// Begins with `revision` unless it is under way. Whether it belongs to the answer.
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

    /// Takes in a change of the revision under way. Of a first revision that is too large all is
    /// priced and nothing kept. Whether to go on: not when a later one makes the answer too large.
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

    /// Keeps what is wanted of the revision under way, of which all was seen.
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

    /// The answer; `is_over` when there is nothing more to look at.
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
