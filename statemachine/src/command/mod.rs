//! Commands: valid requests, one variant per replicated operation.
//!
//! Whatever can be refused by looking at the request alone is refused at the border, before a
//! command exists. What depends on state is refused in `apply`, as a [`crate::Refusal`].
//! A released variant never changes meaning.

mod claim;
mod condition;
mod registry;

use bytes::Bytes;

pub use self::{
    claim::{Acquire, ClaimCommand, Mode, Wait},
    condition::{
        Conditional, FenceCommand, FencePolicy, Guard, RequestId, SessionOpen, Will, WillSet,
    },
    registry::{InstanceName, Readiness, Register, RegistryCommand},
};
use crate::{
    feature::FeatureLevel,
    range::KeyRange,
    types::{LeaseId, MemberId, Revision, Ttl},
};

/// One replicated operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Store a value under a key.
    Put(Put),
    /// Delete the keys of a range, in one revision.
    DeleteRange(DeleteRange),
    /// Compare, then one of two lists of operations, in one revision.
    Txn(Txn),
    /// Move the floor below which history cannot be read.
    Compact(Revision),
    /// Create a lease.
    LeaseGrant(LeaseGrant),
    /// End a lease and delete its keys, in one revision.
    LeaseRevoke(LeaseId),
    /// Renew many leases: those that exist get their full TTL from the entry's time.
    LeaseRenew(Vec<LeaseId>),
    /// End those of these leases whose time has come and whose generation has not moved.
    LeaseExpire(Vec<LeaseExpiry>),
    /// Raise or clear an alarm.
    Alarm(AlarmChange),
    /// Make known what a member says of itself.
    MemberPublish(MemberAttributes),
    /// Execute a command only if guards hold, and only once.
    Conditional(Box<Conditional>),
    /// Operate on a lock or an election.
    Claim(ClaimCommand),
    /// Operate on a registration.
    Registry(RegistryCommand),
    /// Open a session.
    SessionOpen(SessionOpen),
    /// Change the fence policies.
    Fence(FenceCommand),
    /// Set or remove a last will.
    WillSet(WillSet),
    /// Do what has fallen due by the entry's time: claims whose wait is over, lock delays and
    /// drains that end, idempotency keys to forget.
    Wake,
    /// Put the rules up to this feature level in force.
    RaiseLevel(FeatureLevel),
}

/// Store a value under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Put {
    /// Never empty.
    pub key: Bytes,
    /// Empty when `ignore_value` is set.
    pub value: Bytes,
    /// Attach the key to this lease; [`LeaseId::NONE`] detaches it from any.
    pub lease: LeaseId,
    /// Reply with the record that was replaced.
    pub want_previous: bool,
    /// Keep the present value; refused when the key does not exist.
    pub ignore_value: bool,
    /// Keep the present lease; refused when the key does not exist.
    pub ignore_lease: bool,
}

/// Delete the keys of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRange {
    /// Which keys.
    pub range: KeyRange,
    /// Reply with the records that were deleted.
    pub want_previous: bool,
}

/// Read the keys of a range. In a command only inside a [`Txn`]; otherwise a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeQuery {
    /// Which keys.
    pub range: KeyRange,
    /// Most records to return; zero or less means all.
    pub limit: i64,
    /// Read as of this revision; zero or less means the latest.
    pub revision: Revision,
    /// Order of the result.
    pub sort_order: SortOrder,
    /// What to order by.
    pub sort_target: SortTarget,
    /// Leave the values out.
    pub keys_only: bool,
    /// Return only the count.
    pub count_only: bool,
    /// Inclusive bounds on revisions; zero means unbounded.
    pub min_mod_revision: Revision,
    /// See `min_mod_revision`.
    pub max_mod_revision: Revision,
    /// See `min_mod_revision`.
    pub min_create_revision: Revision,
    /// See `min_mod_revision`.
    pub max_create_revision: Revision,
}

impl RangeQuery {
    /// Everything in `range`, at the latest revision, by key.
    #[must_use]
    pub const fn latest(range: KeyRange) -> Self {
        Self {
            range,
            limit: 0,
            revision: Revision(0),
            sort_order: SortOrder::None,
            sort_target: SortTarget::Key,
            keys_only: false,
            count_only: false,
            min_mod_revision: Revision(0),
            max_mod_revision: Revision(0),
            min_create_revision: Revision(0),
            max_create_revision: Revision(0),
        }
    }
}

/// Direction of a sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// By key, unless the target is another field: then as `Ascend`.
    #[default]
    None,
    /// Lowest first.
    Ascend,
    /// Highest first.
    Descend,
}

/// The field a sort looks at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The create revision.
    Create,
    /// The mod revision.
    Mod,
    /// The value.
    Value,
}

/// Compare, then one of two lists of operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold for `success` to be chosen.
    pub compare: Vec<Compare>,
    /// Operations when every comparison holds.
    pub success: Vec<TxnOp>,
    /// Operations otherwise.
    pub failure: Vec<TxnOp>,
}

impl Txn {
    /// Whether any list, of this transaction or of one within, stores a value.
    #[must_use]
    pub fn contains_put(&self) -> bool {
        self.success.iter().chain(&self.failure).any(|op| match op {
            TxnOp::Put(_) => true,
            TxnOp::Txn(within) => within.contains_put(),
            TxnOp::Range(_) | TxnOp::DeleteRange(_) => false,
        })
    }

    /// Whether both lists only read. A transaction within counts as a write, as in etcd.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            TxnOp::Range(_) => true,
            TxnOp::Put(_) | TxnOp::DeleteRange(_) | TxnOp::Txn(_) => false,
        })
    }
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnOp {
    /// Read.
    Range(RangeQuery),
    /// Write.
    Put(Put),
    /// Delete.
    DeleteRange(DeleteRange),
    /// A transaction within; its comparisons are evaluated with all others, on the state before.
    Txn(Txn),
}

/// One comparison of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// The key or range. For a range, every key in it must satisfy the comparison.
    pub range: KeyRange,
    /// How the present value must relate to the operand.
    pub relation: Relation,
    /// What to look at, and what to compare it with.
    pub operand: Operand,
}

/// How a present value must relate to the operand of a [`Compare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `present == operand`
    Equal,
    /// `present > operand`
    Greater,
    /// `present < operand`
    Less,
    /// `present != operand`
    NotEqual,
}

/// What a [`Compare`] looks at, and what it compares it with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// The version of the key; zero when it does not exist.
    Version(i64),
    /// The create revision; zero when the key does not exist.
    Create(Revision),
    /// The mod revision; zero when the key does not exist.
    Mod(Revision),
    /// The value. Never satisfied by a key that does not exist.
    Value(Bytes),
    /// The lease; zero when there is none, or no key.
    Lease(LeaseId),
}

/// Create a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseGrant {
    /// Chosen by the client or by the node that took the request; never [`LeaseId::NONE`].
    pub id: LeaseId,
    /// Already raised to the minimum.
    pub ttl: Ttl,
}

/// A lease to end, as the leader saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseExpiry {
    /// The lease.
    pub id: LeaseId,
    /// Its renewal generation. A renewal that got in between moves it, and wins.
    pub generation: u64,
    /// The term of the leader that saw it. Under the next leader leases first get time to renew.
    pub term: u64,
}

/// Kinds of alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// The space quota of a member is exhausted.
    NoSpace,
    /// The data of a member differs from the others'.
    Corrupt,
}

/// Raise or clear an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlarmChange {
    /// Whose alarm. When clearing, zero means every member's.
    pub member: MemberId,
    /// Which kind. When clearing, `None` means every kind; when raising it is always given.
    pub kind: Option<AlarmKind>,
    /// Raise or clear.
    pub active: bool,
}

/// What a member says of itself once it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberAttributes {
    /// The member.
    pub id: MemberId,
    /// Its human-readable name.
    pub name: String,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}
