//! Locks and elections: who holds, who waits, who is next.
//!
//! A claim is a key `<name>/<lease in hexadecimal>` attached to that lease; the claims on a name,
//! in the order of their keys' create revisions, are its queue. Keys that other programs make so,
//! as etcd's clients do, are claims too. What else there is to say of a claim is in a row of its
//! own (`row.rs`), and what there is to say of a queue in its summary (`summary.rs`).
//!
//! Invariant: whether a claim holds is decided here alone, while a command is applied, and every
//! command leaves nobody waiting who could hold.

mod acquire;
mod check;
mod deadlock;
mod delay;
mod key;
mod promote;
mod read;
mod reconcile;
mod release;
mod row;
mod summary;
mod transfer;

use bytes::Bytes;

pub use self::{
    acquire::CLAIMS_PER_NAME_MAX,
    key::{claim_key, claimed_name},
    read::Queue,
    transfer::{MOVED_BYTES_MAX, MOVES_MAX},
};
pub(crate) use self::{
    check::check,
    key::{is_claim, may_be_claim},
    read::{behind, holders_under, holds, is_claimed, waiting_within},
    reconcile::EndReason,
};
use crate::{
    command::{ClaimCommand, ForceRelease, HandOver, Proclaim, Release, Transfer, Withdraw},
    engine::View,
    error::{Fault, ReadError},
    outcome::Reply,
    transition::Transition,
    types::{LeaseId, Revision},
};

impl Transition<'_> {
    /// Applies one operation on locks and elections.
    pub(crate) fn execute_claim(&mut self, command: &ClaimCommand) -> Result<Reply, ReadError> {
        Ok(match command {
            ClaimCommand::Acquire(acquire) => Reply::Acquire(self.acquire(acquire)?),
            ClaimCommand::Release(Release { name, token }) => {
                self.release(name, *token)?;
                Reply::Done
            }
            ClaimCommand::Withdraw(Withdraw { name, lease, call }) => {
                Reply::Withdraw(self.withdraw(name, *lease, *call)?)
            }
            ClaimCommand::Transfer(Transfer {
                name,
                token,
                to,
                principal,
            }) => Reply::Claim(Box::new(self.transfer(name, *token, *to, principal)?)),
            ClaimCommand::HandOver(HandOver { name, token, to }) => {
                Reply::Claim(Box::new(self.hand_over(name, *token, *to)?))
            }
            ClaimCommand::Proclaim(Proclaim { name, token, value }) => {
                self.proclaim(name, *token, value)?;
                Reply::Done
            }
            ClaimCommand::ForceRelease(ForceRelease { name, token, why }) => {
                Reply::ForceRelease(self.force_release(name, *token, why)?)
            }
        })
    }

    /// The claim of `key`, created in revision `token`, has waited long enough.
    pub(crate) fn wait_over(&mut self, token: Revision, key: &Bytes) -> Result<(), Fault> {
        let Some(claim) = row::find(self.overlay, token, key)? else {
            return Ok(());
        };
        if !claim.is_over(self.meta.now) {
            return Ok(());
        }
        let mut change = self.change_for(EndReason::WAIT_OVER);
        change.delete_key(claim.key)?;
        change.finish()
    }

    /// The lock delay of `name` is over.
    pub(crate) fn delay_over(&mut self, name: &Bytes) -> Result<(), Fault> {
        if !delay::end(self.overlay, name, self.meta.now)? {
            return Ok(());
        }
        self.reconcile_with(|reconciler| {
            reconciler.freed.insert(name.clone());
            Ok(())
        })
    }
}

/// The key of the claim that `lease` has on `name`.
pub(crate) fn key_of(view: &dyn View, name: &[u8], lease: LeaseId) -> Result<Option<Bytes>, Fault> {
    Ok(row::of_lease(view, name, lease)?.map(|(claim, _)| claim.key))
}
