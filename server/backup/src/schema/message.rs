//! The messages that etcd stores, as far as snapshots hold them.
//!
//! Declared here, and not taken from the crate of the wire, so that this crate needs no network
//! library; `leasepb` is not on the wire at all. Invariant: numbers and types are etcd's, and the
//! encoding is canonical: a row is read and written in the same bytes.

use bytes::Bytes;
use prost::{Enumeration, Message};

/// `mvccpb.KeyValue`: a key at one revision.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct KeyValue {
    /// The key.
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Revision in which the key's present life began; zero in a tombstone.
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    /// Revision of this record; zero in a tombstone.
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    /// Number of puts in the present life of the key; zero in a tombstone.
    #[prost(int64, tag = "4")]
    pub version: i64,
    /// The value.
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
    /// The lease that deletes the key when it ends; zero without one.
    #[prost(int64, tag = "6")]
    pub lease: i64,
}

/// `leasepb.Lease`. The keys attached to a lease are those whose records name it.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Lease {
    /// Its id.
    #[prost(int64, tag = "1")]
    pub id: i64,
    /// Its time to live, in seconds.
    #[prost(int64, tag = "2")]
    pub ttl: i64,
    /// What was left of it at the last checkpoint, in seconds; zero without a checkpoint.
    #[prost(int64, tag = "3")]
    pub remaining_ttl: i64,
}

/// `authpb.User`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct User {
    /// Its name.
    #[prost(bytes = "bytes", tag = "1")]
    pub name: Bytes,
    /// The bcrypt hash of the password, as text; empty without a password.
    #[prost(bytes = "bytes", tag = "2")]
    pub password: Bytes,
    /// Names of its roles, sorted.
    #[prost(string, repeated, tag = "3")]
    pub roles: Vec<String>,
    /// How it was added.
    #[prost(message, optional, tag = "4")]
    pub options: Option<UserOptions>,
}

/// `authpb.UserAddOptions`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct UserOptions {
    /// The user has no password, and none is accepted.
    #[prost(bool, tag = "1")]
    pub no_password: bool,
}

/// `authpb.Role`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Role {
    /// Its name.
    #[prost(bytes = "bytes", tag = "1")]
    pub name: Bytes,
    /// What it permits, sorted by key.
    #[prost(message, repeated, tag = "2")]
    pub permissions: Vec<Permission>,
}

/// `authpb.Permission`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Permission {
    /// What may be done.
    #[prost(enumeration = "PermissionKind", tag = "1")]
    pub kind: i32,
    /// The first key.
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    /// The end of the range, as in a request for a range.
    #[prost(bytes = "bytes", tag = "3")]
    pub range_end: Bytes,
}

/// `authpb.Permission.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum PermissionKind {
    /// Reading.
    Read = 0,
    /// Writing.
    Write = 1,
    /// Both.
    ReadWrite = 2,
}

/// `etcdserverpb.AlarmMember`: an active alarm.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct Alarm {
    /// The member that it is about.
    #[prost(uint64, tag = "1")]
    pub member_id: u64,
    /// What is wrong.
    #[prost(enumeration = "AlarmKind", tag = "2")]
    pub kind: i32,
}

/// `etcdserverpb.AlarmType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
pub enum AlarmKind {
    /// No alarm; stored for none.
    None = 0,
    /// The space quota is exhausted.
    NoSpace = 1,
    /// The data of the member differs.
    Corrupt = 2,
}
