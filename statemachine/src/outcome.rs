//! The outcome of a command: the reply for the caller, the events for watchers.

use bytes::Bytes;

use crate::{
    encoding::{self, Decoder, Encoded, Encoder, Malformed},
    error::{Fault, Refusal},
    value::{AlarmKind, ClusterTime, KeyValue, LeaseId, MemberId, Mode, Revision, Ttl},
};

/// The outcome of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The answer, or the deterministic "no"; equal on every replica.
    pub reply: Result<Reply, Refusal>,
    /// The revision of the key space after the command.
    pub revision: Revision,
    /// Changes in the order they were made; empty when nothing changed. All are of `revision`,
    /// except after `LeaseExpire`: each lease that ended with keys made a revision of its own, and
    /// `kv.mod_revision` says which event is of which. The same goes for whatever runs a will,
    /// reorders a queue or replaces an instance. Also empty when they would be too many to be
    /// handed on, for a large delete for instance: `revision` then is one that was not told before,
    /// and history has them.
    pub events: Vec<Event>,
    /// What became of claims, in the order it happened; for callers that wait for one.
    pub signals: Vec<Signal>,
    /// What else was done.
    pub facts: Facts,
}

/// What a command did, for those on this node who follow it up. It is not stored: an outcome that
/// was remembered has none, for nothing is done when it is answered again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Keys that were put, and deleted; also where their events are left out.
    pub keys_put: u64,
    /// As above.
    pub keys_deleted: u64,
    /// Leases that were made, in order.
    pub leases_granted: Vec<LeaseId>,
    /// How many leases were revoked.
    pub leases_revoked: u64,
    /// The earliest of the timers that were set. Idempotency keys are not counted: they fall due so
    /// late that they are found by then.
    pub timer_set: Option<ClusterTime>,
}

/// First byte of a remembered outcome.
const OUTCOME_VERSION: u8 = 1;

/// Encodes the reply and the revision of an outcome, without its events and signals; `None` when
/// that takes more than `bytes_max` bytes.
#[must_use]
pub fn encode_outcome(outcome: &Outcome, bytes_max: usize) -> Option<Bytes> {
    let mut out = Encoder::up_to(bytes_max);
    out.byte(OUTCOME_VERSION);
    out.value(&outcome.revision);
    match &outcome.reply {
        Ok(reply) => {
            out.byte(0);
            out.value(reply);
        }
        Err(refusal) => {
            out.byte(1);
            out.value(refusal);
        }
    }
    out.finish_within()
}

/// Decodes an outcome. It has no events and no signals.
///
/// # Errors
/// [`Fault::Command`] when the bytes are not such an outcome.
pub fn decode_outcome(bytes: Bytes) -> Result<Outcome, Fault> {
    let outcome = Decoder::read_all(&bytes, |input| {
        input.version(OUTCOME_VERSION)?;
        let revision = input.value()?;
        let reply = match input.byte()? {
            0 => Ok(input.value()?),
            1 => Err(input.value()?),
            _ => return Err(Malformed::Form("neither done nor refused")),
        };
        Ok(Outcome {
            reply,
            revision,
            events: Vec::new(),
            signals: Vec::new(),
            facts: Facts::default(),
        })
    });
    Ok(outcome?)
}

impl Outcome {
    /// Drops the records and the values of claims in the answer, for where no caller waits for it.
    pub fn drop_records(&mut self) {
        let Ok(reply) = &mut self.reply else {
            return;
        };
        match reply {
            Reply::Put(previous) => *previous = None,
            Reply::DeleteRange(reply) => reply.previous = Vec::new(),
            Reply::Txn(reply) => reply.replies = Vec::new(),
            Reply::Acquire(reply) => {
                reply.blocker = None;
                // That there are claims, and whether they hold, is of use on every node.
                for claim in &mut reply.claims {
                    claim.value = Bytes::new();
                }
            }
            Reply::Claim(claim) => claim.value = Bytes::new(),
            Reply::ForceRelease(claims) => *claims = Vec::new(),
            Reply::Compact
            | Reply::LeaseGrant(..)
            | Reply::LeaseRevoke
            | Reply::LeaseRenew(_)
            | Reply::LeaseExpire(_)
            | Reply::Alarm(_)
            | Reply::MemberPublish
            | Reply::Done
            | Reply::Withdraw(_)
            | Reply::Register(..)
            | Reply::SessionOpen(..)
            | Reply::Wake(_) => {}
        }
    }
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
    /// To `ClaimCommand::Acquire`.
    Acquire(AcquireReply),
    /// To `ClaimCommand::Release` and `Proclaim`, to `SetReadiness`, `Drain` and `Deregister`, to
    /// `Fence` and to `WillSet`.
    Done,
    /// To `ClaimCommand::Withdraw`: whether there was such a claim.
    Withdraw(bool),
    /// To `ClaimCommand::Transfer` and `HandOver`: the claim that holds now.
    Claim(Box<ClaimState>),
    /// To `ClaimCommand::ForceRelease`: the claims that were ended.
    ForceRelease(Vec<ClaimState>),
    /// To `RegistryCommand::Register`: the incarnation, its lease, and that one's time to live.
    Register(Revision, LeaseId, Ttl),
    /// To `SessionOpen`: the session and its time to live.
    SessionOpen(LeaseId, Ttl),
    /// To `Wake`: how many things were done.
    Wake(u64),
}

encoding::choice! {
    Reply {
        1 = Put(previous),
        2 = DeleteRange(reply),
        3 = Txn(reply),
        4 = Compact,
        5 = LeaseGrant(id, ttl),
        6 = LeaseRevoke,
        7 = LeaseRenew(renewed),
        8 = LeaseExpire(ended),
        9 = Alarm(alarms),
        10 = MemberPublish,
        11 = Acquire(reply),
        12 = Done,
        13 = Withdraw(existed),
        14 = Claim(claim),
        15 = ForceRelease(claims),
        16 = Register(incarnation, lease, ttl),
        17 = SessionOpen(lease, ttl),
        18 = Wake(done),
    } "unknown reply"
}

/// The answer to an acquisition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcquireReply {
    /// The lease of the claims.
    pub lease: LeaseId,
    /// Its time to live.
    pub ttl: Ttl,
    /// The claims, by name: all hold or all wait. Empty when they could not be granted at once and
    /// were not to wait.
    pub claims: Vec<ClaimState>,
    /// When they do not hold: the first claim that stands in the way, if it is a claim that does,
    /// and not a lock delay.
    pub blocker: Option<ClaimState>,
}

encoding::record! { AcquireReply { lease, ttl, claims, blocker } }

/// A claim at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimState {
    /// The name of the lock or election.
    pub name: Bytes,
    /// The key that stands for the claim: name, `/`, lease in hexadecimal.
    pub key: Bytes,
    /// The lease that claims.
    pub lease: LeaseId,
    /// The create revision of the key.
    pub token: Revision,
    /// How much is claimed.
    pub mode: Mode,
    /// Whether it holds; otherwise it waits.
    pub held: bool,
    /// Since when it has held, or waited.
    pub since: ClusterTime,
    /// The name that the owner of the claim gave itself.
    pub principal: String,
    /// The value of the key.
    pub value: Bytes,
    /// How many claims are before it; 0 for one that holds.
    pub position: u32,
}

encoding::record! {
    ClaimState { name, key, lease, token, mode, held, since, principal, value, position }
}

/// What became of claims. The claims carry no values: thousands may be granted by one command, and
/// a caller that waits for one can read its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It began to hold.
    Granted(ClaimState),
    /// It is gone.
    Ended(ClaimState, EndCause),
    /// It waits on under another token, for the order of the queue was changed. The second is its
    /// token before.
    Requeued(ClaimState, Revision),
    /// An operator ended claims, for this reason; the signals of their ends follow.
    Forced(String),
}

/// Why a claim is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// Given back, handed over, withdrawn, or its key was deleted like any key.
    Released,
    /// Its lease ended.
    LeaseEnded,
    /// It waited as long as it was to.
    WaitOver,
    /// Somebody else ended it.
    Forced,
}

/// The answer to a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteReply {
    /// How many keys were deleted.
    pub deleted: i64,
    /// Their records, when asked for.
    pub previous: Vec<KeyValue>,
}

encoding::record! { DeleteReply { deleted, previous } }

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

encoding::record! { RangeReply { kvs, more, count } }

/// The answer to a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnReply {
    /// Which list was chosen.
    pub succeeded: bool,
    /// One per operation of that list.
    pub replies: Vec<TxnOpReply>,
}

impl Encoded for TxnReply {
    fn write(&self, out: &mut Encoder) {
        out.value(&self.succeeded);
        out.value(&self.replies);
    }

    fn read(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.nested(|input| {
            Ok(Self {
                succeeded: input.value()?,
                replies: input.value()?,
            })
        })
    }
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

encoding::choice! {
    TxnOpReply {
        1 = Range(revision, reply),
        2 = Put(revision, previous),
        3 = DeleteRange(revision, reply),
        4 = Txn(revision, reply),
    } "unknown operation"
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
