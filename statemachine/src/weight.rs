//! Which commands are sure to be short work, however large the state is.
//!
//! For whoever applies: short work may be done where heartbeats wait for it, other work may not.
//! Not part of what is replicated. Invariant: what is called light looks at a number of rows that
//! the bytes of the command bound, give or take [`ATTACHED_MAX`] for each lease it ends.

use crate::{
    command::{ClaimCommand, Command, Txn, TxnOp},
    engine::View,
    error::Fault,
    lease,
    machine::StateMachine,
    range::{KeyRange, RangeEnd},
    registry,
    types::LeaseId,
    will,
};

/// Keys of a lease whose end is still short work.
const ATTACHED_MAX: usize = 64;

impl StateMachine {
    /// Whether applying `command` is short work.
    ///
    /// # Errors
    /// When the engine cannot read.
    pub fn is_light(&self, command: &Command) -> Result<bool, Fault> {
        let view: &dyn View = &**self.engine();
        Ok(match command {
            Command::Put(_)
            | Command::Compact(_)
            | Command::LeaseGrant(_)
            | Command::Alarm(_)
            | Command::MemberPublish(_)
            | Command::Registry(_)
            | Command::SessionOpen(_)
            | Command::Fence(_)
            | Command::WillSet(_)
            | Command::RaiseLevel(_) => true,
            Command::DeleteRange(delete) => is_single(&delete.range),
            Command::Txn(txn) => is_light(txn),
            // While a service is held, renewals look for suspects.
            Command::LeaseRenew(_) => !registry::is_any_held(view)?,
            Command::LeaseRevoke(id) => ends_lightly(view, *id)?,
            Command::LeaseExpire(expiries) => {
                let few = expiries.len() <= ATTACHED_MAX;
                few && expiries.iter().try_fold(true, |light, expiry| {
                    Ok::<_, Fault>(light && ends_lightly(view, expiry.id)?)
                })?
            }
            Command::Claim(command) => match command {
                ClaimCommand::Acquire(_)
                | ClaimCommand::Release { .. }
                | ClaimCommand::Withdraw { .. }
                | ClaimCommand::Proclaim { .. } => true,
                // These move or end whole queues.
                ClaimCommand::Transfer { .. }
                | ClaimCommand::HandOver { .. }
                | ClaimCommand::ForceRelease { .. } => false,
            },
            Command::Conditional(conditional) => self.is_light(&conditional.command)?,
            // As much as has fallen due.
            Command::Wake => false,
        })
    }
}

const fn is_single(range: &KeyRange) -> bool {
    matches!(range.end, RangeEnd::Single)
}

fn is_light(txn: &Txn) -> bool {
    let mut ops = txn.success.iter().chain(&txn.failure);
    txn.compare.iter().all(|compare| is_single(&compare.range))
        && ops.all(|op| match op {
            TxnOp::Range(query) => is_single(&query.range),
            TxnOp::Put(_) => true,
            TxnOp::DeleteRange(delete) => is_single(&delete.range),
            TxnOp::Txn(within) => is_light(within),
        })
}

/// Whether a lease has few keys and no will, of its own or of a claim.
fn ends_lightly(view: &dyn View, id: LeaseId) -> Result<bool, Fault> {
    Ok(lease::attached_within(view, id, ATTACHED_MAX)? && !will::exists(view, id)?)
}
