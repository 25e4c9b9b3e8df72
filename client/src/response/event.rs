//! Events of watches.

use bytes::Bytes;
use tenure_proto::mvccpb::{self, event::EventType};

use super::KeyValue;
use crate::id::Revision;

/// One change of one key: a write or a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Event {
    deleted: bool,
    kv: KeyValue,
    prev_kv: Option<KeyValue>,
}

impl Event {
    pub(crate) fn of(message: mvccpb::Event) -> Self {
        Self {
            deleted: message.r#type() == EventType::Delete,
            kv: KeyValue::of(message.kv.unwrap_or_default()),
            prev_kv: message.prev_kv.map(KeyValue::of),
        }
    }

    /// Whether the key was written.
    #[must_use]
    pub fn is_put(&self) -> bool {
        !self.deleted
    }

    /// Whether the key was created.
    #[must_use]
    pub fn is_create(&self) -> bool {
        self.is_put() && self.kv.create_revision() == self.kv.mod_revision()
    }

    /// Whether the key was deleted, by a request or because its lease ended.
    #[must_use]
    pub fn is_delete(&self) -> bool {
        self.deleted
    }

    /// The key after the change. For a deletion only the key and the mod revision, that of the
    /// deletion, are set.
    #[must_use]
    pub fn kv(&self) -> &KeyValue {
        &self.kv
    }

    /// The key after the change, by value.
    #[must_use]
    pub fn into_kv(self) -> KeyValue {
        self.kv
    }

    /// The key before the change, if requested by [`Watch::prev_kv`](crate::Watch::prev_kv), it
    /// existed, and its revision is not compacted.
    #[must_use]
    pub fn prev_kv(&self) -> Option<&KeyValue> {
        self.prev_kv.as_ref()
    }

    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        self.kv.key()
    }

    /// The value after the change; empty after a deletion.
    #[must_use]
    pub fn value(&self) -> &Bytes {
        self.kv.value()
    }

    /// The revision of the change.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.kv.mod_revision()
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> mvccpb::Event {
        let kind = if self.deleted {
            EventType::Delete
        } else {
            EventType::Put
        };
        mvccpb::Event {
            r#type: kind.into(),
            kv: Some(self.kv.into_wire()),
            prev_kv: self.prev_kv.map(KeyValue::into_wire),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: EventType, create_revision: i64, mod_revision: i64) -> Event {
        Event::of(mvccpb::Event {
            r#type: kind.into(),
            kv: Some(mvccpb::KeyValue {
                create_revision,
                mod_revision,
                ..mvccpb::KeyValue::default()
            }),
            prev_kv: None,
        })
    }

    #[test]
    fn the_first_write_of_a_key_is_a_creation_and_a_deletion_is_none() {
        let first = event(EventType::Put, 5, 5);
        assert!(first.is_put() && first.is_create() && !first.is_delete());
        let second = event(EventType::Put, 5, 7);
        assert!(second.is_put() && !second.is_create());
        assert_eq!(second.revision(), Revision::new(7));
        let gone = event(EventType::Delete, 0, 9);
        assert!(gone.is_delete() && !gone.is_put() && !gone.is_create());
    }
}
