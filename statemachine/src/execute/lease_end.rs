//! The end of a lease, with its keys, the claims and instances that they stand for, its wills and
//! its session.
//!
//! A lease ends only by a command; nothing here watches time. Invariant: a lease that was renewed
//! after the leader looked at it does not expire by that command.

use crate::{
    command::LeaseExpiry,
    engine::View,
    error::{Fault, ReadError, Refusal},
    feature::FeatureLevel,
    lease::{self, Lease},
    meta::Meta,
    price::WILL_ROWS_MAX,
    transition::{EndReason, Transition},
    value::{LeaseId, limit::LEASE_KEYS_MAX},
};

impl Transition<'_> {
    /// Revokes a lease and deletes its keys, in one revision. Its wills do not run, and it leaves
    /// no lock delay, because it did not expire.
    pub(super) fn revoke_lease(&mut self, id: LeaseId) -> Result<(), ReadError> {
        let Some(lease) = lease::find(self.overlay, id)? else {
            return Err(Refusal::LeaseNotFound.into());
        };
        // Wills do not run on a revocation.
        self.remove_wills(&lease)?;
        self.end_lease(&lease, EndReason::REVOKED)?;
        let revoked = &mut self.effects.facts.leases_revoked;
        *revoked = revoked.saturating_add(1);
        Ok(())
    }

    /// Expires the leases that are still as the leader saw them. Each one with keys makes a
    /// separate revision, and so does each will. Leases beyond the budget of one command are left
    /// for the next.
    pub(super) fn expire_leases(
        &mut self,
        expiries: &[LeaseExpiry],
    ) -> Result<Vec<LeaseId>, Fault> {
        let mut ended = Vec::new();
        let mut budget = ExpiryBudget::of(self.meta);
        for expiry in expiries {
            let Some(lease) = lease::find(self.overlay, expiry.id)? else {
                continue;
            };
            let due = lease.deadline <= self.meta.now
                && lease.generation == expiry.generation
                && self.meta.applied_term == expiry.term;
            if !due {
                continue;
            }
            if !budget.pay(self.overlay, &lease, ended.is_empty())? {
                break;
            }
            if self.hold_for_its_service(&lease)? {
                continue;
            }
            self.will_rows = WILL_ROWS_MAX;
            // Grants the names that become free, and runs the wills of lost claims.
            self.end_lease(&lease, EndReason::EXPIRED)?;
            if lease.may_have.will {
                self.run_will(lease.id, None)?;
                // Claims whose keys the will deleted count as released: they run no wills.
                let left = self.will_rows;
                self.reconcile()?;
                debug_assert_eq!(left, self.will_rows, "no will runs for a claim given up");
                self.remove_wills(&lease)?;
            }
            let used = WILL_ROWS_MAX.saturating_sub(self.will_rows);
            budget.will_rows = budget.will_rows.saturating_sub(used);
            ended.push(lease.id);
        }
        Ok(ended)
    }

    /// Deletes the keys of a lease and the lease, in one revision, and reconciles the claims that
    /// the keys stood for.
    fn end_lease(&mut self, lease: &Lease, reason: EndReason) -> Result<(), Fault> {
        debug_assert!(
            self.unreconciled.is_empty(),
            "what was done before is reconciled"
        );
        let mut change = self.change_for(reason);
        change.delete_attached(lease)?;
        change.finish();
        self.forget_lease(lease);
        if lease.may_have.session {
            self.end_session(lease.id)?;
        }
        self.reconcile()
    }
}

/// The budget of the leases that expire in one command. The first lease is always allowed; its cost
/// is bounded by what one lease may have.
#[derive(Clone, Copy, Debug)]
struct ExpiryBudget {
    is_bounded: bool,
    keys: u64,
    will_rows: u64,
}

impl ExpiryBudget {
    fn of(meta: &Meta) -> Self {
        Self {
            is_bounded: meta.level >= FeatureLevel::PRICED,
            keys: LEASE_KEYS_MAX,
            will_rows: WILL_ROWS_MAX,
        }
    }

    /// Pays for the keys of another lease. Returns whether the budget sufficed.
    fn pay(&mut self, view: &dyn View, lease: &Lease, is_first: bool) -> Result<bool, Fault> {
        if !self.is_bounded {
            return Ok(true);
        }
        let counted = match lease.keys {
            Some(counted) => counted,
            None => lease::count(view, lease.id)?,
        };
        let left = self.keys.checked_sub(counted.rows());
        self.keys = left.unwrap_or(0);
        Ok(is_first || left.is_some() && self.will_rows > 0)
    }
}
