//! Locks and elections: who holds, who waits, who is next.
//!
//! A claim is a key `<name>/<lease in hexadecimal>` attached to that lease; the claims on a name,
//! in the order of their keys' create revisions, are its queue. Keys that other programs make so,
//! as etcd's clients do, are claims too. What else there is to say of a claim is in a row of its
//! own (`row.rs`), and what there is to say of a queue in its summary (`summary.rs`).
//!
//! Here are the steps. What they leave to do, in the transition's `Unreconciled`, is done by
//! `execute/reconcile.rs`, which calls the steps again until nothing is left.
//!
//! Invariant: whether a claim holds is decided here alone, while a command is applied; and once a
//! command is reconciled, no claim waits that could hold.

mod acquire;
mod check;
mod deadlock;
mod delay;
mod follow;
mod promote;
mod read;
mod release;
mod row;
mod summary;
mod transfer;

use bytes::Bytes;

pub use self::{
    acquire::CLAIMS_PER_NAME_MAX,
    read::Queue,
    transfer::{MOVED_BYTES_MAX, MOVES_MAX},
};
pub(crate) use self::{
    acquire::Prepared,
    check::check,
    read::{behind, holders_under, holds, is_claimed, waiting_within},
};
use crate::{
    engine::View,
    error::Fault,
    transition::{EndReason, Transition},
    value::{LeaseId, Revision},
};

impl Transition<'_> {
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
        change.finish();
        Ok(())
    }

    /// The lock delay of `name` is over.
    pub(crate) fn delay_over(&mut self, name: &Bytes) -> Result<(), Fault> {
        if delay::end(self.overlay, name, self.meta.now)? {
            self.unreconciled.freed.insert(name.clone());
        }
        Ok(())
    }
}

/// The key of the claim that `lease` has on `name`.
pub(crate) fn key_of(view: &dyn View, name: &[u8], lease: LeaseId) -> Result<Option<Bytes>, Fault> {
    Ok(row::of_lease(view, name, lease)?.map(|(claim, _)| claim.key))
}
