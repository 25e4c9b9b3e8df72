//! Locks and elections: the holder, the waiters, and the order of grants.
//!
//! A claim is a key `<name>/<lease in hexadecimal>` attached to that lease. The claims on a name,
//! in the order of their keys' create revisions, are its queue. Such keys are claims even if other
//! programs create them, as etcd's clients do. Further properties of a claim are in its row
//! (`row.rs`), those of a queue in its summary (`summary.rs`).
//!
//! The steps are here. Each leaves its consequences in the transition's `Unreconciled`;
//! `execute/reconcile.rs` calls further steps until none is left.
//!
//! Invariant: whether a claim holds is decided only here, while a command is applied; and once a
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
    /// Ends the wait of the claim of `key`, created in revision `token`.
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

    /// Ends the lock delay of `name`.
    pub(crate) fn delay_over(&mut self, name: &Bytes) -> Result<(), Fault> {
        if delay::end(self.overlay, name, self.meta.now)? {
            self.unreconciled.freed.insert(name.clone());
        }
        Ok(())
    }
}

/// Returns the key of the claim that `lease` has on `name`.
pub(crate) fn key_of(view: &dyn View, name: &[u8], lease: LeaseId) -> Result<Option<Bytes>, Fault> {
    Ok(row::of_lease(view, name, lease)?.map(|(claim, _)| claim.key))
}
