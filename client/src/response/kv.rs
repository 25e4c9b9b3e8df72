//! Responses to reads, writes and deletions of keys.

use bytes::Bytes;
use tenure_proto::etcdserverpb::{DeleteRangeResponse, PutResponse as PutMessage, RangeResponse};

use super::{Header, KeyValue, headed, iterable};

/// Keys that were read, in the order that was asked for.
///
/// ```no_run
/// # async fn example(client: tenure::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use tenure::KeyRange;
///
/// // One key ...
/// let mode = client.get("config/mode").await?;
/// println!("{:?}", mode.value());
/// // ... or many.
/// for kv in client.get(KeyRange::prefix("config/")).await? {
///     println!("{} = {}", kv.key_str()?, kv.value_str()?);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GetResponse {
    pub(crate) header: Option<Header>,
    pub(crate) kvs: Vec<KeyValue>,
    pub(crate) more: bool,
    pub(crate) count: u64,
}

impl GetResponse {
    pub(crate) fn of(message: RangeResponse) -> Self {
        Self {
            header: Header::of(message.header),
            kvs: KeyValue::list_of(message.kvs),
            more: message.more,
            count: u64::try_from(message.count).unwrap_or(0),
        }
    }

    /// The first key, or the only one; nothing when no key was found.
    #[must_use]
    pub fn first(&self) -> Option<&KeyValue> {
        self.kvs.first()
    }

    /// Takes the first key out, or the only one.
    #[must_use]
    pub fn into_first(self) -> Option<KeyValue> {
        self.kvs.into_iter().next()
    }

    /// The value of the first key, or of the only one; nothing when no key was found.
    #[must_use]
    pub fn value(&self) -> Option<&Bytes> {
        self.first().map(KeyValue::value)
    }

    /// The keys; none when only their number was asked for.
    #[must_use]
    pub fn kvs(&self) -> &[KeyValue] {
        &self.kvs
    }

    /// Takes the keys out.
    #[must_use]
    pub fn into_kvs(self) -> Vec<KeyValue> {
        self.kvs
    }

    /// The number of keys in the range, those beyond the [limit](crate::Get::limit) included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether there are more keys in the range than were returned, because of the
    /// [limit](crate::Get::limit).
    #[must_use]
    pub fn more(&self) -> bool {
        self.more
    }

    /// The message of the wire.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> RangeResponse {
        RangeResponse {
            header: self.header.map(Header::into_wire),
            kvs: KeyValue::list_into_wire(self.kvs),
            more: self.more,
            count: i64::try_from(self.count).unwrap_or(i64::MAX),
        }
    }
}

iterable! {
    /// The keys, one after the other.
    GetResponse.kvs: KeyValue
}

/// A key was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PutResponse {
    header: Option<Header>,
    prev_kv: Option<KeyValue>,
}

impl PutResponse {
    pub(crate) fn of(message: PutMessage) -> Self {
        Self {
            header: Header::of(message.header),
            prev_kv: message.prev_kv.map(KeyValue::of),
        }
    }

    /// What the key held before, if [`Put::prev_kv`](crate::Put::prev_kv) asked for it and the key
    /// existed.
    #[must_use]
    pub fn prev_kv(&self) -> Option<&KeyValue> {
        self.prev_kv.as_ref()
    }

    /// Takes out what the key held before.
    #[must_use]
    pub fn into_prev_kv(self) -> Option<KeyValue> {
        self.prev_kv
    }

    /// The message of the wire.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> PutMessage {
        PutMessage {
            header: self.header.map(Header::into_wire),
            prev_kv: self.prev_kv.map(KeyValue::into_wire),
        }
    }
}

/// Keys were deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeleteResponse {
    header: Option<Header>,
    deleted: u64,
    prev_kvs: Vec<KeyValue>,
}

impl DeleteResponse {
    pub(crate) fn of(message: DeleteRangeResponse) -> Self {
        Self {
            header: Header::of(message.header),
            deleted: u64::try_from(message.deleted).unwrap_or(0),
            prev_kvs: KeyValue::list_of(message.prev_kvs),
        }
    }

    /// The number of keys that were deleted.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.deleted
    }

    /// What the deleted keys held, if [`Delete::prev_kv`](crate::Delete::prev_kv) asked for it.
    #[must_use]
    pub fn prev_kvs(&self) -> &[KeyValue] {
        &self.prev_kvs
    }

    /// Takes out what the deleted keys held.
    #[must_use]
    pub fn into_prev_kvs(self) -> Vec<KeyValue> {
        self.prev_kvs
    }

    /// The message of the wire.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> DeleteRangeResponse {
        DeleteRangeResponse {
            header: self.header.map(Header::into_wire),
            deleted: i64::try_from(self.deleted).unwrap_or(i64::MAX),
            prev_kvs: KeyValue::list_into_wire(self.prev_kvs),
        }
    }
}

headed!(GetResponse, PutResponse, DeleteResponse);
