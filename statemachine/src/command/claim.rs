//! Commands on locks and elections. Both are queues of claims on a name.

use bytes::Bytes;

use super::{Command, operation};
use crate::{
    encoding,
    outcome::{AcquireReply, ClaimState},
    value::{LeaseId, Mode, Revision, Ttl},
};

/// What an acquisition does when the claim cannot be granted at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Does not wait: no claim is made.
    Never,
    /// Waits for at most this long in cluster time.
    Within(Ttl),
    /// Waits for as long as its lease lives.
    #[default]
    Always,
}

encoding::choice! {
    Wait { 0 = Never, 1 = Within(ttl), 2 = Always } "unknown wait"
}

/// Claims one name, or several that are granted together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acquire {
    /// Sorted, without duplicates, none of them empty; at least one.
    pub names: Vec<Bytes>,
    /// The mode of the claim on each name.
    pub mode: Mode,
    /// The lease to claim with; never [`LeaseId::NONE`].
    pub lease: LeaseId,
    /// Grants the lease first, with this time to live; refused if the lease exists.
    pub grant: Option<Ttl>,
    /// Whether to wait when the claim cannot be granted at once.
    pub wait: Wait,
    /// How long the lock is not granted after this claim was lost while it held.
    pub lock_delay: Ttl,
    /// The name of the claim's owner, as the client states it.
    pub principal: String,
    /// The value of the claim's key.
    pub value: Bytes,
    /// If the lease already has a claim on the name, returns that claim, with its value replaced by
    /// this one's if they differ (as etcd's campaign does). If unset, a second claim is refused.
    pub rejoin: bool,
    /// A random number drawn by the node that received the call, by which it can withdraw the
    /// claims that the call made and no others; zero for a request with an id, which is never
    /// withdrawn like this.
    pub call: u64,
}

encoding::record! {
    Acquire { names, mode, lease, grant, wait, lock_delay, principal, value, rejoin, call }
}

operation! {
    Acquire: it => ClaimCommand::Acquire(it).into();
    AcquireReply: Acquire(reply) => reply
}

/// Releases the claim that holds under `token`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The name of the lock or election.
    pub name: Bytes,
    /// The token; refused unless it holds.
    pub token: Revision,
}

encoding::record! { Release { name, token } }

operation! { Release: it => ClaimCommand::Release(it).into(); (): Done => () }

/// Removes the claim of a lease from the queue, whether it waits or holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdraw {
    /// The name of the lock or election.
    pub name: Bytes,
    /// The lease of the claim.
    pub lease: LeaseId,
    /// Only if the claim belongs to this call; zero removes the claim of any call.
    pub call: u64,
}

encoding::record! { Withdraw { name, lease, call } }

// The reply says whether there was such a claim.
operation! {
    Withdraw: it => ClaimCommand::Withdraw(it).into();
    bool: Withdraw(existed) => existed
}

/// Transfers the claim that holds under `token` to another lease, with a greater token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The name of the lock or election.
    pub name: Bytes,
    /// The token; refused unless it holds.
    pub token: Revision,
    /// The lease of the new holder, which has no claim on the name yet.
    pub to: LeaseId,
    /// The principal of the new holder.
    pub principal: String,
}

encoding::record! { Transfer { name, token, to, principal } }

// The reply is the claim that holds now.
operation! {
    Transfer: it => ClaimCommand::Transfer(it).into();
    ClaimState: Claim(claim) => *claim
}

/// Ends the claim that holds under `token` in favour of a claim that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandOver {
    /// The name of the lock or election.
    pub name: Bytes,
    /// The token; refused unless it holds.
    pub token: Revision,
    /// The lease of the claim to grant.
    pub to: LeaseId,
}

encoding::record! { HandOver { name, token, to } }

// The reply is the claim that holds now.
operation! {
    HandOver: it => ClaimCommand::HandOver(it).into();
    ClaimState: Claim(claim) => *claim
}

/// Replaces the value of the claim that holds under `token`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proclaim {
    /// The name of the lock or election.
    pub name: Bytes,
    /// The token; refused unless it holds.
    pub token: Revision,
    /// The new value.
    pub value: Bytes,
}

encoding::record! { Proclaim { name, token, value } }

operation! { Proclaim: it => ClaimCommand::Proclaim(it).into(); (): Done => () }

/// Ends claims of other clients by force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForceRelease {
    /// The name of the lock or election.
    pub name: Bytes,
    /// The token of the claim; zero means every claim that holds.
    pub token: Revision,
    /// The reason, for the audit log of every member.
    pub why: String,
}

encoding::record! { ForceRelease { name, token, why } }

// The reply holds the claims that were ended.
operation! {
    ForceRelease: it => ClaimCommand::ForceRelease(it).into();
    Vec<ClaimState>: ForceRelease(claims) => claims
}

/// One operation on a queue of claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimCommand {
    /// Makes claims.
    Acquire(Acquire),
    /// Releases a claim.
    Release(Release),
    /// Removes a claim from the queue.
    Withdraw(Withdraw),
    /// Transfers a claim that holds to another lease.
    Transfer(Transfer),
    /// Ends a claim that holds in favour of a claim that waits.
    HandOver(HandOver),
    /// Replaces the value of a claim that holds.
    Proclaim(Proclaim),
    /// Ends claims of other clients.
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
