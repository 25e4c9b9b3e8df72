//! Reconciles claims with the keys that a command created or deleted: rows follow the keys, signals
//! are emitted, wills run, and the next claims are granted.
//!
//! Claims and wills depend on each other: a lost claim runs a will, and a will may delete the key
//! of a claim. Neither calls the other. Each records its effects in the transition's
//! `Unreconciled`, and the loop here calls both until nothing is left.
//!
//! Invariant: it terminates. A will runs once and sets no other; a claim is dropped or granted at
//! most once; and nothing else here creates or deletes a key.

use crate::{
    error::Fault,
    transition::{EndedClaim, Transition},
    will::LostClaim,
};

impl Transition<'_> {
    /// Repeats until nothing is left to reconcile. `execute` calls it after every command; a
    /// command of several changes also calls it between them.
    pub(crate) fn reconcile(&mut self) -> Result<(), Fault> {
        loop {
            for touched in std::mem::take(&mut self.unreconciled.touched) {
                self.follow_key(touched)?;
            }
            for ended in std::mem::take(&mut self.unreconciled.ended) {
                self.finish_will(&ended)?;
            }
            // A will may have touched keys of claims: they are processed before the next grant.
            if !self.unreconciled.touched.is_empty() {
                continue;
            }
            let Some(name) = self.unreconciled.freed.pop_first() else {
                debug_assert!(self.unreconciled.is_empty(), "nothing is left");
                return Ok(());
            };
            self.promote(&name)?;
        }
    }

    /// Runs or removes the will of a claim that has ended.
    fn finish_will(&mut self, ended: &EndedClaim) -> Result<(), Fault> {
        let (key, held) = (&ended.key, ended.held);
        if ended.runs_will {
            self.run_will(ended.lease, Some(LostClaim { key, held }))
        } else {
            self.remove_will(ended.lease, key)
        }
    }
}
