//! Commands on locks and elections. Both are queues of claims on a name.

use bytes::Bytes;

use super::{Command, operation};
use crate::{
    encoding,
    outcome::{AcquireReply, ClaimState},
    value::{LeaseId, Mode, Revision, Ttl},
};

/// What a claim does when it cannot be granted at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Nothing: no claim is made.
    Never,
    /// Waits until so much cluster time has passed.
    Within(Ttl),
    /// Waits for as long as its lease lives.
    #[default]
    Always,
}

encoding::choice! {
    Wait { 0 = Never, 1 = Within(ttl), 2 = Always } "unknown wait"
}

/// Claim one name, or several: all are granted together, or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acquire {
    /// Sorted, without repetition, none empty; never empty itself.
    pub names: Vec<Bytes>,
    /// How much of each.
    pub mode: Mode,
    /// The lease to claim with; never [`LeaseId::NONE`].
    pub lease: LeaseId,
    /// Make the lease first, with this time to live; refused when it exists.
    pub grant: Option<Ttl>,
    /// What to do when the claim cannot be granted at once.
    pub wait: Wait,
    /// For how long the lock is not granted after this claim was lost while it held.
    pub lock_delay: Ttl,
    /// The name that the owner of the claim gives itself.
    pub principal: String,
    /// The value of the claim's key.
    pub value: Bytes,
    /// A claim that the lease has on the name already is the answer, its value replaced by this
    /// one's if that differs (as etcd's campaign does). Otherwise a second claim is refused.
    pub rejoin: bool,
    /// Drawn at random by the node that took the call, to take back what the call made and nothing
    /// else; zero for a request with an id, which is never taken back so.
    pub call: u64,
}

encoding::record! {
    Acquire { names, mode, lease, grant, wait, lock_delay, principal, value, rejoin, call }
}

operation! {
    Acquire: it => ClaimCommand::Acquire(it).into();
    AcquireReply: Acquire(reply) => reply
}

/// Give back what `token` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The name.
    pub name: Bytes,
    /// Must hold.
    pub token: Revision,
}

encoding::record! { Release { name, token } }

operation! { Release: it => ClaimCommand::Release(it).into(); (): Done => () }

/// Take the claim of a lease out of the queue, whether it waits or holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdraw {
    /// The name.
    pub name: Bytes,
    /// Whose claim.
    pub lease: LeaseId,
    /// Only if that call may take it back; zero takes back the claim of any call.
    pub call: u64,
}

encoding::record! { Withdraw { name, lease, call } }

// Answered with whether there was such a claim.
operation! {
    Withdraw: it => ClaimCommand::Withdraw(it).into();
    bool: Withdraw(existed) => existed
}

/// Hand what `token` holds to another lease, under a greater token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The name.
    pub name: Bytes,
    /// Must hold.
    pub token: Revision,
    /// Who holds it then; has no claim on the name yet.
    pub to: LeaseId,
    /// What the new holder says of itself.
    pub principal: String,
}

encoding::record! { Transfer { name, token, to, principal } }

// Answered with the claim that holds now.
operation! {
    Transfer: it => ClaimCommand::Transfer(it).into();
    ClaimState: Claim(claim) => *claim
}

/// End what `token` holds in favour of a claim that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// The name.
    pub name: Bytes,
    /// Must hold.
    pub token: Revision,
    /// Whose claim is granted.
    pub to: LeaseId,
}

encoding::record! { HandOver { name, token, to } }

// Answered with the claim that holds now.
operation! {
    HandOver: it => ClaimCommand::HandOver(it).into();
    ClaimState: Claim(claim) => *claim
}

/// Replace the value of the claim that `token` holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proclaim {
    /// The name.
    pub name: Bytes,
    /// Must hold.
    pub token: Revision,
    /// The value.
    pub value: Bytes,
}

encoding::record! { Proclaim { name, token, value } }

operation! { Proclaim: it => ClaimCommand::Proclaim(it).into(); (): Done => () }

/// End claims that are not the caller's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForceRelease {
    /// The name.
    pub name: Bytes,
    /// Which claim; zero means every claim that holds.
    pub token: Revision,
    /// Why, for the audit log of every member.
    pub why: String,
}

encoding::record! { ForceRelease { name, token, why } }

// Answered with the claims that were ended.
operation! {
    ForceRelease: it => ClaimCommand::ForceRelease(it).into();
    Vec<ClaimState>: ForceRelease(claims) => claims
}

/// One operation on a queue of claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimCommand {
    /// Claim.
    Acquire(Acquire),
    /// Give back what a token holds.
    Release(Release),
    /// Take a claim out of the queue.
    Withdraw(Withdraw),
    /// Hand what a token holds to another lease.
    Transfer(Transfer),
    /// End what a token holds in favour of a claim that waits.
    HandOver(HandOver),
    /// Replace the value of the claim that a token holds.
    Proclaim(Proclaim),
    /// End claims that are not the caller's.
    ForceRelease(ForceRelease),
}

encoding::choice! {
    ClaimCommand {
        1 = Acquire(acquire),
        2 = Release(release),
        3 = Withdraw(withdraw),
        4 = Transfer(transfer),
        5 = HandOver(hand_over),
        6 = Proclaim(proclaim),
        7 = ForceRelease(release),
    } "unknown operation on a claim"
}

impl From<ClaimCommand> for Command {
    fn from(command: ClaimCommand) -> Self {
        Self::Claim(command)
    }
}
