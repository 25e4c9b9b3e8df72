//! Last wills: transactions that run when a lease expires or a claim is lost.
//!
//! `W`, ordered BE64 lease, the key of a claim or nothing: a layout byte, the user who set the will
//! if the layout has one, and when the user was added, and the will, encoded as in a command.
//!
//! Invariant: a will exists only while its lease does and, if it belongs to a claim, while that
//! does.

use bytes::{BufMut, Bytes};

use crate::{
    access::{Owner, read_will_user, write_will_user},
    claims,
    command::{Will, WillSet},
    encoding::{Decoder, Encoder, Malformed},
    engine::{Table, View},
    error::{Fault, ReadError, Refusal, damaged},
    feature::FeatureLevel,
    fence::guard,
    keyspace::{claimed_name, name_of},
    lease::{self, Lease},
    meta::Totals,
    price::Budget,
    rows::{Family, Row, keys},
    transition::Transition,
    value::{LeaseId, Limit, limit::LEASE_WILLS_MAX},
};

/// A will as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
struct StoredWill {
    /// The user who set it, and whose permissions it needs when it runs.
    user: Option<Owner>,
    will: Will,
}

impl Row for StoredWill {
    const DAMAGED: &'static str = "will is of an unknown layout";

    fn write_row(&self, out: &mut Encoder) {
        write_will_user(self.user.as_ref(), out);
        out.value(&self.will);
    }

    fn read_row(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        let user = read_will_user(input)?;
        Ok(Self {
            user,
            will: input.value()?,
        })
    }
}

/// A lost claim, whose will is to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LostClaim<'a> {
    /// The key that stood for it.
    pub(crate) key: &'a Bytes,
    /// Whether it held. If so, no other claim was granted its lock since.
    pub(crate) held: bool,
}

/// Returns the row of a will: of the lease itself, or of a claim. The former is the prefix of all.
fn row(lease: LeaseId, claim: Option<&Bytes>) -> Bytes {
    let claim = claim.map_or::<&[u8], _>(&[], |claim| claim);
    let mut row = Family::Will.row(claim.len().saturating_add(8));
    row.put_i64(keys::ordered(lease));
    row.put_slice(claim);
    row.freeze()
}

impl Transition<'_> {
    /// Sets, replaces or removes a will.
    pub(crate) fn set_will(&mut self, command: &WillSet) -> Result<(), ReadError> {
        let overlay = &mut *self.overlay;
        let Some(lease) = lease::find(overlay, command.lease)? else {
            return Err(Refusal::LeaseNotFound.into());
        };
        let claim = match &command.lock {
            None => None,
            Some(name) => match claims::key_of(overlay, name, command.lease)? {
                None => return Err(Refusal::NotClaimed(name.clone()).into()),
                key => key,
            },
        };
        let row = row(command.lease, claim.as_ref());
        let before = overlay.get(Table::Cluster, &row)?;
        if let Some(before) = &before {
            self.check_owner(before)?;
        }
        let user = self.owner()?;
        let overlay = &mut *self.overlay;
        let before = before.map(|will| bytes_of(&row, &will));
        let will = command.will.clone().map(|will| StoredWill { user, will });
        let will = will.as_ref().map(Row::encode);
        let after = will.as_ref().map(|will| bytes_of(&row, will));
        if self.meta.level >= FeatureLevel::PRICED
            && let Some(after) = after
        {
            if before.is_none() {
                let wills = count(overlay, command.lease)?;
                Limit::LeaseWills.check(wills.saturating_add(1))?;
            }
            let others = Totals::load(overlay)?.wills;
            let others = others.saturating_sub(before.unwrap_or(0));
            if after > before.unwrap_or(0) {
                Limit::WillBytes.check(others.saturating_add(after))?;
            }
        }
        let (before, after) = (before.unwrap_or(0), after.unwrap_or(0));
        Totals::change_wills(overlay, self.meta, before, after)?;
        match will {
            Some(will) => {
                lease::note_will(overlay, &lease);
                overlay.put(Table::Cluster, row, will);
            }
            None => overlay.delete(Table::Cluster, row),
        }
        Ok(())
    }

    /// Refuses to replace or remove the will of another user; root may.
    fn check_owner(&mut self, stored: &Bytes) -> Result<(), ReadError> {
        let owner = StoredWill::decode(stored)?.user;
        if self.gate.user().is_none() {
            return Ok(());
        }
        let permissions = self.own_permissions()?;
        let is_own = owner.is_some_and(|owner| owner.is(&permissions));
        if is_own || permissions.is_root() {
            return Ok(());
        }
        Err(Refusal::PermissionDenied.into())
    }

    /// Runs and removes the will of `lease` (`claim` is `None`), or of that claim of it, in a
    /// separate revision. The will has no effect if its user may not do all of it by now, if a
    /// guard does not hold or one that a fence policy requires is missing, if an operation is
    /// refused, or if earlier wills have used up the budget of the command.
    pub(crate) fn run_will(
        &mut self,
        lease: LeaseId,
        claim: Option<LostClaim<'_>>,
    ) -> Result<(), Fault> {
        let row = row(lease, claim.map(|claim| claim.key));
        let Some(encoded) = self.overlay.get(Table::Cluster, &row)? else {
            return Ok(());
        };
        Totals::change_wills(self.overlay, self.meta, bytes_of(&row, &encoded), 0)?;
        self.overlay.delete(Table::Cluster, row);
        let stored = StoredWill::decode(&encoded)?;
        let lost = claim.filter(|claim| claim.held);
        let lost = lost.and_then(|claim| claimed_name(claim.key));
        match self.execute_will(&stored, lost.as_ref()) {
            Ok(()) | Err(ReadError::Refused(_)) => Ok(()),
            Err(ReadError::Fault(fault)) => Err(fault),
        }
    }

    /// A refusal changes nothing. `lost` is the lock that the claim of the will held.
    fn execute_will(&mut self, stored: &StoredWill, lost: Option<&Bytes>) -> Result<(), ReadError> {
        let StoredWill { user, will } = stored;
        self.check_will(user.as_ref(), will)?;
        // From that level on, what ends a lease under the alarm also runs its wills.
        if self.meta.corrupt && self.meta.level < FeatureLevel::ALARMED {
            return Err(Refusal::Corrupt.into());
        }
        if self.meta.no_space && will.txn.contains_put() {
            return Err(Refusal::NoSpace.into());
        }
        let reader = self.reader();
        guard::check(&reader, &will.guards)?;
        self.policies.check_will(&reader, will, lost)?;
        if self.meta.level < FeatureLevel::PRICED {
            self.execute_txn(&will.txn)?;
            return Ok(());
        }
        let mut budget = Budget::of_wills(self.will_rows);
        let done = self.execute_txn_within(&will.txn, &mut budget);
        self.will_rows = budget.rows_left();
        done.map(drop)
    }

    /// Removes the will of a claim that was released. Most claims have none, and looking for one
    /// costs less than a stored deletion.
    pub(crate) fn remove_will(&mut self, lease: LeaseId, claim: &Bytes) -> Result<(), Fault> {
        let row = row(lease, Some(claim));
        if let Some(will) = self.overlay.get(Table::Cluster, &row)? {
            Totals::change_wills(self.overlay, self.meta, bytes_of(&row, &will), 0)?;
            self.overlay.delete(Table::Cluster, row);
        }
        Ok(())
    }

    /// Removes every will of a lease that ends.
    pub(crate) fn remove_wills(&mut self, lease: &Lease) -> Result<(), Fault> {
        if !lease.may_have.will {
            return Ok(());
        }
        for (found, bytes) in of_lease(self.overlay, &row(lease.id, None))? {
            Totals::change_wills(self.overlay, self.meta, bytes, 0)?;
            self.overlay.delete(Table::Cluster, found);
        }
        Ok(())
    }
}

/// Returns the size of a will in [`Totals::wills`].
fn bytes_of(row: &Bytes, will: &Bytes) -> u64 {
    row.len().saturating_add(will.len()) as u64
}

/// Counts the wills of a lease, up to the limit.
fn count(view: &dyn View, lease: LeaseId) -> Result<u64, Fault> {
    let prefix = row(lease, None);
    let mut cursor = view.scan(Table::Cluster, &prefix)?;
    let mut found = 0;
    while found < LEASE_WILLS_MAX {
        match cursor.next_key()? {
            Some(row) if row.starts_with(&prefix) => found = found.saturating_add(1),
            _ => break,
        }
    }
    Ok(found)
}

/// Whether a lease has a will.
pub(crate) fn exists(view: &dyn View, lease: LeaseId) -> Result<bool, Fault> {
    let prefix = row(lease, None);
    let mut cursor = view.scan(Table::Cluster, &prefix)?;
    let first = cursor.next_key()?;
    Ok(first.is_some_and(|row| row.starts_with(&prefix)))
}

/// Returns the rows of the wills of a lease, and the size of each.
fn of_lease(view: &dyn View, prefix: &Bytes) -> Result<Vec<(Bytes, u64)>, Fault> {
    let mut found = Vec::new();
    let mut cursor = view.scan(Table::Cluster, prefix)?;
    while let Some((row, will)) = cursor.next()? {
        if !row.starts_with(prefix) {
            break;
        }
        let bytes = bytes_of(&row, &will);
        found.push((row, bytes));
    }
    Ok(found)
}

/// Checks that each will belongs to a lease that has it flagged, and to a claim of it or none, and
/// that their total size is at least the counted one.
pub(crate) fn check(view: &dyn View) -> Result<(), String> {
    walk(view).map_err(|fault| fault.to_string())?
}

fn walk(view: &dyn View) -> Result<Result<(), String>, Fault> {
    let mut found = 0_u64;
    for (row, value) in Family::Will.rows(view)? {
        StoredWill::decode(&value)?;
        let Some((id, claim)) = keys::split_i64(row.get(1..).unwrap_or_default()) else {
            return Err(damaged("will without a lease"));
        };
        let (id, claim) = (LeaseId(id ^ i64::MIN), row.slice_ref(claim));
        let Some(lease) = lease::find(view, id)? else {
            return Ok(Err(format!("a will of {id}, which is no lease")));
        };
        if !lease.may_have.will {
            return Ok(Err(format!("a will whose lease does not know it: {row:?}")));
        }
        let goes_with = claims::key_of(view, &name_of(&claim), id)?;
        if !claim.is_empty() && goes_with.as_ref() != Some(&claim) {
            return Ok(Err(format!(
                "a will goes with {claim:?}, which is no claim"
            )));
        }
        found = found.saturating_add(bytes_of(&row, &value));
    }
    let counted = Totals::load(view)?.wills;
    Ok(if counted > found {
        Err(format!("{found} bytes of wills counted as {counted}"))
    } else {
        Ok(())
    })
}
