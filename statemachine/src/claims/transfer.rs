//! Transfer of a held claim, to another lease or to a candidate that waits.
//!
//! The order of a queue is the order of its keys' create revisions, for all clients and other
//! programs. A claim that is to be behind a new holder therefore gets a new key, with a greater
//! token. Invariant: tokens never decrease along a queue.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{
    acquire::shown,
    deadlock, delay,
    follow::wait_timer,
    promote::first_live_waiting,
    release::holder,
    row::{self, Claim, Claims},
    summary::QueueSummary,
};
use crate::{
    command::Put,
    engine::{Table, View},
    error::{Fault, ReadError, Refusal},
    keyspace::claim_key,
    lease,
    outcome::{ClaimState, Signal},
    timers,
    transition::{EndReason, Transition},
    value::{ClusterTime, LeaseId, Revision},
};

/// Most claims that one command moves. Each is a separate revision, with a watch event or two and a
/// signal, and the command blocks every later write.
pub const MOVES_MAX: usize = 1_000;

/// Most bytes of values and rows that one command rewrites to move claims: as much as a few large
/// requests contain.
pub const MOVED_BYTES_MAX: usize = 1024 * 1024;

impl Transition<'_> {
    /// Transfers the claim that holds under `token` to the lease `to`, with a new token and without
    /// a gap.
    pub(crate) fn transfer(
        &mut self,
        name: &Bytes,
        token: Revision,
        to: LeaseId,
        principal: &str,
    ) -> Result<ClaimState, ReadError> {
        let view = &*self.overlay;
        let old = holder(view, name, token)?;
        if lease::find(view, to)?.is_none() {
            return Err(Refusal::LeaseNotFound.into());
        }
        if row::of_lease(view, name, to)?.is_some() {
            return Err(Refusal::AlreadyClaimed(name.clone()).into());
        }
        lease::check_room(view, to, 1)?;
        let waiting = movable(view, name, None)?;
        check_circle(view, name, to, &waiting)?;

        let value = row::value(view, &old)?;
        let mut new = Claim {
            key: claim_key(name, to),
            lease: to,
            since: self.meta.now,
            principal: principal.to_owned(),
            foreign: false,
            call: 0,
            ..old.clone()
        };
        // An existing key of this name is not a claim, and its create revision would be no token.
        self.delete_claim_key(new.key.clone(), EndReason::RELEASED)?;
        let keys = (old.key.clone(), new.key.clone());
        new.token = self.replace_key(keys, value.clone(), to)?;
        debug_assert!(
            new.token > old.token,
            "the later holder has the greater token"
        );
        self.end_claim(&old, EndReason::RELEASED)?;
        self.join_queue(&new)?;
        let granted = Signal::Granted(new.signalled(0));
        self.effects.signals.push(granted);
        self.move_behind(waiting, 0)?;
        Ok(new.state(value, 0))
    }

    /// Ends the claim that holds under `token` in favour of the waiting claim of `to`, which is
    /// granted when this is reconciled. Returns that claim.
    pub(crate) fn hand_over(
        &mut self,
        name: &Bytes,
        token: Revision,
        to: LeaseId,
    ) -> Result<Claim, ReadError> {
        let (view, now) = (&*self.overlay, self.meta.now);
        let leader = holder(view, name, token)?;
        let candidate = candidate(view, now, &leader, to)?;
        let summary = QueueSummary::of(view, name)?;
        let next = first_live_waiting(view, name, &summary, now)?;
        let others = if next.is_some_and(|next| next.key == candidate.key) {
            // No claim has to move.
            Vec::new()
        } else {
            let others = movable(view, name, Some(&candidate.key))?;
            let is_ahead = |claim: &&Claim| claim.token < candidate.token && !claim.is_over(now);
            let ahead: Vec<Claim> = others.iter().filter(is_ahead).cloned().collect();
            check_circle(view, name, to, &ahead)?;
            others
        };

        self.delete_claim_key(leader.key.clone(), EndReason::RELEASED)?;
        self.end_claim(&leader, EndReason::RELEASED)?;
        // The candidate is before them.
        self.move_behind(others, 1)?;
        Ok(candidate)
    }

    /// Returns the present state of the claim that [`Transition::hand_over`] returned.
    pub(crate) fn handed_over(&self, candidate: &Claim) -> Result<ClaimState, Fault> {
        match row::of_lease(self.overlay, &candidate.name, candidate.lease)? {
            Some((claim, value)) => Ok(claim.state(value, 0)),
            None => shown(self.overlay, candidate, 0),
        }
    }
}

/// Returns the claim of `to`, if it waits and could hold in place of `leader`.
fn candidate(
    view: &dyn View,
    now: ClusterTime,
    leader: &Claim,
    to: LeaseId,
) -> Result<Claim, ReadError> {
    let name = &leader.name;
    let unknown = || Refusal::CandidateUnknown(Box::new((name.clone(), to)));
    let Some((candidate, _)) = row::of_lease(view, name, to)? else {
        return Err(unknown().into());
    };
    let mut summary = QueueSummary::of(view, name)?;
    summary.leave(leader);
    let may_hold = !candidate.held
        && !candidate.is_over(now)
        // A bundle cannot overtake on only one of its names: two bundles could then wait for each
        // other.
        && candidate.bundle.is_empty()
        && summary.admits(candidate.mode)
        && (candidate.foreign || !delay::is_on(view, name, now)?);
    if may_hold {
        Ok(candidate)
    } else {
        Err(unknown().into())
    }
}

/// Returns the waiting claims on `name` that have to move: all except the one whose key is `stays`.
/// Refused if they cannot move; stops at the first claim that shows this.
fn movable(view: &dyn View, name: &Bytes, stays: Option<&Bytes>) -> Result<Vec<Claim>, ReadError> {
    let summary = QueueSummary::of(view, name)?;
    let (mut movable, mut bytes) = (Vec::new(), 0_usize);
    let mut claims = Claims::from(view, name, summary.front)?;
    while let Some(claim) = claims.next()? {
        if claim.held || stays == Some(&claim.key) {
            continue;
        }
        // A program that made its claim itself identifies it by its key's create revision.
        if claim.foreign {
            return Err(Refusal::QueueFixed(name.clone()).into());
        }
        let value = row::value(view, &claim)?.len();
        bytes = bytes
            .saturating_add(value)
            .saturating_add(claim.row_bytes());
        if movable.len() >= MOVES_MAX || bytes > MOVED_BYTES_MAX {
            return Err(Refusal::QueueTooLong(name.clone()).into());
        }
        movable.push(claim);
    }
    debug_assert!(
        movable.is_sorted_by_key(|claim| claim.token),
        "claims are moved in their order"
    );
    Ok(movable)
}

/// Refuses a deadlock, if the claims `behind` waited for `lease`.
fn check_circle(
    view: &dyn View,
    name: &Bytes,
    lease: LeaseId,
    behind: &[Claim],
) -> Result<(), ReadError> {
    let waiting: BTreeSet<LeaseId> = behind.iter().map(|claim| claim.lease).collect();
    match deadlock::of_holding(view, name, lease, &waiting)? {
        Some(names) => Err(Refusal::Deadlock(names).into()),
        None => Ok(()),
    }
}

impl Transition<'_> {
    /// Deletes a key and creates another or the same one, in one revision. Returns the revision.
    fn replace_key(
        &mut self,
        (old, new): (Bytes, Bytes),
        value: Bytes,
        lease: LeaseId,
    ) -> Result<Revision, Fault> {
        let mut change = self.change();
        change.delete_key(old)?;
        change.put(&Put {
            key: new,
            value,
            lease,
            ..Put::default()
        })?;
        let revision = change.seen();
        change.finish();
        Ok(revision)
    }

    /// Gives waiting claims new tokens, in their order, behind the holders and `others` more
    /// claims. Claims that have waited too long are dropped.
    fn move_behind(&mut self, claims: Vec<Claim>, others: u32) -> Result<(), Fault> {
        let Some(name) = claims.first().map(|claim| claim.name.clone()) else {
            return Ok(());
        };
        let mut position = QueueSummary::of(self.overlay, &name)?
            .held
            .saturating_add(others);
        for mut claim in claims {
            if claim.is_over(self.meta.now) {
                self.delete_claim_key(claim.key.clone(), EndReason::WAIT_OVER)?;
                self.end_claim(&claim, EndReason::WAIT_OVER)?;
                continue;
            }
            let value = row::value(self.overlay, &claim)?;
            let keys = (claim.key.clone(), claim.key.clone());
            let before = claim.token;
            let (old_row, old_timer) = (claim.row(), wait_timer(&claim));
            claim.token = self.replace_key(keys, value, claim.lease)?;
            debug_assert!(claim.token > before, "tokens never go down along a queue");
            self.overlay.delete(Table::Cluster, old_row);
            claim.store(self.overlay);
            if let Some(until) = claim.wait_until {
                timers::clear(self.overlay, until, &old_timer);
                self.set_timer(until, &wait_timer(&claim));
            }
            let state = claim.signalled(position);
            self.effects.signals.push(Signal::Requeued(state, before));
            position = position.saturating_add(1);
        }
        Ok(())
    }
}
