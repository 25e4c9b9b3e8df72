//! Updates the rows of claims after a command created or deleted keys.
//!
//! Consequences are left in the transition: names on which other claims may be granted, and claims
//! whose wills run. Invariant: once every touched key is processed, a row exists exactly while its
//! key stands for a claim.

use bytes::Bytes;

use super::{
    row::{self, Claim},
    summary::QueueSummary,
};
use crate::{
    engine::{Table, View},
    error::Fault,
    keyspace::{is_claim, name_of},
    outcome::Signal,
    timers::{self, Timer},
    transition::{EndReason, EndedClaim, Touched, Transition},
    value::{KeyValue, Mode, Ttl},
};

impl Transition<'_> {
    /// Updates the row of a claim after a change of its key.
    pub(crate) fn follow_key(&mut self, touched: Touched) -> Result<(), Fault> {
        match touched {
            // A key attached to its lease after its creation is not a claim: its token would be
            // lower than tokens that held before.
            Touched::Put(kv) if kv.version == 1 => self.follow_created(&kv),
            Touched::Put(_) => Ok(()),
            Touched::Ended(kv, reason) if is_claim(&kv) => self.follow_ended(&kv, reason),
            Touched::Ended(..) => Ok(()),
        }
    }

    fn follow_created(&mut self, kv: &KeyValue) -> Result<(), Fault> {
        let is_known = row::find(self.overlay, kv.create_revision, &kv.key)?.is_some();
        if is_known || !stands(self.overlay, kv)? {
            return Ok(());
        }
        let claim = Claim {
            name: name_of(&kv.key),
            key: kv.key.clone(),
            lease: kv.lease,
            token: kv.create_revision,
            mode: Mode::Exclusive,
            held: false,
            foreign: true,
            since: self.meta.now,
            wait_until: None,
            lock_delay: Ttl(0),
            principal: String::new(),
            bundle: Vec::new(),
            call: 0,
        };
        self.join_queue(&claim)?;
        self.unreconciled.freed.insert(claim.name);
        Ok(())
    }

    fn follow_ended(&mut self, kv: &KeyValue, reason: EndReason) -> Result<(), Fault> {
        match row::find(self.overlay, kv.create_revision, &kv.key)? {
            Some(claim) if !stands(self.overlay, kv)? => self.end_claim(&claim, reason),
            _ => Ok(()),
        }
    }

    /// Appends a claim to its queue.
    pub(super) fn join_queue(&mut self, claim: &Claim) -> Result<(), Fault> {
        let mut summary = QueueSummary::of(self.overlay, &claim.name)?;
        summary.join(claim);
        summary.store(self.overlay, &claim.name);
        claim.store(self.overlay);
        if let Some(until) = claim.wait_until {
            self.set_timer(until, &wait_timer(claim));
        }
        Ok(())
    }

    /// Removes the row of a claim whose key is gone.
    pub(super) fn end_claim(&mut self, claim: &Claim, reason: EndReason) -> Result<(), Fault> {
        let mut summary = QueueSummary::of(self.overlay, &claim.name)?;
        self.overlay.delete(Table::Cluster, claim.row());
        summary.leave(claim);
        summary.find_head(self.overlay, claim)?;
        summary.store(self.overlay, &claim.name);
        if let Some(until) = claim.wait_until {
            timers::clear(self.overlay, until, &wait_timer(claim));
        }
        if claim.held && !reason.is_clean && claim.lock_delay > Ttl(0) {
            let end = self.meta.now.after(claim.lock_delay);
            self.start_delay(&claim.name, end)?;
        }
        self.unreconciled.ended.push(EndedClaim {
            lease: claim.lease,
            key: claim.key.clone(),
            held: claim.held,
            runs_will: !reason.is_clean,
        });
        let state = claim.signalled(0);
        self.effects
            .signals
            .push(Signal::Ended(state, reason.cause));
        self.unreconciled.freed.insert(claim.name.clone());
        // The remaining claims of a bundle wait for one claim less.
        self.unreconciled.freed.extend(claim.bundle.iter().cloned());
        Ok(())
    }

    /// Deletes the key of a claim that ends for `reason`, in a separate revision.
    pub(super) fn delete_claim_key(&mut self, key: Bytes, reason: EndReason) -> Result<(), Fault> {
        let mut change = self.change_for(reason);
        change.delete_key(key)?;
        change.finish();
        Ok(())
    }
}

/// Whether the key still stands for the claim that it was created as.
fn stands(view: &dyn View, kv: &KeyValue) -> Result<bool, Fault> {
    let present = row::record(view, &kv.key)?;
    Ok(present
        .is_some_and(|present| present.create_revision == kv.create_revision && is_claim(&present)))
}

/// Returns the timer of a claim whose wait is limited.
pub(super) fn wait_timer(claim: &Claim) -> Timer {
    Timer::WaitOver(claim.token, claim.key.clone())
}
