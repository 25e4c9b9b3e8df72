//! Checks that are made when a command is applied, because they look at more than users and roles:
//! at the keys that are attached to a lease by then; and the checks of wills, which run later than
//! they were set.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    access::{Need, Owner, Permissions, check, each_need, each_will_need},
    command::{Command, Will},
    error::{ReadError, Refusal},
    transition::Transition,
};

impl Transition<'_> {
    /// Refuses a user's command that renews, revokes or gives a key to a lease to which keys are
    /// attached that the user may not write. Renewals are checked before they are proposed, because
    /// many are one command: they change no key.
    pub(crate) fn check_leases(&mut self, command: &Command) -> Result<(), ReadError> {
        if self.gate.user().is_none() || matches!(command, Command::LeaseRenew(_)) {
            return Ok(());
        }
        let mut leases = BTreeSet::new();
        each_need(command, &mut |need| {
            if let Need::WriteLease(lease) = need {
                leases.insert(lease);
            }
            Ok::<(), ReadError>(())
        })?;
        if leases.is_empty() {
            return Ok(());
        }
        let permissions = self.own_permissions()?;
        let view = &*self.overlay;
        leases
            .iter()
            .try_for_each(|lease| check(view, &permissions, &Need::WriteLease(*lease)))
    }

    /// Returns the user that makes the command, as the owner of what it makes; `None` if no
    /// permissions bind it.
    pub(crate) fn owner(&mut self) -> Result<Option<Owner>, ReadError> {
        if self.gate.user().is_none() {
            return Ok(None);
        }
        Ok(Some(self.own_permissions()?.owner()))
    }

    /// Returns the permissions of the user that makes the command, who is bound by some.
    pub(crate) fn own_permissions(&mut self) -> Result<Arc<Permissions>, ReadError> {
        let name = self.gate.user().unwrap_or_default().to_owned();
        self.permissions_of(&name)
    }

    /// Refuses a will that is about to run unless the user who set it exists and may do all of it
    /// by now. One that was set without a user does not run while authentication is enabled.
    pub(crate) fn check_will(
        &mut self,
        user: Option<&Owner>,
        will: &Will,
    ) -> Result<(), ReadError> {
        if !self.gate.state.enabled {
            return Ok(());
        }
        let user = user.ok_or(Refusal::UserEmpty)?;
        let permissions = self.permissions_of(&user.name)?;
        if !user.is(&permissions) {
            return Err(Refusal::UserNotFound.into());
        }
        let view = &*self.overlay;
        each_will_need(will, &mut |need| check(view, &permissions, &need))
    }

    fn permissions_of(&mut self, name: &str) -> Result<Arc<Permissions>, ReadError> {
        let gate = &mut self.gate;
        let found = gate.cache.find(self.overlay, gate.state, name)?;
        found.ok_or_else(|| Refusal::UserNotFound.into())
    }
}
