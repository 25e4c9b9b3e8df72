//! The rule of promotion: who is granted a name.
//!
//! First come, first served, and nobody is passed over: a claim is granted when it can hold beside
//! every claim that does and nothing before it waits. So those that hold are always the first of
//! their queue. A bundle is granted when this is so on all its names. A claim that has waited too
//! long is not granted but dropped, whether or not its timer has run.
//!
//! Invariant: the work is in proportion to what is granted or dropped, not to what waits or holds.

use bytes::Bytes;

use super::{
    delay,
    row::{self, Claim},
    settle::{Settling, wait_timer},
    tally::Tally,
};
use crate::{engine::View, error::Fault, outcome::Signal, timers, types::ClusterTime};

/// A claim whose key was deleted because it has waited too long.
pub(super) struct Dropped;

impl Settling<'_> {
    /// Grants `name` to whoever can hold it. Stops early, to be called again, when it dropped a
    /// claim.
    pub(super) fn promote(&mut self, name: &Bytes) -> Result<Option<Dropped>, Fault> {
        loop {
            let mut tally = Tally::of(self.overlay, name)?;
            let Some(first) = tally.first_waiting(self.overlay, name)? else {
                return Ok(None);
            };
            if tally.advance(first.token) {
                tally.store(self.overlay, name);
            }
            if first.is_over(self.meta.now) {
                self.delete_keys([first.key])?;
                self.unsettled.insert(name.clone());
                return Ok(Some(Dropped));
            }
            let Some(granted) = self.grantable(&tally, first)? else {
                return Ok(None);
            };
            for claim in granted {
                self.grant(claim)?;
            }
        }
    }

    /// The claims that are granted with `first`, the first that waits on its name; `None` when it
    /// cannot be.
    fn grantable(&mut self, tally: &Tally, first: Claim) -> Result<Option<Vec<Claim>>, Fault> {
        if !self.admits(tally, &first)? {
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
            // The lease may have left that queue and joined it again, with another claim.
            if member.bundle != first.bundle {
                continue;
            }
            let tally = Tally::of(self.overlay, name)?;
            let waits = tally.first_waiting(self.overlay, name)?;
            if waits.as_ref() != Some(&member) {
                if waits.is_some_and(|waits| waits.is_over(self.meta.now)) {
                    self.unsettled.insert(name.clone());
                }
                return Ok(None);
            }
            if !self.admits(&tally, &member)? {
                return Ok(None);
            }
            granted.push(member);
        }
        self.unsettled
            .extend(granted.iter().map(|member| member.name.clone()));
        granted.push(first);
        granted.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Some(granted))
    }

    /// Whether a claim before which nothing waits can hold.
    fn admits(&self, tally: &Tally, claim: &Claim) -> Result<bool, Fault> {
        // The program that made it takes itself for the holder, whatever we think.
        if claim.foreign && tally.held == 0 {
            return Ok(true);
        }
        Ok(tally.admits(claim.mode) && !delay::is_on(self.overlay, &claim.name, self.meta.now)?)
    }

    fn grant(&mut self, mut claim: Claim) -> Result<(), Fault> {
        if let Some(until) = claim.wait_until.take() {
            let timer = wait_timer(&claim);
            timers::clear(self.overlay, until, &timer);
        }
        claim.bundle.clear();
        claim.held = true;
        claim.since = self.meta.now;
        claim.store(self.overlay);
        let mut tally = Tally::of(self.overlay, &claim.name)?;
        tally.hold(claim.mode);
        tally.store(self.overlay, &claim.name);
        let granted = Signal::Granted(claim.signalled(0));
        self.effects.signals.push(granted);
        Ok(())
    }
}

/// The first claim on `name` that waits and may yet be granted.
pub(super) fn first_live_waiting(
    view: &dyn View,
    name: &[u8],
    tally: &Tally,
    now: ClusterTime,
) -> Result<Option<Claim>, Fault> {
    if tally.waiting() == 0 {
        return Ok(None);
    }
    let mut claims = row::Claims::from(view, name, tally.front)?;
    while let Some(claim) = claims.next()? {
        if !claim.held && !claim.is_over(now) {
            return Ok(Some(claim));
        }
    }
    Ok(None)
}
