//! Responses to reads, writes and deletions of keys.

use bytes::Bytes;
use tenure_proto::etcdserverpb::{DeleteRangeResponse, PutResponse as PutMessage, RangeResponse};

use super::{Header, KeyValue, impl_header, impl_iter};

/// The response to a read: the keys, in the requested order.
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

    /// The first or only key; `None` when no key was found.
    #[must_use]
    pub fn first(&self) -> Option<&KeyValue> {
        self.kvs.first()
    }

    /// The first or only key, by value.
    #[must_use]
    pub fn into_first(self) -> Option<KeyValue> {
        self.kvs.into_iter().next()
    }

    /// The value of the first or only key; `None` when no key was found.
    #[must_use]
    pub fn value(&self) -> Option<&Bytes> {
        self.first().map(KeyValue::value)
    }

    /// The keys; empty with [`count_only`](crate::Get::count_only).
    #[must_use]
    pub fn kvs(&self) -> &[KeyValue] {
        &self.kvs
    }

    /// The keys, by value.
    #[must_use]
    pub fn into_kvs(self) -> Vec<KeyValue> {
        self.kvs
    }

    /// The number of keys in the range, including those beyond the [limit](crate::Get::limit).
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether the range has more keys than the [limit](crate::Get::limit).
    #[must_use]
    pub fn more(&self) -> bool {
        self.more
    }

    /// Converts into the generated protobuf message.
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

impl_iter! {
    /// Iterates over the keys.
    GetResponse.kvs: KeyValue
}

/// The response to a write.
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

    /// The previous version of the key, if requested by [`Put::prev_kv`](crate::Put::prev_kv) and
    /// the key existed.
    #[must_use]
    pub fn prev_kv(&self) -> Option<&KeyValue> {
        self.prev_kv.as_ref()
    }

    /// The previous version of the key, by value.
    #[must_use]
    pub fn into_prev_kv(self) -> Option<KeyValue> {
        self.prev_kv
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> PutMessage {
        PutMessage {
            header: self.header.map(Header::into_wire),
            prev_kv: self.prev_kv.map(KeyValue::into_wire),
        }
    }
}

/// The response to a deletion.
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

    /// The number of deleted keys.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.deleted
    }

    /// The deleted keys with their values, if requested by
    /// [`Delete::prev_kv`](crate::Delete::prev_kv).
    #[must_use]
    pub fn prev_kvs(&self) -> &[KeyValue] {
        &self.prev_kvs
    }

    /// The deleted keys with their values, by value.
    #[must_use]
    pub fn into_prev_kvs(self) -> Vec<KeyValue> {
        self.prev_kvs
    }

    /// Converts into the generated protobuf message.
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

impl_header!(GetResponse, PutResponse, DeleteResponse);
