//! Promotion: which waiting claims are granted a name.
//!
//! The queue is first in, first out, and no claim is passed over: a claim is granted when it can
//! hold together with all holders and no claim before it waits. So the holders are always at the
//! front of the queue. A bundle is granted when this is so on all its names. A claim that has
//! waited too long is dropped instead of granted, whether or not its timer has run.
//!
//! Invariant: the work is proportional to the claims granted or dropped, not to those that wait or
//! hold.

use bytes::Bytes;

use super::{
    delay,
    follow::wait_timer,
    row::{self, Claim},
    summary::QueueSummary,
};
use crate::{
    engine::View,
    error::Fault,
    outcome::Signal,
    timers,
    transition::{EndReason, Transition},
    value::ClusterTime,
};

impl Transition<'_> {
    /// Grants `name` to every claim that can hold it. Stops early, to be called again, when it
    /// dropped a claim.
    pub(crate) fn promote(&mut self, name: &Bytes) -> Result<(), Fault> {
        loop {
            let mut summary = QueueSummary::of(self.overlay, name)?;
            let Some(first) = summary.first_waiting(self.overlay, name)? else {
                return Ok(());
            };
            if summary.advance(first.token) {
                summary.store(self.overlay, name);
            }
            if first.is_over(self.meta.now) {
                self.delete_claim_key(first.key, EndReason::WAIT_OVER)?;
                self.unreconciled.freed.insert(name.clone());
                return Ok(());
            }
            let Some(granted) = self.grantable(&summary, first)? else {
                return Ok(());
            };
            for claim in granted {
                self.grant_claim(claim)?;
            }
        }
    }

    /// Returns the claims that are granted together with `first`, the first waiting claim of its
    /// name; `None` when it cannot be granted.
    fn grantable(
        &mut self,
        summary: &QueueSummary,
        first: Claim,
    ) -> Result<Option<Vec<Claim>>, Fault> {
        if !self.admits(summary, &first)? {
            return Ok(None);
        }
        let mut granted = Vec::new();
        for name in &first.bundle {
            if *name == first.name {
                continue;
            }
            let Some((member, _)) = row::of_lease(self.overlay, name, first.lease)? else {
                continue;
            };
            // The lease may have left that queue and joined it again with another claim.
            if member.bundle != first.bundle {
                continue;
            }
            let summary = QueueSummary::of(self.overlay, name)?;
            let waits = summary.first_waiting(self.overlay, name)?;
            if waits.as_ref() != Some(&member) {
                if waits.is_some_and(|waits| waits.is_over(self.meta.now)) {
                    self.unreconciled.freed.insert(name.clone());
                }
                return Ok(None);
            }
            if !self.admits(&summary, &member)? {
                return Ok(None);
            }
            granted.push(member);
        }
        self.unreconciled
            .freed
            .extend(granted.iter().map(|member| member.name.clone()));
        granted.push(first);
        granted.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(granted))
    }

    /// Whether a claim can hold, if no claim waits before it.
    fn admits(&self, summary: &QueueSummary, claim: &Claim) -> Result<bool, Fault> {
        // The program that made it regards itself as the holder, whatever is decided here.
        if claim.foreign && summary.held == 0 {
            return Ok(true);
        }
        Ok(summary.admits(claim.mode) && !delay::is_on(self.overlay, &claim.name, self.meta.now)?)
    }

    fn grant_claim(&mut self, mut claim: Claim) -> Result<(), Fault> {
        debug_assert!(!claim.held, "only a claim that waits is granted");
        debug_assert!(
            !claim.is_over(self.meta.now),
            "and none that waited too long"
        );
        if let Some(until) = claim.wait_until.take() {
            let timer = wait_timer(&claim);
            timers::clear(self.overlay, until, &timer);
        }
        claim.bundle.clear();
        claim.held = true;
        claim.since = self.meta.now;
        claim.store(self.overlay);
        let mut summary = QueueSummary::of(self.overlay, &claim.name)?;
        summary.hold(claim.mode);
        summary.store(self.overlay, &claim.name);
        let granted = Signal::Granted(claim.signalled(0));
        self.effects.signals.push(granted);
        Ok(())
    }
}

/// Returns the first claim on `name` that waits and whose wait is not over.
pub(super) fn first_live_waiting(
    view: &dyn View,
    name: &[u8],
    summary: &QueueSummary,
    now: ClusterTime,
) -> Result<Option<Claim>, Fault> {
    if summary.waiting() == 0 {
        return Ok(None);
    }
    let mut claims = row::Claims::from(view, name, summary.front)?;
    while let Some(claim) = claims.next()? {
        if !claim.held && !claim.is_over(now) {
            return Ok(Some(claim));
        }
    }
    Ok(None)
}
