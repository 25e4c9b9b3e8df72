//! Writes to the key space: one [`Change`] makes at most one revision.
//!
//! Keys that stand for claims are recorded in the transition; `execute/` reconciles claims with
//! them. Invariant: `Current`, `History`, `Versions`, `LeaseKeys` and the counters are updated
//! together. A change without events leaves everything as it was, including the revision.

use bytes::Bytes;

use crate::{
    command::{DeleteRange, Put},
    engine::{Table, View},
    error::{Fault, ReadError},
    keyspace::is_claim,
    lease::{self, Lease},
    meta::Meta,
    outcome::{DeleteReply, Event, EventKind},
    price::Budget,
    read::Reader,
    rows::{
        HEADER_LEN, Record, Row, SLICE_BYTES_MAX, SLICE_ROWS_MAX,
        keys::{self, ChangeKind, Stamp},
        record,
    },
    transition::{EndReason, Savepoint, Touched, Transition},
    value::{KeyRange, KeyValue, LeaseId, RangeEnd, Revision},
};

/// A revision being written.
#[derive(Debug)]
pub(crate) struct Change<'t, 'a> {
    transition: &'t mut Transition<'a>,
    /// Why claims end whose keys this change ends.
    reason: EndReason,
    /// The state before, if the change may be abandoned.
    savepoint: Option<Savepoint>,
    events: Vec<Event>,
    /// Number of changed keys.
    changes: i64,
    /// Number of puts and deletes among the changes.
    puts: u64,
    deletes: u64,
    /// The lease whose keys are deleted because it ends; they need not be counted any more.
    ending: LeaseId,
}

/// Most keys of a lease whose records are read at once: as many as a store reads in one batch.
/// Sizes are not known in advance, so fewer are read after large ones.
const RECORDS_AT_ONCE_MAX: usize = 32;

/// Most bytes of events that the commands of one entry emit. The events of a command beyond that
/// are omitted, and watchers read history instead. As many as may wait for one watch stream.
const EVENT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Size of an event beside its keys and values.
const EVENT_OVERHEAD_BYTES: usize = 256;

impl<'a> Transition<'a> {
    /// Begins a revision. Claims whose keys it ends count as released.
    pub(crate) const fn change(&mut self) -> Change<'_, 'a> {
        self.change_for(EndReason::RELEASED)
    }

    /// Begins a revision. Claims whose keys it ends have ended for `reason`.
    pub(crate) const fn change_for(&mut self, reason: EndReason) -> Change<'_, 'a> {
        Change::new(self, reason)
    }

    /// Stores a value in a separate revision. Returns the previous record.
    pub(crate) fn put_alone(&mut self, put: &Put) -> Result<Option<KeyValue>, Fault> {
        let mut change = self.change();
        let previous = change.put(put)?;
        change.finish();
        Ok(previous)
    }
}

impl<'t, 'a> Change<'t, 'a> {
    const fn new(transition: &'t mut Transition<'a>, reason: EndReason) -> Self {
        Self {
            transition,
            reason,
            savepoint: None,
            events: Vec::new(),
            changes: 0,
            puts: 0,
            deletes: 0,
            ending: LeaseId::NONE,
        }
    }

    /// Makes the change undoable: it is finished or abandoned. Must be called before the first
    /// write.
    pub(crate) fn undoable(mut self) -> Self {
        debug_assert_eq!(self.changes, 0, "asked for before anything is written");
        self.savepoint = Some(self.transition.save());
        self
    }

    /// Undoes the writes; only for a change that is undoable.
    pub(crate) fn abandon(mut self) {
        debug_assert!(
            self.savepoint.is_some(),
            "only an undoable change is abandoned"
        );
        if let Some(savepoint) = self.savepoint.take() {
            self.transition.restore(&savepoint);
        }
    }

    /// Returns the revision that reads see: the one being written, after the first write.
    pub(crate) fn seen(&self) -> Revision {
        if self.changes == 0 {
            self.transition.meta.revision
        } else {
            self.transition.meta.revision.next()
        }
    }

    /// Returns a reader of the state with the writes made so far.
    pub(crate) fn reader(&self) -> Reader<'_> {
        let meta = Meta {
            revision: self.seen(),
            ..*self.transition.meta
        };
        Reader::over(self.transition.overlay, meta)
    }

    /// Ends the change: the revision increases if anything was written.
    pub(crate) fn finish(mut self) {
        if self.savepoint.is_some() {
            self.transition.keep();
        }
        let seen = self.seen();
        debug_assert_eq!(
            self.puts.checked_add(self.deletes),
            u64::try_from(self.changes).ok(),
            "every change is a put or a delete"
        );
        debug_assert!(
            self.events
                .iter()
                .all(|event| event.kv.mod_revision == seen),
            "a change is one revision"
        );
        self.transition.meta.revision = seen;
        let effects = &mut self.transition.effects;
        effects.events.append(&mut self.events);
        let facts = &mut effects.facts;
        facts.keys_put = facts.keys_put.saturating_add(self.puts);
        facts.keys_deleted = facts.keys_deleted.saturating_add(self.deletes);
    }

    /// Stores a value. Always returns the previous record, requested or not.
    pub(crate) fn put(&mut self, put: &Put) -> Result<Option<KeyValue>, Fault> {
        let previous = self.record(&put.key)?;
        let revision = self.transition.meta.revision.next();
        // A transaction was checked against the state before it, where an `ignore_` key existed.
        let (kept_value, kept_lease) = previous.as_ref().map_or_else(Default::default, |record| {
            (record.value.clone(), record.lease)
        });
        let record = Record {
            stamp: self.stamp(revision),
            create: previous.as_ref().map_or(revision, |record| record.create),
            version: previous
                .as_ref()
                .map_or(1, |record| record.version.saturating_add(1)),
            lease: if put.ignore_lease {
                kept_lease
            } else {
                put.lease
            },
            value: if put.ignore_value {
                kept_value
            } else {
                put.value.clone()
            },
        };
        debug_assert!(
            record.create <= revision,
            "a key is not created in the future"
        );
        debug_assert!(
            record.version > 1 || record.create == revision,
            "the first version of a key creates it"
        );
        self.move_lease(&put.key, previous.as_ref(), Some(&record))?;
        self.count(&put.key, previous.as_ref(), Some(&record));
        let row = record.encode();
        let stamp = record.stamp;
        let kv = record.into_key_value(put.key.clone());
        self.transition
            .overlay
            .put(Table::Current, put.key.clone(), row);
        self.remember(&put.key, stamp, ChangeKind::Put, kv.encode());
        let previous = previous.map(|record| record.into_key_value(put.key.clone()));
        if is_claim(&kv) {
            self.touch(Touched::Put(kv.clone()));
        }
        let taken_off = |previous: &&KeyValue| previous.lease != kv.lease;
        if let Some(previous) = previous.as_ref().filter(taken_off)
            && is_claim(previous)
        {
            self.touch(Touched::ended(previous, self.reason));
        }
        self.tell(Event {
            kind: EventKind::Put,
            kv,
            previous: previous.clone(),
        });
        Ok(previous)
    }

    /// Deletes the keys of a range, within `budget`. If the budget is too small, some keys are
    /// deleted already: a caller with a limited budget undoes the writes.
    pub(crate) fn delete_range(
        &mut self,
        delete: &DeleteRange,
        budget: &mut Budget,
    ) -> Result<DeleteReply, ReadError> {
        let mut reply = DeleteReply::default();
        let mut rest = delete.range.clone();
        loop {
            let (found, whole) = self.slice(&rest)?;
            if let Some((last, _)) = found.last() {
                rest.start = keys::successor(last);
            }
            for (key, record) in found {
                budget.row()?;
                let previous = self.delete(key, record)?;
                reply.deleted = reply.deleted.saturating_add(1);
                if delete.want_previous {
                    budget.record(&previous)?;
                    reply.previous.push(previous);
                }
            }
            if whole {
                return Ok(reply);
            }
        }
    }

    /// Returns the first rows of a range, and whether these are all. A large range is never in
    /// memory as a whole.
    fn slice(&self, range: &KeyRange) -> Result<(Vec<(Bytes, Record)>, bool), ReadError> {
        let (mut found, mut bytes) = (Vec::new(), 0_usize);
        let mut is_full = false;
        self.reader().visit_latest(range, &mut |key, row| {
            bytes = bytes.saturating_add(key.len()).saturating_add(row.len());
            found.push((key, Record::decode(&row)?));
            is_full = found.len() >= SLICE_ROWS_MAX || bytes >= SLICE_BYTES_MAX;
            Ok(!is_full)
        })?;
        let whole = !is_full || range.end == RangeEnd::Single;
        Ok((found, whole))
    }

    /// Deletes the keys of a lease that ends, in order. Neither the keys nor their records are in
    /// memory as a whole.
    pub(crate) fn delete_attached(&mut self, lease: &Lease) -> Result<(), Fault> {
        if lease.has_no_key() {
            return Ok(());
        }
        let lease = lease.id;
        self.ending = lease;
        let mut from = keys::lease(lease);
        let mut at_once = 1;
        loop {
            let slice = lease::attached_slice(self.transition.overlay, lease, &from)?;
            let Some(last) = slice.last() else {
                return Ok(());
            };
            from = keys::successor(&keys::lease_key(lease, last));
            let mut rest = slice.as_slice();
            while !rest.is_empty() {
                let (asked, later) = rest.split_at(at_once.min(rest.len()));
                let rows = self.transition.overlay.get_many(Table::Current, asked)?;
                at_once = next_at_once(at_once, &rows);
                for (key, row) in asked.iter().zip(rows) {
                    if let Some(row) = row {
                        self.delete(key.clone(), Record::decode(&row)?)?;
                    }
                }
                rest = later;
            }
        }
    }

    /// Deletes one key if it exists.
    pub(crate) fn delete_key(&mut self, key: Bytes) -> Result<(), Fault> {
        if let Some(record) = self.record(&key)? {
            self.delete(key, record)?;
        }
        Ok(())
    }

    fn delete(&mut self, key: Bytes, record: Record) -> Result<KeyValue, Fault> {
        let revision = self.transition.meta.revision.next();
        let stamp = self.stamp(revision);
        self.move_lease(&key, Some(&record), None)?;
        self.count(&key, Some(&record), None);
        self.transition.overlay.delete(Table::Current, key.clone());
        self.remember(
            &key,
            stamp,
            ChangeKind::Tombstone,
            record::encode_tombstone(&key),
        );
        let previous = record.into_key_value(key.clone());
        if is_claim(&previous) {
            self.touch(Touched::ended(&previous, self.reason));
        }
        let kv = KeyValue {
            key,
            mod_revision: revision,
            ..KeyValue::default()
        };
        let event = Event {
            kind: EventKind::Delete,
            kv,
            previous: Some(previous.clone()),
        };
        self.tell(event);
        Ok(previous)
    }

    /// Emits an event, unless there are too many.
    fn tell(&mut self, event: Event) {
        self.changes = self.changes.saturating_add(1);
        let of_kind = match event.kind {
            EventKind::Put => &mut self.puts,
            EventKind::Delete => &mut self.deletes,
        };
        *of_kind = of_kind.saturating_add(1);
        if self
            .transition
            .hands_on(event_bytes(&event), EVENT_BYTES_MAX)
        {
            self.events.push(event);
        } else {
            self.events = Vec::new();
        }
    }

    fn touch(&mut self, touched: Touched) {
        self.transition.unreconciled.touched.push(touched);
    }

    fn record(&self, key: &[u8]) -> Result<Option<Record>, Fault> {
        Record::find(self.transition.overlay, Table::Current, key)
    }

    fn stamp(&self, main: Revision) -> Stamp {
        Stamp {
            main,
            sub: self.changes,
        }
    }

    fn remember(&mut self, key: &[u8], stamp: Stamp, kind: ChangeKind, record: Bytes) {
        let row = keys::history(stamp, kind);
        let bytes = row.len().saturating_add(record.len());
        self.transition.meta.history_bytes = self
            .transition
            .meta
            .history_bytes
            .saturating_add(bytes as u64);
        self.transition.overlay.put(Table::History, row, record);
        let kind = Bytes::from_static(kind.row_value());
        self.transition
            .overlay
            .put(Table::Versions, keys::version(key, stamp), kind);
    }

    fn move_lease(
        &mut self,
        key: &[u8],
        before: Option<&Record>,
        after: Option<&Record>,
    ) -> Result<(), Fault> {
        let before = before.map(|record| record.lease).unwrap_or_default();
        let after = after.map(|record| record.lease).unwrap_or_default();
        if before == after {
            return Ok(());
        }
        if before.is_some() {
            if before != self.ending {
                lease::count_key(self.transition.overlay, self.transition.meta, before, false)?;
            }
            self.transition
                .overlay
                .delete(Table::LeaseKeys, keys::lease_key(before, key));
        }
        if after.is_some() {
            lease::count_key(self.transition.overlay, self.transition.meta, after, true)?;
            self.transition.overlay.put(
                Table::LeaseKeys,
                keys::lease_key(after, key),
                Bytes::new(),
            );
        }
        Ok(())
    }

    fn count(&mut self, key: &[u8], before: Option<&Record>, after: Option<&Record>) {
        let meta = &mut *self.transition.meta;
        if let Some(record) = before {
            debug_assert!(meta.keys > 0, "a key that was there is counted");
            debug_assert!(
                meta.live_bytes >= live_bytes(key, record),
                "and so are its bytes"
            );
            meta.keys = meta.keys.saturating_sub(1);
            meta.live_bytes = meta.live_bytes.saturating_sub(live_bytes(key, record));
        }
        if let Some(record) = after {
            meta.keys = meta.keys.saturating_add(1);
            meta.live_bytes = meta.live_bytes.saturating_add(live_bytes(key, record));
        }
    }
}

/// Returns how many records to read next: twice as many while the last ones were small.
fn next_at_once(at_once: usize, rows: &[Option<Bytes>]) -> usize {
    let bytes = rows.iter().flatten().map(Bytes::len);
    let bytes = bytes.fold(0, usize::saturating_add);
    if bytes > SLICE_BYTES_MAX {
        1
    } else if bytes <= SLICE_BYTES_MAX / 2 {
        at_once.saturating_mul(2).min(RECORDS_AT_ONCE_MAX)
    } else {
        at_once
    }
}

fn event_bytes(event: &Event) -> usize {
    let size = |kv: &KeyValue| kv.key.len().saturating_add(kv.value.len());
    size(&event.kv)
        .saturating_add(event.previous.as_ref().map_or(0, size))
        .saturating_add(EVENT_OVERHEAD_BYTES)
}

/// Returns the size of a key in [`Meta::live_bytes`].
pub(crate) const fn live_bytes(key: &[u8], record: &Record) -> u64 {
    let bytes = key
        .len()
        .saturating_add(HEADER_LEN)
        .saturating_add(record.value.len());
    bytes as u64
}
