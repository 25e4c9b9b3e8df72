//! A key with its value and revisions.

use std::{fmt, str::Utf8Error};

use bytes::Bytes;
use tenure_proto::mvccpb;

use crate::id::{LeaseId, Revision};

/// A key with its value and revisions. Clones share the bytes.
///
/// ```no_run
/// # async fn example(client: tenure::Client) -> Result<(), Box<dyn std::error::Error>> {
/// if let Some(kv) = client.get("config/mode").await?.into_first() {
///     println!("{} since revision {}", kv.value_str()?, kv.mod_revision());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct KeyValue(mvccpb::KeyValue);

impl KeyValue {
    pub(crate) fn of(message: mvccpb::KeyValue) -> Self {
        Self(message)
    }

    /// Wraps each message; reuses the allocation.
    pub(crate) fn list_of(messages: Vec<mvccpb::KeyValue>) -> Vec<Self> {
        messages.into_iter().map(Self).collect()
    }

    /// The key, as raw bytes.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        &self.0.key
    }

    /// The key as text.
    ///
    /// # Errors
    /// [`Utf8Error`] when the key is not UTF-8.
    pub fn key_str(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.0.key)
    }

    /// The value; empty with [`keys_only`](crate::Get::keys_only) and in the event of a deletion.
    #[must_use]
    pub fn value(&self) -> &Bytes {
        &self.0.value
    }

    /// The value as text.
    ///
    /// # Errors
    /// [`Utf8Error`] when the value is not UTF-8.
    pub fn value_str(&self) -> Result<&str, Utf8Error> {
        std::str::from_utf8(&self.0.value)
    }

    /// The value, by value and without a copy.
    #[must_use]
    pub fn into_value(self) -> Bytes {
        self.0.value
    }

    /// Key and value, by value and without a copy.
    #[must_use]
    pub fn into_parts(self) -> (Bytes, Bytes) {
        (self.0.key, self.0.value)
    }

    /// The revision at which the key was created; zero in the event of a deletion.
    #[must_use]
    pub fn create_revision(&self) -> Revision {
        Revision::new(self.0.create_revision)
    }

    /// The revision of the last write, or of the deletion in the event of one.
    #[must_use]
    pub fn mod_revision(&self) -> Revision {
        Revision::new(self.0.mod_revision)
    }

    /// The number of writes since the creation of the key, including it; zero in the event of a
    /// deletion.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.0.version
    }

    /// The lease that the key is attached to, if any: the key is deleted when it ends.
    #[must_use]
    pub fn lease(&self) -> Option<LeaseId> {
        Some(LeaseId::new(self.0.lease)).filter(|lease| *lease != LeaseId::NONE)
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> mvccpb::KeyValue {
        self.0
    }

    #[cfg(feature = "wire")]
    pub(crate) fn list_into_wire(list: Vec<Self>) -> Vec<mvccpb::KeyValue> {
        list.into_iter().map(Self::into_wire).collect()
    }
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyValue")
            .field("key", &self.0.key)
            .field("value", &self.0.value)
            .field("create_revision", &self.0.create_revision)
            .field("mod_revision", &self.0.mod_revision)
            .field("version", &self.0.version)
            .field("lease", &self.lease())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lease_is_none_and_bytes_that_are_no_text_are_refused() {
        let message = mvccpb::KeyValue {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"\xff"),
            version: 3,
            ..mvccpb::KeyValue::default()
        };
        let kv = KeyValue::of(message);
        assert_eq!(kv.lease(), None);
        assert_eq!(kv.key_str(), Ok("k"));
        assert!(kv.value_str().is_err());
        assert_eq!(kv.version(), 3);
    }

    #[test]
    fn a_value_is_moved_and_not_copied() {
        let value = Bytes::from(vec![7; 100]);
        let at = value.as_ptr();
        let message = mvccpb::KeyValue {
            value,
            ..mvccpb::KeyValue::default()
        };
        let list = KeyValue::list_of(vec![message]);
        let moved: Vec<_> = list.into_iter().map(KeyValue::into_value).collect();
        assert_eq!(moved[0].as_ptr(), at);
    }
}
