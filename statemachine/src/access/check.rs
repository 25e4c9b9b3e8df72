//! Whether permissions meet a need.

use super::{Need, Permissions, intervals::Intervals, owned::is_of_another};
use crate::{
    engine::{Table, View},
    error::{Fault, ReadError, Refusal},
    keyspace::claim_range,
    read::Reader,
    rows::keys,
    value::{KeyRange, LeaseId},
};

impl Reader<'_> {
    /// Refuses unless `permissions`, those of a user in this state, meet `need`.
    ///
    /// # Errors
    /// [`Refusal::PermissionDenied`]; when the engine cannot read.
    pub fn check_need(&self, permissions: &Permissions, need: &Need) -> Result<(), ReadError> {
        check(self.view, permissions, need)
    }
}

/// Refuses unless `permissions` meet `need` in the state of `view`.
pub(crate) fn check(
    view: &dyn View,
    permissions: &Permissions,
    need: &Need,
) -> Result<(), ReadError> {
    let is_met = permissions.is_root()
        || match need {
            Need::User => true,
            Need::Admin => false,
            Need::Read(range) => permissions.may_read(range),
            Need::Write(range) => permissions.may_write(range),
            Need::Guard(name) => {
                permissions.may_read(&claim_range(name))
                    || permissions.may_read(&KeyRange::single(name.clone()))
            }
            Need::ReadLease(lease) => {
                holds_attached(view, permissions.read(), *lease)?
                    && !is_of_another(view, permissions, *lease)?
            }
            Need::WriteLease(lease) => {
                holds_attached(view, permissions.write(), *lease)?
                    && !is_of_another(view, permissions, *lease)?
            }
        };
    if is_met {
        Ok(())
    } else {
        Err(Refusal::PermissionDenied.into())
    }
}

/// Whether every key attached to `lease` lies in `intervals`. Looks at the first key of each
/// interval, not at every key: a lease may have hundreds of thousands.
fn holds_attached(view: &dyn View, intervals: &Intervals, lease: LeaseId) -> Result<bool, Fault> {
    let mut from = keys::lease(lease);
    loop {
        let row = view.scan(Table::LeaseKeys, &from)?.next_key()?;
        let Some(key) = row.and_then(|row| keys::read_lease_key(&row, lease)) else {
            return Ok(true);
        };
        let Some(interval) = intervals.around(&key) else {
            return Ok(false);
        };
        let Some(end) = &interval.end else {
            return Ok(true);
        };
        debug_assert!(*end > key, "each step passes a key");
        from = keys::lease_key(lease, end);
    }
}
