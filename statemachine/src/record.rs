//! The two forms a key's record is stored in: the latest, behind a fixed header, and every past
//! one, in exactly the bytes etcd's marshaller writes.
//!
//! Invariant: a history record is `mvccpb.KeyValue` in proto3 with fields in number order and zero
//! values left out, so that hashes over history equal etcd's.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::{
    error::Fault,
    keys::{Stamp, damaged, split_i64},
    types::{KeyValue, LeaseId, Revision},
};

/// Length of the header before the value in a `Current` row.
pub(crate) const HEADER_LEN: usize = 40;

/// The latest record of a key, as its `Current` row holds it.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) stamp: Stamp,
    pub(crate) create: Revision,
    pub(crate) version: i64,
    pub(crate) lease: LeaseId,
    pub(crate) value: Bytes,
}

impl Record {
    pub(crate) fn encode(&self) -> Bytes {
        let mut row = BytesMut::with_capacity(HEADER_LEN.saturating_add(self.value.len()));
        row.put_i64(self.stamp.main.0);
        row.put_i64(self.stamp.sub);
        row.put_i64(self.create.0);
        row.put_i64(self.version);
        row.put_i64(self.lease.0);
        row.put_slice(&self.value);
        row.freeze()
    }

    /// Reads a row; the value is a slice of it.
    pub(crate) fn decode(row: &Bytes) -> Result<Self, Fault> {
        let parsed = (|| {
            let (main, rest) = split_i64(row)?;
            let (sub, rest) = split_i64(rest)?;
            let (create, rest) = split_i64(rest)?;
            let (version, rest) = split_i64(rest)?;
            let (lease, _) = split_i64(rest)?;
            Some(Self {
                stamp: Stamp {
                    main: Revision(main),
                    sub,
                },
                create: Revision(create),
                version,
                lease: LeaseId(lease),
                value: row.slice(HEADER_LEN..),
            })
        })();
        parsed.ok_or_else(|| damaged("current row is shorter than its header"))
    }

    /// The record as clients see it.
    pub(crate) fn into_key_value(self, key: Bytes) -> KeyValue {
        KeyValue {
            key,
            create_revision: self.create,
            mod_revision: self.stamp.main,
            version: self.version,
            value: self.value,
            lease: self.lease,
        }
    }
}

/// `mvccpb.KeyValue`.
#[derive(Clone, PartialEq, Eq, Message)]
struct WireKeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(int64, tag = "2")]
    create_revision: i64,
    #[prost(int64, tag = "3")]
    mod_revision: i64,
    #[prost(int64, tag = "4")]
    version: i64,
    #[prost(bytes = "bytes", tag = "5")]
    value: Bytes,
    #[prost(int64, tag = "6")]
    lease: i64,
}

/// The bytes of a put in history.
pub(crate) fn encode_put(kv: &KeyValue) -> Bytes {
    let wire = WireKeyValue {
        key: kv.key.clone(),
        create_revision: kv.create_revision.0,
        mod_revision: kv.mod_revision.0,
        version: kv.version,
        value: kv.value.clone(),
        lease: kv.lease.0,
    };
    Bytes::from(wire.encode_to_vec())
}

/// The bytes of a tombstone in history: the key and nothing else.
pub(crate) fn encode_tombstone(key: &Bytes) -> Bytes {
    let wire = WireKeyValue {
        key: key.clone(),
        ..WireKeyValue::default()
    };
    Bytes::from(wire.encode_to_vec())
}

/// Reads a history record; key and value are slices of it.
pub(crate) fn decode(row: Bytes) -> Result<KeyValue, Fault> {
    let wire = WireKeyValue::decode(row)
        .map_err(|error| Fault::Damaged(format!("history record: {error}")))?;
    Ok(KeyValue {
        key: wire.key,
        create_revision: Revision(wire.create_revision),
        mod_revision: Revision(wire.mod_revision),
        version: wire.version,
        value: wire.value,
        lease: LeaseId(wire.lease),
    })
}
