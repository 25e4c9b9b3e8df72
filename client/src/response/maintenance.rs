//! Responses of maintenance calls: status, alarms, hashes, snapshots.

use bytes::Bytes;
use tenure_proto::etcdserverpb::{
    AlarmMember, AlarmResponse, AlarmType, HashKvResponse, HashResponse, SnapshotResponse,
    StatusResponse,
};

use super::{Header, List, MemberRole, impl_header};
use crate::id::{MemberId, Revision};

/// The status of one server. Made by [`Maintenance::status`](crate::Maintenance::status).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status(StatusResponse);

impl Status {
    pub(crate) fn of(message: StatusResponse) -> Self {
        Self(message)
    }

    /// The version of the server.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// The version of the storage format; empty when the server does not send it.
    #[must_use]
    pub fn storage_version(&self) -> &str {
        &self.0.storage_version
    }

    /// Size of the store on disk, in bytes.
    #[must_use]
    pub fn db_size_bytes(&self) -> u64 {
        bytes(self.0.db_size)
    }

    /// Size of the used part of the store, in bytes.
    #[must_use]
    pub fn db_size_in_use_bytes(&self) -> u64 {
        bytes(self.0.db_size_in_use)
    }

    /// Quota of the store, in bytes; zero when the server does not send it.
    #[must_use]
    pub fn db_size_quota_bytes(&self) -> u64 {
        bytes(self.0.db_size_quota)
    }

    /// The Raft leader known to the server; `None` while it knows none.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        (self.0.leader != 0).then(|| MemberId::new(self.0.leader))
    }

    /// Whether the server is the leader.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader() == Some(self.header().member_id())
    }

    /// Whether the server is a voter or a learner.
    #[must_use]
    pub fn role(&self) -> MemberRole {
        if self.0.is_learner {
            MemberRole::Learner
        } else {
            MemberRole::Voter
        }
    }

    /// The Raft term of the server.
    #[must_use]
    pub fn raft_term(&self) -> u64 {
        self.0.raft_term
    }

    /// The index of the last entry of the Raft log that the server knows to be committed.
    #[must_use]
    pub fn raft_index(&self) -> u64 {
        self.0.raft_index
    }

    /// The index of the last entry of the Raft log that the server has applied.
    #[must_use]
    pub fn raft_applied_index(&self) -> u64 {
        self.0.raft_applied_index
    }

    /// Error texts of the server; empty when it is healthy.
    #[must_use]
    pub fn errors(&self) -> &[String] {
        &self.0.errors
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> StatusResponse {
        self.0
    }
}

/// Converts a size, which messages carry as a signed number.
fn bytes(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

/// The kind of an alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlarmKind {
    /// The store has reached its quota: the cluster refuses writes that grow it.
    NoSpace,
    /// The data of a member differs from that of the others.
    Corrupt,
    /// An alarm that this version of the client does not know.
    Unknown,
}

impl AlarmKind {
    fn of(kind: AlarmType) -> Self {
        match kind {
            AlarmType::Nospace => Self::NoSpace,
            AlarmType::Corrupt => Self::Corrupt,
            AlarmType::None => Self::Unknown,
        }
    }

    pub(crate) fn to_message(self) -> AlarmType {
        match self {
            Self::NoSpace => AlarmType::Nospace,
            Self::Corrupt => AlarmType::Corrupt,
            Self::Unknown => AlarmType::None,
        }
    }
}

/// An alarm raised by a member. It stays until it is disarmed by
/// [`Maintenance::disarm`](crate::Maintenance::disarm).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alarm(AlarmMember);

impl Alarm {
    /// The member that raised it.
    #[must_use]
    pub fn member_id(&self) -> MemberId {
        MemberId::new(self.0.member_id)
    }

    /// The kind of the alarm.
    #[must_use]
    pub fn kind(&self) -> AlarmKind {
        AlarmKind::of(self.0.alarm())
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> AlarmMember {
        self.0
    }
}

impl List<Alarm> {
    pub(crate) fn alarms(message: AlarmResponse) -> Self {
        let alarms = message.alarms.into_iter().map(Alarm);
        Self::of(Header::of(message.header), alarms.collect())
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> AlarmResponse {
        let (header, alarms) = self.into_messages(Header::into_wire, Alarm::into_wire);
        AlarmResponse { header, alarms }
    }
}

/// A hash of the whole store of one server. Made by
/// [`Maintenance::hash`](crate::Maintenance::hash).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreHash(HashResponse);

impl StoreHash {
    pub(crate) fn of(message: HashResponse) -> Self {
        Self(message)
    }

    /// The value of the hash.
    #[must_use]
    pub fn hash(&self) -> u32 {
        self.0.hash
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> HashResponse {
        self.0
    }
}

/// A hash of the history of keys. Made by [`Maintenance::hash_kv`](crate::Maintenance::hash_kv).
/// Hashes of two servers must be equal when both revisions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryHash(HashKvResponse);

impl HistoryHash {
    pub(crate) fn of(message: HashKvResponse) -> Self {
        Self(message)
    }

    /// The value of the hash.
    #[must_use]
    pub fn hash(&self) -> u32 {
        self.0.hash
    }

    /// The compaction floor at the time of the hash.
    #[must_use]
    pub fn compact_revision(&self) -> Revision {
        Revision::new(self.0.compact_revision)
    }

    /// The last revision of the hash.
    #[must_use]
    pub fn hash_revision(&self) -> Revision {
        Revision::new(self.0.hash_revision)
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> HashKvResponse {
        self.0
    }
}

/// A piece of a snapshot. Made by [`Snapshot::next`](crate::Snapshot::next).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotPiece(SnapshotResponse);

impl SnapshotPiece {
    pub(crate) fn of(message: SnapshotResponse) -> Self {
        Self(message)
    }

    /// The bytes of the piece.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.0.blob
    }

    /// The bytes of the piece, by value and without a copy.
    #[must_use]
    pub fn into_data(self) -> Bytes {
        self.0.blob
    }

    /// Number of bytes after this piece; zero in the last one.
    #[must_use]
    pub fn remaining_bytes(&self) -> u64 {
        self.0.remaining_bytes
    }

    /// The version of the server; empty in pieces without it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> SnapshotResponse {
        self.0
    }
}

impl_header!(in message: Status, StoreHash, HistoryHash, SnapshotPiece);
