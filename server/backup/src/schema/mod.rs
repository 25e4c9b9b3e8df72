//! etcd's buckets and their rows, and the one bucket that tenure adds.
//!
//! Invariant: a row is encoded in the bytes that etcd writes, and a row that etcd wrote is decoded;
//! rows under keys that a later etcd adds are kept as they are ([`Record::Other`]).

mod bucket;
mod json;
mod message;
mod record;
mod revision_key;

pub use self::{
    bucket::BucketName,
    json::{ConfState, Downgrade, Member},
    message::{
        Alarm, AlarmKind, KeyValue, Lease, Permission, PermissionKind, Role, User, UserOptions,
    },
    record::{EncodedRow, Malformed, Record, RowError},
    revision_key::RevisionKey,
};
