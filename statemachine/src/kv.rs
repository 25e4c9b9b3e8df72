//! Writing to the key space: one [`Change`] makes at most one revision.
//!
//! Invariant: `Current`, `History`, `Versions`, `LeaseKeys` and the counters move together. A
//! change without events leaves everything, the revision too, as it was.

use bytes::Bytes;

use crate::{
    claims,
    command::{DeleteRange, Put},
    engine::{Table, View},
    error::{Fault, ReadError, Refusal},
    keys::{self, ChangeKind, Stamp},
    meta::Meta,
    outcome::{DeleteReply, Event, EventKind},
    overlay::{Overlay, Touched},
    range::KeyRange,
    read::Reader,
    record::{self, HEADER_LEN, Record},
    types::{KeyValue, Revision},
};

/// A revision in the making.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    overlay: &'a mut Overlay,
    meta: &'a mut Meta,
    events: Vec<Event>,
}

impl<'a> Change<'a> {
    pub(crate) const fn new(overlay: &'a mut Overlay, meta: &'a mut Meta) -> Self {
        Self {
            overlay,
            meta,
            events: Vec::new(),
        }
    }

    /// The revision that reads see: the one being made, once something was written.
    pub(crate) fn seen(&self) -> Revision {
        if self.events.is_empty() {
            self.meta.revision
        } else {
            self.meta.revision.next()
        }
    }

    /// Reads the state with the writes made so far.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader::over(
            self.overlay,
            Meta {
                revision: self.seen(),
                ..*self.meta
            },
        )
    }

    /// Ends the change: the revision moves if anything was written.
    pub(crate) fn finish(self) -> Vec<Event> {
        self.meta.revision = self.seen();
        self.events
    }

    /// Stores a value. The previous record is returned whether or not it was asked for.
    pub(crate) fn put(&mut self, put: &Put) -> Result<Option<KeyValue>, Fault> {
        let previous = self.record(&put.key)?;
        let revision = self.meta.revision.next();
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
        self.move_lease(&put.key, previous.as_ref(), Some(&record));
        self.count(&put.key, previous.as_ref(), Some(&record));
        let row = record.encode();
        let stamp = record.stamp;
        let kv = record.into_key_value(put.key.clone());
        self.overlay.put(Table::Current, put.key.clone(), row);
        self.remember(&put.key, stamp, ChangeKind::Put, record::encode_put(&kv));
        let previous = previous.map(|record| record.into_key_value(put.key.clone()));
        if claims::is_claim(&kv) {
            self.overlay.touched.push(Touched::Put(kv.clone()));
        }
        let taken_off = |previous: &&KeyValue| previous.lease != kv.lease;
        if let Some(previous) = previous.as_ref().filter(taken_off)
            && claims::is_claim(previous)
        {
            self.overlay.touched.push(Touched::Ended(previous.clone()));
        }
        self.events.push(Event {
            kind: EventKind::Put,
            kv,
            previous: previous.clone(),
        });
        Ok(previous)
    }

    /// Deletes the keys of a range.
    pub(crate) fn delete_range(&mut self, delete: &DeleteRange) -> Result<DeleteReply, Fault> {
        let mut found = Vec::new();
        self.reader().visit_latest(&delete.range, &mut |key, row| {
            found.push((key, Record::decode(&row)?));
            Ok(true)
        })?;
        let mut reply = DeleteReply::default();
        for (key, record) in found {
            let previous = self.delete(key, record);
            reply.deleted = reply.deleted.saturating_add(1);
            if delete.want_previous {
                reply.previous.push(previous);
            }
        }
        Ok(reply)
    }

    /// Deletes one key if it exists.
    pub(crate) fn delete_key(&mut self, key: Bytes) -> Result<(), Fault> {
        let range = KeyRange::single(key);
        self.delete_range(&DeleteRange {
            range,
            want_previous: false,
        })?;
        Ok(())
    }

    fn delete(&mut self, key: Bytes, record: Record) -> KeyValue {
        let revision = self.meta.revision.next();
        let stamp = self.stamp(revision);
        self.move_lease(&key, Some(&record), None);
        self.count(&key, Some(&record), None);
        self.overlay.delete(Table::Current, key.clone());
        self.remember(
            &key,
            stamp,
            ChangeKind::Tombstone,
            record::encode_tombstone(&key),
        );
        let previous = record.into_key_value(key.clone());
        if claims::may_be_claim(&previous.key) {
            self.overlay.touched.push(Touched::Ended(previous.clone()));
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
        self.events.push(event);
        previous
    }

    fn record(&self, key: &[u8]) -> Result<Option<Record>, Fault> {
        let row = self.overlay.get(Table::Current, key)?;
        row.as_ref().map(Record::decode).transpose()
    }

    fn stamp(&self, main: Revision) -> Stamp {
        Stamp {
            main,
            sub: i64::try_from(self.events.len()).unwrap_or(i64::MAX),
        }
    }

    fn remember(&mut self, key: &[u8], stamp: Stamp, kind: ChangeKind, record: Bytes) {
        let row = keys::history(stamp, kind);
        let bytes = row.len().saturating_add(record.len());
        self.meta.history_bytes = self.meta.history_bytes.saturating_add(bytes as u64);
        self.overlay.put(Table::History, row, record);
        let kind = Bytes::from_static(kind.row_value());
        self.overlay
            .put(Table::Versions, keys::version(key, stamp), kind);
    }

    fn move_lease(&mut self, key: &[u8], before: Option<&Record>, after: Option<&Record>) {
        let before = before.map(|record| record.lease).unwrap_or_default();
        let after = after.map(|record| record.lease).unwrap_or_default();
        if before == after {
            return;
        }
        if before.is_some() {
            self.overlay
                .delete(Table::LeaseKeys, keys::lease_key(before, key));
        }
        if after.is_some() {
            self.overlay
                .put(Table::LeaseKeys, keys::lease_key(after, key), Bytes::new());
        }
    }

    fn count(&mut self, key: &[u8], before: Option<&Record>, after: Option<&Record>) {
        let meta = &mut *self.meta;
        if let Some(record) = before {
            meta.keys = meta.keys.saturating_sub(1);
            meta.live_bytes = meta.live_bytes.saturating_sub(live_bytes(key, record));
        }
        if let Some(record) = after {
            meta.keys = meta.keys.saturating_add(1);
            meta.live_bytes = meta.live_bytes.saturating_add(live_bytes(key, record));
        }
    }
}

/// What a key counts for in [`Meta::live_bytes`].
pub(crate) const fn live_bytes(key: &[u8], record: &Record) -> u64 {
    let bytes = key
        .len()
        .saturating_add(HEADER_LEN)
        .saturating_add(record.value.len());
    bytes as u64
}

/// Whether `put` can be made on the state that `reader` sees. The lease comes first, as in etcd.
pub(crate) fn check_put(reader: &Reader<'_>, put: &Put) -> Result<(), ReadError> {
    if put.lease.is_some() && reader.lease(put.lease)?.is_none() {
        return Err(Refusal::LeaseNotFound.into());
    }
    let needs_key = put.ignore_value || put.ignore_lease;
    if needs_key && reader.latest(&put.key)?.is_none() {
        return Err(Refusal::KeyNotFound.into());
    }
    Ok(())
}
