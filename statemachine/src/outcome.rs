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
    /// Changes in order; empty when nothing changed. All are of `revision`, except after
    /// `LeaseExpire`: each expired lease with keys made a separate revision, and `kv.mod_revision`
    /// is the revision of each event. The same applies to commands that run a will, reorder a queue
    /// or replace an instance. Also empty when there are too many events, for instance of a large
    /// delete: `revision` is then greater than before, and watchers read the changes from history.
    pub events: Vec<Event>,
    /// Changes of claims, in order; for callers that wait for one.
    pub signals: Vec<Signal>,
    /// Further effects.
    pub facts: Facts,
}

/// Effects for subsystems of this node to act on. Not stored: a remembered outcome has none,
/// because nothing is done when it is returned again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Number of keys put and deleted, even if their events are omitted.
    pub keys_put: u64,
    /// See `keys_put`.
    pub keys_deleted: u64,
    /// Leases granted, in order.
    pub leases_granted: Vec<LeaseId>,
    /// Number of leases revoked.
    pub leases_revoked: u64,
    /// The earliest timer that was set. Idempotency keys are not included: they fall due so late
    /// that they are noticed in time anyway.
    pub timer_set: Option<ClusterTime>,
    /// Whether users, roles or permissions changed, or authentication was enabled.
    pub auth_changed: bool,
}

/// Layout version, the first byte of a remembered outcome.
const OUTCOME_VERSION: u8 = 1;

/// Encodes the reply and the revision of an outcome, without its events and signals; `None` if that
/// takes more than `bytes_max` bytes.
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

/// Decodes an outcome, without events and signals.
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
    /// Drops the records and the values of claims from the reply, on nodes where no caller waits
    /// for it.
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
                // The claims, and whether they hold, are used on every node.
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

/// The reply to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To `Put`: the replaced record, if requested and present.
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
    /// To `LeaseRenew`: a time to live per lease, in request order; `None` where the lease does not
    /// exist.
    LeaseRenew(Vec<Option<Ttl>>),
    /// To `LeaseExpire`: the leases that expired.
    LeaseExpire(Vec<LeaseId>),
    /// To `Alarm`: the alarms that this command raised or cleared. An alarm that is raised again is
    /// included again.
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
    /// To `RegistryCommand::Register`: the incarnation, its lease, and the time to live of the
    /// lease.
    Register(Revision, LeaseId, Ttl),
    /// To `SessionOpen`: the session and its time to live.
    SessionOpen(LeaseId, Ttl),
    /// To `Wake`: the number of timers that ran.
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

/// The reply to an acquisition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcquireReply {
    /// The lease of the claims.
    pub lease: LeaseId,
    /// Its time to live.
    pub ttl: Ttl,
    /// The claims, by name: all hold or all wait. Empty if they could not be granted at once and
    /// were not to wait.
    pub claims: Vec<ClaimState>,
    /// If they do not hold: the first claim that blocks them, unless a lock delay does.
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
    /// The lease of the claim.
    pub lease: LeaseId,
    /// The create revision of the key.
    pub token: Revision,
    /// The mode of the claim.
    pub mode: Mode,
    /// Whether it holds; otherwise it waits.
    pub held: bool,
    /// When it began to hold, or to wait.
    pub since: ClusterTime,
    /// The name of the claim's owner, as the client stated it.
    pub principal: String,
    /// The value of the key.
    pub value: Bytes,
    /// How many claims are before it; 0 for one that holds.
    pub position: u32,
}

encoding::record! {
    ClaimState { name, key, lease, token, mode, held, since, principal, value, position }
}

/// A change of claims. The claims carry no values: one command may grant thousands, and a caller
/// that waits for one can read its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The claim began to hold.
    Granted(ClaimState),
    /// The claim ended.
    Ended(ClaimState, EndCause),
    /// The claim waits on with another token, because the queue was reordered. The second field is
    /// its previous token.
    Requeued(ClaimState, Revision),
    /// An operator ended claims, for this reason; the signals of their ends follow.
    Forced(String),
}

/// Why a claim ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndCause {
    /// Released, handed over, withdrawn, or its key was deleted like any other key.
    Released,
    /// Its lease ended.
    LeaseEnded,
    /// Its wait was limited and is over.
    WaitOver,
    /// Another client ended it by force.
    Forced,
}

/// The reply to a delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteReply {
    /// Number of deleted keys.
    pub deleted: i64,
    /// Their records, if requested.
    pub previous: Vec<KeyValue>,
}

encoding::record! { DeleteReply { deleted, previous } }

/// The reply to a read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeReply {
    /// The records.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut the result short.
    pub more: bool,
    /// Number of keys in the range, regardless of the limit and the filters.
    pub count: i64,
}

encoding::record! { RangeReply { kvs, more, count } }

/// The reply to a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnReply {
    /// Whether the comparisons held, so that `success` was chosen.
    pub succeeded: bool,
    /// One reply per operation of the chosen list.
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

/// The reply to one operation of a transaction, with the revision it saw or made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOpReply {
    /// To a read.
    Range(Revision, RangeReply),
    /// To a put.
    Put(Revision, Option<KeyValue>),
    /// To a delete.
    DeleteRange(Revision, DeleteReply),
    /// To a nested transaction. etcd's wire format omits this revision.
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
    /// The kind of change.
    pub kind: EventKind,
    /// After a put: the new record. After a delete: the key and `mod_revision` only.
    pub kv: KeyValue,
    /// The previous record, if the key existed.
    pub previous: Option<KeyValue>,
}

/// The kind of change of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A value was stored.
    Put,
    /// The key was deleted.
    Delete,
}
