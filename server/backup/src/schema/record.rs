//! Every row of a snapshot as a value, and its bytes.

use bytes::Bytes;
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};
use tenure_statemachine::{MemberId, Revision};
use thiserror::Error;

use crate::bbolt::Row;

use super::{
    bucket::BucketName,
    json::{ConfState, Downgrade, Member},
    message::{Alarm, KeyValue, Lease, Role, User},
    revision_key::RevisionKey,
};

const CONSISTENT_INDEX: &[u8] = b"consistent_index";
const TERM: &[u8] = b"term";
const CONF_STATE: &[u8] = b"confState";
const SCHEDULED_COMPACTION: &[u8] = b"scheduledCompactRev";
const FINISHED_COMPACTION: &[u8] = b"finishedCompactRev";
const STORAGE_VERSION: &[u8] = b"storageVersion";
const AUTH_ENABLED: &[u8] = b"authEnabled";
const AUTH_REVISION: &[u8] = b"authRevision";
const CLUSTER_VERSION: &[u8] = b"clusterVersion";
const DOWNGRADE: &[u8] = b"downgrade";
/// The value of every row of the bucket `members_removed`.
const REMOVED: &[u8] = b"removed";

/// A row of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A change of a key. A tombstone's record holds the key alone.
    Change(RevisionKey, KeyValue),
    /// Raft's applied index.
    ConsistentIndex(u64),
    /// The term of the applied index.
    Term(u64),
    /// Raft's membership at the applied index.
    ConfState(ConfState),
    /// The last compaction that was requested.
    ScheduledCompaction(Revision),
    /// The last compaction whose rows are deleted.
    FinishedCompaction(Revision),
    /// The version of the schema, such as `3.6.0`. etcd refuses one above its own, so a snapshot
    /// for any version has none.
    StorageVersion(String),
    /// A lease.
    Lease(Lease),
    /// Whether authentication is on.
    AuthEnabled(bool),
    /// The revision of users and roles.
    AuthRevision(u64),
    /// A user.
    User(User),
    /// A role.
    Role(Role),
    /// An active alarm.
    Alarm(Alarm),
    /// The version of the cluster; as for [`Record::StorageVersion`].
    ClusterVersion(String),
    /// A downgrade.
    Downgrade(Downgrade),
    /// A member.
    Member(Member),
    /// A member that was removed.
    RemovedMember(MemberId),
    /// A row of tenure's, which this crate does not interpret.
    Tenure {
        /// Its key.
        key: Bytes,
        /// Its value.
        value: Bytes,
    },
    /// A row under a key that is not known here.
    Other(EncodedRow),
}

/// A row in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedRow {
    /// The bucket.
    pub bucket: BucketName,
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

/// A row that is not what its bucket holds.
#[derive(Debug, Error)]
#[error("row {key:?} of bucket {}: {fault}", .bucket.as_str())]
pub struct RowError {
    /// The bucket.
    pub bucket: BucketName,
    /// The key of the row.
    pub key: Bytes,
    /// What is wrong with it.
    pub fault: Malformed,
}

/// What is wrong with a row.
#[derive(Debug, Error)]
pub enum Malformed {
    /// The key is no revision.
    #[error("the key is no revision")]
    Revision,
    /// The key is no id of a member.
    #[error("the key is no id of a member")]
    MemberId,
    /// The value names another lease or member than the key.
    #[error("the value is that of another key")]
    Mismatch,
    /// The value is no number of eight bytes.
    #[error("the value is no number of eight bytes")]
    Number,
    /// The value is no text in UTF-8.
    #[error("the value is no text")]
    Text,
    /// The message cannot be decoded.
    #[error("the message cannot be decoded: {0}")]
    Message(prost::DecodeError),
    /// The JSON cannot be read or written.
    #[error("the JSON cannot be read or written: {0}")]
    Json(serde_json::Error),
}

impl Record {
    /// Encodes the row.
    ///
    /// # Errors
    /// When a value cannot be written as JSON, which none of these types can cause.
    pub fn encode(&self) -> Result<EncodedRow, RowError> {
        use BucketName as In;
        let (bucket, key, value) = match self {
            Self::Change(at, kv) => (In::Key, at.encode(), bytes_of(kv)),
            Self::ConsistentIndex(index) => named(In::Meta, CONSISTENT_INDEX, big_endian(*index)),
            Self::Term(term) => named(In::Meta, TERM, big_endian(*term)),
            Self::ConfState(state) => return json_row(In::Meta, CONF_STATE.into(), state),
            Self::ScheduledCompaction(at) => named(In::Meta, SCHEDULED_COMPACTION, floor_key(*at)),
            Self::FinishedCompaction(at) => named(In::Meta, FINISHED_COMPACTION, floor_key(*at)),
            Self::StorageVersion(version) => named(In::Meta, STORAGE_VERSION, bytes_in(version)),
            Self::Lease(lease) => {
                let key = big_endian(lease.id.cast_unsigned());
                (In::Lease, key, bytes_of(lease))
            }
            Self::AuthEnabled(on) => {
                let value: &[u8] = if *on { &[1] } else { &[0] };
                named(In::Auth, AUTH_ENABLED, Bytes::from_static(value))
            }
            Self::AuthRevision(at) => named(In::Auth, AUTH_REVISION, big_endian(*at)),
            Self::User(user) => (In::AuthUsers, user.name.clone(), bytes_of(user)),
            Self::Role(role) => (In::AuthRoles, role.name.clone(), bytes_of(role)),
            Self::Alarm(alarm) => (In::Alarm, bytes_of(alarm), Bytes::new()),
            Self::ClusterVersion(version) => named(In::Cluster, CLUSTER_VERSION, bytes_in(version)),
            Self::Downgrade(downgrade) => {
                return json_row(In::Cluster, DOWNGRADE.into(), downgrade);
            }
            Self::Member(member) => {
                let key = MemberId(member.id).to_string();
                return json_row(In::Members, key.into(), member);
            }
            Self::RemovedMember(id) => {
                let value = Bytes::from_static(REMOVED);
                (In::MembersRemoved, id.to_string().into(), value)
            }
            Self::Tenure { key, value } => (In::Tenure, key.clone(), value.clone()),
            Self::Other(other) => return Ok(other.clone()),
        };
        Ok(EncodedRow { bucket, key, value })
    }

    /// Decodes a row. Keys and values of messages are slices of it.
    ///
    /// # Errors
    /// When the row is not what its bucket holds.
    pub fn decode(row: EncodedRow) -> Result<Self, RowError> {
        match Self::try_decode(&row) {
            Ok(Some(record)) => Ok(record),
            Ok(None) => Ok(Self::Other(row)),
            Err(fault) => Err(row.error(fault)),
        }
    }

    /// Decodes a row; `None` when its key is not known.
    fn try_decode(row: &EncodedRow) -> Result<Option<Self>, Malformed> {
        let (key, value) = (&row.key, &row.value);
        Ok(Some(match row.bucket {
            BucketName::Key => Self::Change(
                RevisionKey::decode(key).ok_or(Malformed::Revision)?,
                message(value)?,
            ),
            BucketName::Lease => {
                let lease: Lease = message(value)?;
                if key[..] != lease.id.to_be_bytes() {
                    return Err(Malformed::Mismatch);
                }
                Self::Lease(lease)
            }
            BucketName::AuthUsers => {
                let user: User = message(value)?;
                same(&user.name, key)?;
                Self::User(user)
            }
            BucketName::AuthRoles => {
                let role: Role = message(value)?;
                same(&role.name, key)?;
                Self::Role(role)
            }
            BucketName::Alarm => Self::Alarm(message(key)?),
            BucketName::Members => {
                let member: Member = json(value)?;
                if member_id(key)? != MemberId(member.id) {
                    return Err(Malformed::Mismatch);
                }
                Self::Member(member)
            }
            BucketName::MembersRemoved => Self::RemovedMember(member_id(key)?),
            BucketName::Tenure => Self::Tenure {
                key: key.clone(),
                value: value.clone(),
            },
            BucketName::Meta | BucketName::Auth | BucketName::Cluster => {
                return Self::decode_named(row);
            }
        }))
    }

    /// Decodes a row of a bucket whose keys are names.
    fn decode_named(row: &EncodedRow) -> Result<Option<Self>, Malformed> {
        let value = &row.value;
        Ok(Some(match (row.bucket, &row.key[..]) {
            (BucketName::Meta, CONSISTENT_INDEX) => Self::ConsistentIndex(number(value)?),
            (BucketName::Meta, TERM) => Self::Term(number(value)?),
            (BucketName::Meta, CONF_STATE) => Self::ConfState(json(value)?),
            (BucketName::Meta, SCHEDULED_COMPACTION) => Self::ScheduledCompaction(floor(value)?),
            (BucketName::Meta, FINISHED_COMPACTION) => Self::FinishedCompaction(floor(value)?),
            (BucketName::Meta, STORAGE_VERSION) => Self::StorageVersion(text(value)?),
            // etcd takes anything but a single 1 as "off".
            (BucketName::Auth, AUTH_ENABLED) => Self::AuthEnabled(value[..] == [1]),
            (BucketName::Auth, AUTH_REVISION) => Self::AuthRevision(number(value)?),
            (BucketName::Cluster, CLUSTER_VERSION) => Self::ClusterVersion(text(value)?),
            (BucketName::Cluster, DOWNGRADE) => Self::Downgrade(json(value)?),
            _ => return Ok(None),
        }))
    }
}

impl EncodedRow {
    /// A row of a bucket, as a database holds it.
    #[must_use]
    pub fn new(bucket: BucketName, row: Row) -> Self {
        let Row { key, value } = row;
        Self { bucket, key, value }
    }

    fn error(self, fault: Malformed) -> RowError {
        RowError {
            bucket: self.bucket,
            key: self.key,
            fault,
        }
    }
}

/// A row whose key is a name.
const fn named(bucket: BucketName, key: &'static [u8], value: Bytes) -> (BucketName, Bytes, Bytes) {
    (bucket, Bytes::from_static(key), value)
}

fn big_endian(number: u64) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn bytes_in(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn bytes_of(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// The revision of a compaction, which is stored as a revision key.
fn floor_key(main: Revision) -> Bytes {
    let key = RevisionKey {
        main,
        ..RevisionKey::default()
    };
    key.encode()
}

fn json_row<T: Serialize>(
    bucket: BucketName,
    key: Bytes,
    value: &T,
) -> Result<EncodedRow, RowError> {
    match serde_json::to_vec(value) {
        Ok(value) => Ok(EncodedRow {
            bucket,
            key,
            value: value.into(),
        }),
        Err(error) => Err(RowError {
            bucket,
            key,
            fault: Malformed::Json(error),
        }),
    }
}

fn message<M: Message + Default>(bytes: &Bytes) -> Result<M, Malformed> {
    M::decode(bytes.clone()).map_err(Malformed::Message)
}

fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Malformed> {
    serde_json::from_slice(bytes).map_err(Malformed::Json)
}

fn number(bytes: &[u8]) -> Result<u64, Malformed> {
    let bytes = bytes.try_into().map_err(|_| Malformed::Number)?;
    Ok(u64::from_be_bytes(bytes))
}

/// Reads the revision of a compaction.
fn floor(bytes: &[u8]) -> Result<Revision, Malformed> {
    let key = RevisionKey::decode(bytes).ok_or(Malformed::Revision)?;
    Ok(key.main)
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    let text = str::from_utf8(bytes).map_err(|_| Malformed::Text)?;
    Ok(text.to_owned())
}

fn member_id(key: &[u8]) -> Result<MemberId, Malformed> {
    let text = str::from_utf8(key).map_err(|_| Malformed::MemberId)?;
    let id = u64::from_str_radix(text, 16).map_err(|_| Malformed::MemberId)?;
    Ok(MemberId(id))
}

fn same(name: &[u8], key: &[u8]) -> Result<(), Malformed> {
    if name == key {
        Ok(())
    } else {
        Err(Malformed::Mismatch)
    }
}
