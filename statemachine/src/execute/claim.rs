//! Commands on locks and elections: each is a step of `claims/`, followed by its consequences.

use crate::{
    claims::Prepared,
    command::{
        Acquire, ClaimCommand, ForceRelease, HandOver, Proclaim, Release, Transfer, Withdraw,
    },
    error::ReadError,
    outcome::{AcquireReply, Reply},
    transition::Transition,
};

impl Transition<'_> {
    /// Applies one operation on locks and elections.
    pub(super) fn execute_claim(&mut self, command: &ClaimCommand) -> Result<Reply, ReadError> {
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
                let candidate = self.hand_over(name, *token, *to)?;
                self.reconcile()?;
                Reply::Claim(Box::new(self.handed_over(&candidate)?))
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

    /// Acquires every name, or joins their queues.
    fn acquire(&mut self, acquire: &Acquire) -> Result<AcquireReply, ReadError> {
        match self.prepare_acquire(acquire)? {
            Prepared::Answered(reply) => Ok(reply),
            Prepared::Joins(joining) => {
                // Drops claims that have waited too long, before the new ones are granted.
                self.reconcile()?;
                Ok(self.join_all(acquire, joining)?)
            }
        }
    }
}
