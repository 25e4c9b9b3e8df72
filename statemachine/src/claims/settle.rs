//! Settling: after keys were created or deleted by whatever means, rows follow them, whoever waits
//! is told, wills run, and what became free is granted.
//!
//! Invariant: it ends. A will runs once and makes no other; a claim is dropped or granted once; and
//! nothing else here creates or deletes a key.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    delay, key,
    row::{self, Claim},
    tally::Tally,
};
use crate::{
    command::Mode,
    effects::Effects,
    engine::Table,
    error::Fault,
    kv::Change,
    meta::Meta,
    outcome::{EndCause, Signal},
    overlay::{Overlay, Touched},
    timers::{self, Timer},
    types::{KeyValue, LeaseId, Ttl},
    will::{self, LostClaim},
};

/// Why claims are gone, and whether their holder meant it: a lock delay and a will are for when it
/// did not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loss {
    cause: EndCause,
    is_clean: bool,
}

impl Loss {
    pub(crate) const RELEASED: Self = Self::new(EndCause::Released);
    pub(crate) const WAIT_OVER: Self = Self::new(EndCause::WaitOver);
    pub(crate) const FORCED: Self = Self::new(EndCause::Forced);
    pub(crate) const EXPIRED: Self = Self::new(EndCause::LeaseEnded);
    /// The lease was revoked by whoever had it.
    pub(crate) const REVOKED: Self = Self {
        cause: EndCause::LeaseEnded,
        is_clean: true,
    };

    const fn new(cause: EndCause) -> Self {
        let is_clean = match cause {
            EndCause::Released | EndCause::WaitOver => true,
            EndCause::LeaseEnded | EndCause::Forced => false,
        };
        Self { cause, is_clean }
    }
}

/// Takes note of the claims whose keys were created, deleted or taken off their lease, which is for
/// `loss`, and grants what became free.
pub(crate) fn settle(
    overlay: &mut Overlay,
    meta: &mut Meta,
    loss: Loss,
    effects: &mut Effects,
) -> Result<(), Fault> {
    if overlay.touched.is_empty() {
        return Ok(());
    }
    Settling::new(overlay, meta, effects).run(loss)
}

/// A will that goes with a claim that is gone.
#[derive(Debug)]
struct ClaimWill {
    lease: LeaseId,
    key: Bytes,
    /// Whether the claim held.
    held: bool,
    /// Whether it runs; otherwise it is removed.
    runs: bool,
}

/// The settling of one command, or of one of several things that a command does.
#[derive(Debug)]
pub(super) struct Settling<'a> {
    pub(super) overlay: &'a mut Overlay,
    pub(super) meta: &'a mut Meta,
    pub(super) effects: &'a mut Effects,
    /// Names on which somebody may have to be granted.
    pub(super) unsettled: BTreeSet<Bytes>,
    wills: Vec<ClaimWill>,
}

impl<'a> Settling<'a> {
    pub(super) const fn new(
        overlay: &'a mut Overlay,
        meta: &'a mut Meta,
        effects: &'a mut Effects,
    ) -> Self {
        Self {
            overlay,
            meta,
            effects,
            unsettled: BTreeSet::new(),
            wills: Vec::new(),
        }
    }

    /// Settles until nothing is left to do. What is gone already is gone for `loss`.
    pub(super) fn run(mut self, mut loss: Loss) -> Result<(), Fault> {
        loop {
            for touched in std::mem::take(&mut self.overlay.touched) {
                self.note(touched, loss)?;
            }
            loss = Loss::RELEASED;
            self.run_wills()?;
            if !self.overlay.touched.is_empty() {
                continue;
            }
            let Some(name) = self.unsettled.pop_first() else {
                return Ok(());
            };
            if self.promote(&name)?.is_some() {
                // The key of an overdue claim was deleted: it is noted as any other.
                loss = Loss::WAIT_OVER;
            }
        }
    }

    fn note(&mut self, touched: Touched, loss: Loss) -> Result<(), Fault> {
        match touched {
            // A key that gets its lease later than its creation revision is no claim: its token
            // would lie below tokens that held before.
            Touched::Put(kv) if kv.version == 1 => self.note_created(&kv),
            Touched::Put(_) => Ok(()),
            Touched::Ended(kv) if key::is_claim(&kv) => self.note_ended(&kv, loss),
            Touched::Ended(_) => Ok(()),
        }
    }

    fn note_created(&mut self, kv: &KeyValue) -> Result<(), Fault> {
        let is_known = row::find(self.overlay, kv.create_revision, &kv.key)?.is_some();
        if is_known || !self.stands(kv)? {
            return Ok(());
        }
        let claim = Claim {
            name: key::name_of(&kv.key),
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
        self.join(&claim)?;
        self.unsettled.insert(claim.name);
        Ok(())
    }

    fn note_ended(&mut self, kv: &KeyValue, loss: Loss) -> Result<(), Fault> {
        match row::find(self.overlay, kv.create_revision, &kv.key)? {
            Some(claim) if !self.stands(kv)? => self.end(&claim, loss),
            _ => Ok(()),
        }
    }

    /// Whether the key of a claim is still, or again, what it was when it was created.
    fn stands(&self, kv: &KeyValue) -> Result<bool, Fault> {
        let present = row::record(self.overlay, &kv.key)?;
        Ok(present.is_some_and(|present| {
            present.create_revision == kv.create_revision && key::is_claim(&present)
        }))
    }

    /// Adds a claim at the end of its queue.
    pub(super) fn join(&mut self, claim: &Claim) -> Result<(), Fault> {
        let mut tally = Tally::of(self.overlay, &claim.name)?;
        tally.join(claim);
        tally.store(self.overlay, &claim.name);
        claim.store(self.overlay);
        if let Some(until) = claim.wait_until {
            timers::set(self.overlay, until, &wait_timer(claim));
        }
        Ok(())
    }

    /// Removes the row of a claim whose key is gone.
    pub(super) fn end(&mut self, claim: &Claim, loss: Loss) -> Result<(), Fault> {
        let mut tally = Tally::of(self.overlay, &claim.name)?;
        self.overlay.delete(Table::Cluster, claim.row());
        tally.leave(claim);
        tally.find_head(self.overlay, claim)?;
        tally.store(self.overlay, &claim.name);
        if let Some(until) = claim.wait_until {
            timers::clear(self.overlay, until, &wait_timer(claim));
        }
        if claim.held && !loss.is_clean && claim.lock_delay > Ttl(0) {
            let end = self.meta.now.after(claim.lock_delay);
            delay::start(self.overlay, &claim.name, end)?;
        }
        self.wills.push(ClaimWill {
            lease: claim.lease,
            key: claim.key.clone(),
            held: claim.held,
            runs: !loss.is_clean,
        });
        let state = claim.signalled(0);
        self.effects.signals.push(Signal::Ended(state, loss.cause));
        self.unsettled.insert(claim.name.clone());
        // What is left of a bundle waits for less than before.
        self.unsettled.extend(claim.bundle.iter().cloned());
        Ok(())
    }

    fn run_wills(&mut self) -> Result<(), Fault> {
        for will in std::mem::take(&mut self.wills) {
            let (lease, key, held) = (will.lease, &will.key, will.held);
            if will.runs {
                let claim = Some(LostClaim { key, held });
                will::run(self.overlay, self.meta, lease, claim, self.effects)?;
            } else {
                will::remove(self.overlay, self.meta, lease, Some(key))?;
            }
        }
        Ok(())
    }

    /// Deletes keys, in one revision.
    pub(super) fn delete_keys(
        &mut self,
        keys: impl IntoIterator<Item = Bytes>,
    ) -> Result<(), Fault> {
        let mut change = Change::new(self.overlay, self.meta);
        for key in keys {
            change.delete_key(key)?;
        }
        self.effects.events.append(&mut change.finish());
        Ok(())
    }
}

impl Touched {
    /// A key is gone, or taken off its lease. Its value is not kept: a command may end ten thousand
    /// claims, and no one is told the values.
    pub(crate) fn ended(kv: &KeyValue) -> Self {
        Self::Ended(KeyValue {
            key: kv.key.clone(),
            value: Bytes::new(),
            ..*kv
        })
    }
}

/// The timer of a claim that waits for a limited time.
pub(super) fn wait_timer(claim: &Claim) -> Timer {
    Timer::WaitOver(claim.token, claim.key.clone())
}
