//! Responses of one server about itself: status, alarms, hashes, snapshots.

use bytes::Bytes;
use tenure_proto::etcdserverpb::{
    AlarmMember, AlarmResponse, AlarmType, HashKvResponse, HashResponse, SnapshotResponse,
    StatusResponse,
};

use super::{Header, List, MemberRole, headed};
use crate::id::{MemberId, Revision};

/// The state of one server. Made by [`Maintenance::status`](crate::Maintenance::status).
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

    /// The version of what the server has on disk; empty when it does not tell.
    #[must_use]
    pub fn storage_version(&self) -> &str {
        &self.0.storage_version
    }

    /// Bytes that the store takes on disk.
    #[must_use]
    pub fn db_size_bytes(&self) -> u64 {
        bytes(self.0.db_size)
    }

    /// Bytes of those that hold something.
    #[must_use]
    pub fn db_size_in_use_bytes(&self) -> u64 {
        bytes(self.0.db_size_in_use)
    }

    /// Bytes at which the server takes no more writes; zero when it does not tell.
    #[must_use]
    pub fn db_size_quota_bytes(&self) -> u64 {
        bytes(self.0.db_size_quota)
    }

    /// Who leads, as far as the server knows; nothing while it knows no leader.
    #[must_use]
    pub fn leader(&self) -> Option<MemberId> {
        (self.0.leader != 0).then(|| MemberId::new(self.0.leader))
    }

    /// Whether the server that answered leads.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.leader() == Some(self.header().member_id())
    }

    /// Whether the server votes.
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

    /// What is wrong with the server, in its words; nothing when all is well.
    #[must_use]
    pub fn errors(&self) -> &[String] {
        &self.0.errors
    }

    /// The message of the wire.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> StatusResponse {
        self.0
    }
}

/// A size, which the wire carries with a sign.
fn bytes(size: i64) -> u64 {
    u64::try_from(size).unwrap_or(0)
}

/// What an alarm is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AlarmKind {
    /// The store has reached its quota: the cluster takes no writes that add to it.
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

/// An alarm that a member has raised. It stays until it is taken back with
/// [`Maintenance::disarm`](crate::Maintenance::disarm).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Alarm(AlarmMember);

impl Alarm {
    /// The member that raised it.
    #[must_use]
    pub fn member_id(&self) -> MemberId {
        MemberId::new(self.0.member_id)
    }

    /// What it is about.
    #[must_use]
    pub fn kind(&self) -> AlarmKind {
        AlarmKind::of(self.0.alarm())
    }

    /// The message of the wire.
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

    /// The message of the wire.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> AlarmResponse {
        let (header, alarms) = self.into_messages(Header::into_wire, Alarm::into_wire);
        AlarmResponse { header, alarms }
    }
}

/// A hash over everything that one server stores. Made by
/// [`Maintenance::hash`](crate::Maintenance::hash).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreHash(HashResponse);

impl StoreHash {
    pub(crate) fn of(message: HashResponse) -> Self {
        Self(message)
    }

    /// The hash.
    #[must_use]
    pub fn hash(&self) -> u32 {
        self.0.hash
    }

    /// The message of the wire.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> HashResponse {
        self.0
    }
}

/// A hash over the history of keys. Made by
/// [`Maintenance::hash_kv`](crate::Maintenance::hash_kv). Two servers must agree when both of its
/// revisions are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryHash(HashKvResponse);

impl HistoryHash {
    pub(crate) fn of(message: HashKvResponse) -> Self {
        Self(message)
    }

    /// The hash.
    #[must_use]
    pub fn hash(&self) -> u32 {
        self.0.hash
    }

    /// The revision up to which history was given up when the hash was made.
    #[must_use]
    pub fn compact_revision(&self) -> Revision {
        Revision::new(self.0.compact_revision)
    }

    /// The revision up to which the hash goes.
    #[must_use]
    pub fn hash_revision(&self) -> Revision {
        Revision::new(self.0.hash_revision)
    }

    /// The message of the wire.
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

    /// The bytes of the piece, which follow those of the piece before.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.0.blob
    }

    /// Takes the bytes out, without a copy.
    #[must_use]
    pub fn into_data(self) -> Bytes {
        self.0.blob
    }

    /// Bytes that are still to come after this piece; zero in the last one.
    #[must_use]
    pub fn remaining_bytes(&self) -> u64 {
        self.0.remaining_bytes
    }

    /// The version of the server; empty in pieces that do not tell it.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.0.version
    }

    /// The message of the wire.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> SnapshotResponse {
        self.0
    }
}

headed!(in message: Status, StoreHash, HistoryHash, SnapshotPiece);
