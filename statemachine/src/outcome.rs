//! What a command came to: the reply for whoever asked, the events for whoever watches.

use crate::{
    command::AlarmKind,
    error::Refusal,
    types::{KeyValue, LeaseId, MemberId, Revision, Ttl},
};

/// What one command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The answer, or the deterministic "no"; equal on every replica.
    pub reply: Result<Reply, Refusal>,
    /// The revision of the key space after the command.
    pub revision: Revision,
    /// Changes in the order they were made; empty when nothing changed. All are of `revision`,
    /// except after `LeaseExpire`: each lease that ended with keys made a revision of its own, and
    /// `kv.mod_revision` says which event is of which.
    pub events: Vec<Event>,
}

/// The answer to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To `Put`: the replaced record, when it was asked for and there was one.
    Put(Option<KeyValue>),
    /// To `DeleteRange`.
    DeleteRange(DeleteReply),
    /// To `Txn`.
    Txn(TxnReply),
    /// To `Compact`.
    Compact,
    /// To `LeaseGrant`.
    LeaseGrant(LeaseId, Ttl),
    /// To `LeaseRevoke`.
    LeaseRevoke,
    /// To `LeaseRenew`: in the order asked; `None` where there is no such lease.
    LeaseRenew(Vec<Option<Ttl>>),
    /// To `LeaseExpire`: those that ended.
    LeaseExpire(Vec<LeaseId>),
    /// To `Alarm`: the alarms that this command raised or cleared. Raising an active alarm names
    /// it again.
    Alarm(Vec<(MemberId, AlarmKind)>),
    /// To `MemberPublish`.
    MemberPublish,
}

/// The answer to a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteReply {
    /// How many keys were deleted.
    pub deleted: i64,
    /// Their records, when asked for.
    pub previous: Vec<KeyValue>,
}

/// The answer to a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeReply {
    /// The records.
    pub kvs: Vec<KeyValue>,
    /// The limit cut the result short.
    pub more: bool,
    /// Keys in the range, whatever the limit and the filters.
    pub count: i64,
}

/// The answer to a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnReply {
    /// Which list was chosen.
    pub succeeded: bool,
    /// One per operation of that list.
    pub replies: Vec<TxnOpReply>,
}

/// The answer to one operation of a transaction, with the revision it saw or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOpReply {
    /// To a read.
    Range(Revision, RangeReply),
    /// To a put.
    Put(Revision, Option<KeyValue>),
    /// To a delete.
    DeleteRange(Revision, DeleteReply),
    /// To a transaction within. On etcd's wire this one's revision is left out.
    Txn(Revision, TxnReply),
}

/// One change to the key space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// After a put: the new record. After a delete: the key and `mod_revision` only.
    pub kv: KeyValue,
    /// The record before, if the key existed.
    pub previous: Option<KeyValue>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A value was stored.
    Put,
    /// The key was deleted.
    Delete,
}
