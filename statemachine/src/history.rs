//! Past changes in the order they were made, for watchers that start in the past or fell behind.
//!
//! Invariant: a revision is returned whole or not at all.

use crate::{
    engine::Table,
    error::{Fault, ReadError, Refusal},
    keys::{self, ChangeKind, Stamp},
    outcome::{Event, EventKind},
    read::Reader,
    record,
    types::{KeyValue, Revision},
};

/// Everything one revision changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionEvents {
    /// The revision.
    pub revision: Revision,
    /// Its changes, in sub-revision order; never empty.
    pub events: Vec<Event>,
}

impl Reader<'_> {
    /// The changes of the revisions `from` to `through`, both included.
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
        let floor = self.meta().floor;
        if from < floor {
            return Err(Refusal::Compacted { floor }.into());
        }
        let mut revisions: Vec<RevisionEvents> = Vec::new();
        let mut bytes_before = 0_usize;
        let mut bytes = 0_usize;
        let from = Stamp::first_of(Revision(from.0.max(0)));
        let first = keys::history(from, ChangeKind::Put);
        let mut cursor = self.view.scan(Table::History, &first)?;
        while let Some((row, value)) = cursor.next()? {
            let (stamp, kind) = keys::read_history(&row)?;
            let begins = revisions
                .last()
                .is_none_or(|last| last.revision != stamp.main);
            if begins && (stamp.main > through || revisions.len() >= revisions_max) {
                break;
            }
            if begins {
                bytes_before = bytes;
                revisions.push(RevisionEvents {
                    revision: stamp.main,
                    events: Vec::new(),
                });
            }
            let event = self.event(stamp, kind, record::decode(value)?)?;
            bytes = bytes.saturating_add(event_bytes(&event));
            if bytes > bytes_max && bytes_before > 0 {
                revisions.pop();
                break;
            }
            if let Some(last) = revisions.last_mut() {
                last.events.push(event);
            }
        }
        Ok(revisions)
    }

    fn event(&self, stamp: Stamp, kind: ChangeKind, kv: KeyValue) -> Result<Event, Fault> {
        match kind {
            ChangeKind::Put => {
                let previous = if kv.version > 1 {
                    self.previous(&kv.key, stamp)?
                } else {
                    None
                };
                Ok(Event {
                    kind: EventKind::Put,
                    kv,
                    previous,
                })
            }
            ChangeKind::Tombstone => {
                let previous = self.previous(&kv.key, stamp)?;
                let kv = KeyValue {
                    mod_revision: stamp.main,
                    ..kv
                };
                Ok(Event {
                    kind: EventKind::Delete,
                    kv,
                    previous,
                })
            }
        }
    }

    /// The record before a change. The revision before the floor's cannot be read, whether or not
    /// its rows are still there.
    fn previous(&self, key: &[u8], stamp: Stamp) -> Result<Option<KeyValue>, Fault> {
        if stamp.main <= self.meta().floor {
            return Ok(None);
        }
        match self.change_before(key, stamp)? {
            Some((before, ChangeKind::Put)) => Ok(Some(self.put_at(before)?)),
            Some((_, ChangeKind::Tombstone)) | None => Ok(None),
        }
    }
}

fn event_bytes(event: &Event) -> usize {
    let size = |kv: &KeyValue| kv.key.len().saturating_add(kv.value.len());
    size(&event.kv).saturating_add(event.previous.as_ref().map_or(0, size))
}
