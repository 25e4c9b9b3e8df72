//! Reconciles claims with the keys that a command created or deleted: rows follow the keys, signals
//! are emitted, wills run, and the next claims are granted.
//!
//! Invariant: it terminates. A will runs once and sets no other; a claim is dropped or granted at
//! most once; and nothing else here creates or deletes a key.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    key,
    row::{self, Claim},
    summary::QueueSummary,
};
use crate::{
    command::Mode,
    engine::Table,
    error::Fault,
    outcome::{EndCause, Signal},
    timers::{self, Timer},
    transition::{Touched, Transition},
    types::{KeyValue, LeaseId, Ttl},
    will::LostClaim,
};

/// Why claims have ended, and whether their holder meant it: a lock delay and a will are for when
/// it did not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndReason {
    cause: EndCause,
    is_clean: bool,
}

impl EndReason {
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

impl Transition<'_> {
    /// Reconciles claims with the keys touched since this was last done. Every change ends with it;
    /// of those made in its course, it sees to the keys in the same course.
    pub(crate) fn reconcile(&mut self) -> Result<(), Fault> {
        if self.is_reconciling || !self.has_touched() {
            return Ok(());
        }
        self.reconcile_with(|_| Ok(()))
    }

    /// Changes claims and their keys together, and reconciles what else follows from that.
    pub(super) fn reconcile_with<T>(
        &mut self,
        work: impl FnOnce(&mut Reconciler<'_, '_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.is_reconciling = true;
        let mut reconciler = Reconciler {
            transition: self,
            freed: BTreeSet::new(),
            wills: Vec::new(),
        };
        let done = work(&mut reconciler)?;
        reconciler.run()?;
        self.is_reconciling = false;
        Ok(done)
    }
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

/// Claims that are being reconciled.
#[derive(Debug)]
pub(super) struct Reconciler<'t, 'a> {
    pub(super) transition: &'t mut Transition<'a>,
    /// Names on which somebody may have to be granted.
    pub(super) freed: BTreeSet<Bytes>,
    wills: Vec<ClaimWill>,
}

impl Reconciler<'_, '_> {
    /// Goes on until nothing is left to do.
    fn run(&mut self) -> Result<(), Fault> {
        loop {
            for touched in self.transition.take_touched() {
                self.note(touched)?;
            }
            self.run_wills()?;
            if self.transition.has_touched() {
                continue;
            }
            let Some(name) = self.freed.pop_first() else {
                return Ok(());
            };
            self.promote(&name)?;
        }
    }

    fn note(&mut self, touched: Touched) -> Result<(), Fault> {
        match touched {
            // A key that gets its lease later than its creation revision is no claim: its token
            // would lie below tokens that held before.
            Touched::Put(kv) if kv.version == 1 => self.note_created(&kv),
            Touched::Put(_) => Ok(()),
            Touched::Ended(kv, reason) if key::is_claim(&kv) => self.note_ended(&kv, reason),
            Touched::Ended(..) => Ok(()),
        }
    }

    fn note_created(&mut self, kv: &KeyValue) -> Result<(), Fault> {
        let is_known = row::find(self.transition.overlay, kv.create_revision, &kv.key)?.is_some();
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
            since: self.transition.meta.now,
            wait_until: None,
            lock_delay: Ttl(0),
            principal: String::new(),
            bundle: Vec::new(),
            call: 0,
        };
        self.join(&claim)?;
        self.freed.insert(claim.name);
        Ok(())
    }

    fn note_ended(&mut self, kv: &KeyValue, reason: EndReason) -> Result<(), Fault> {
        match row::find(self.transition.overlay, kv.create_revision, &kv.key)? {
            Some(claim) if !self.stands(kv)? => self.end(&claim, reason),
            _ => Ok(()),
        }
    }

    /// Whether the key of a claim is still, or again, what it was when it was created.
    fn stands(&self, kv: &KeyValue) -> Result<bool, Fault> {
        let present = row::record(self.transition.overlay, &kv.key)?;
        Ok(present.is_some_and(|present| {
            present.create_revision == kv.create_revision && key::is_claim(&present)
        }))
    }

    /// Adds a claim at the end of its queue.
    pub(super) fn join(&mut self, claim: &Claim) -> Result<(), Fault> {
        let mut summary = QueueSummary::of(self.transition.overlay, &claim.name)?;
        summary.join(claim);
        summary.store(self.transition.overlay, &claim.name);
        claim.store(self.transition.overlay);
        if let Some(until) = claim.wait_until {
            self.transition.set_timer(until, &wait_timer(claim));
        }
        Ok(())
    }

    /// Removes the row of a claim whose key is gone.
    pub(super) fn end(&mut self, claim: &Claim, reason: EndReason) -> Result<(), Fault> {
        let mut summary = QueueSummary::of(self.transition.overlay, &claim.name)?;
        self.transition.overlay.delete(Table::Cluster, claim.row());
        summary.leave(claim);
        summary.find_head(self.transition.overlay, claim)?;
        summary.store(self.transition.overlay, &claim.name);
        if let Some(until) = claim.wait_until {
            timers::clear(self.transition.overlay, until, &wait_timer(claim));
        }
        if claim.held && !reason.is_clean && claim.lock_delay > Ttl(0) {
            let end = self.transition.meta.now.after(claim.lock_delay);
            self.transition.start_delay(&claim.name, end)?;
        }
        self.wills.push(ClaimWill {
            lease: claim.lease,
            key: claim.key.clone(),
            held: claim.held,
            runs: !reason.is_clean,
        });
        let state = claim.signalled(0);
        self.transition
            .effects
            .signals
            .push(Signal::Ended(state, reason.cause));
        self.freed.insert(claim.name.clone());
        // What is left of a bundle waits for less than before.
        self.freed.extend(claim.bundle.iter().cloned());
        Ok(())
    }

    fn run_wills(&mut self) -> Result<(), Fault> {
        for will in std::mem::take(&mut self.wills) {
            let (lease, key, held) = (will.lease, &will.key, will.held);
            if will.runs {
                let claim = Some(LostClaim { key, held });
                self.transition.run_will(lease, claim)?;
            } else {
                self.transition.remove_will(lease, key)?;
            }
        }
        Ok(())
    }

    /// Deletes the key of a claim that ends for `reason`, in a revision of its own.
    pub(super) fn delete_key(&mut self, key: Bytes, reason: EndReason) -> Result<(), Fault> {
        let mut change = self.transition.change_for(reason);
        change.delete_key(key)?;
        change.finish()
    }
}

impl Touched {
    /// A key is gone, or taken off its lease. Its value is not kept: a command may end ten thousand
    /// claims, and no one is told the values.
    pub(crate) fn ended(kv: &KeyValue, reason: EndReason) -> Self {
        let record = KeyValue {
            key: kv.key.clone(),
            value: Bytes::new(),
            ..*kv
        };
        Self::Ended(record, reason)
    }
}

/// The timer of a claim that waits for a limited time.
pub(super) fn wait_timer(claim: &Claim) -> Timer {
    Timer::WaitOver(claim.token, claim.key.clone())
}
