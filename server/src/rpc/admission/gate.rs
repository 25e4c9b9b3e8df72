//! Decides whether a caller may do what a call asks, in one state.

use std::sync::Arc;

use parking_lot::Mutex;
use tenure_statemachine::{
    AuthState, By, Command, LeaseId, Need, Owner, PermissionCache, Permissions, Principal,
    ReadError, Reader, Refusal, by_system, needs_of,
};

use super::caller::{Caller, Proven};
use crate::auth::tokens::{AuthRevision, Basis};

/// Decides what callers may do. One per node.
#[derive(Debug, Default)]
pub(in crate::rpc) struct Gate {
    permissions: Mutex<PermissionCache>,
    /// Whether authentication was enabled after so many changes of users and permissions.
    enabled: Mutex<Option<(u64, bool)>>,
}

/// A command that may be proposed: its caller may do it, or it is the member's own.
#[derive(Clone, Debug)]
pub(in crate::rpc) struct Allowed(Command);

impl Allowed {
    /// A command that this member makes on its own account, and not for a client.
    pub(in crate::rpc) fn of_system(command: Command) -> Self {
        Self(by_system(command))
    }

    /// A command of any client, while authentication is disabled. Once it is enabled, the command
    /// is refused where it is applied.
    pub(in crate::rpc) const fn of_anyone(command: Command) -> Self {
        Self(command)
    }

    pub(in crate::rpc) fn into_command(self) -> Command {
        self.0
    }

    /// The renewal of leases, each of which this principal was allowed to renew.
    pub(in crate::rpc) fn renewing(principal: Option<Principal>, leases: Vec<LeaseId>) -> Self {
        let command = Command::LeaseRenew(leases);
        Self(match principal {
            Some(principal) => Command::By(Box::new(By { principal, command })),
            None => command,
        })
    }

    /// Takes a renewal apart; the leases are none for another command.
    pub(in crate::rpc) fn into_renewal(self) -> (Option<Principal>, Vec<LeaseId>) {
        let (principal, command) = match self.0 {
            Command::By(by) => {
                let By { principal, command } = *by;
                (Some(principal), command)
            }
            command => (None, command),
        };
        match command {
            Command::LeaseRenew(leases) => (principal, leases),
            _ => (principal, Vec::new()),
        }
    }
}

impl Gate {
    /// Whether authentication is enabled, if it was noted after that many changes.
    pub(in crate::rpc) fn enabled_at(&self, changes: u64) -> Option<bool> {
        let noted = *self.enabled.lock();
        let (_, enabled) = noted.filter(|(at, _)| *at == changes)?;
        Some(enabled)
    }

    /// Notes whether authentication is enabled; `changes` were counted before that was read.
    pub(in crate::rpc) fn note_enabled(&self, changes: u64, enabled: bool) {
        *self.enabled.lock() = Some((changes, enabled));
    }

    /// Checks in the state of `reader` that `caller` meets every need.
    ///
    /// # Errors
    /// Refused when authentication is enabled and the caller may not; the reason is that of the
    /// first check that fails.
    pub(in crate::rpc) fn check(
        &self,
        reader: &Reader<'_>,
        caller: &Caller,
        needs: &[Need],
    ) -> Result<(), ReadError> {
        if !reader.meta().authenticates {
            return Ok(());
        }
        let state = reader.auth()?;
        let permissions = self.permissions(reader, &state, caller)?;
        for need in needs {
            reader.check_need(&permissions, need)?;
        }
        Ok(())
    }

    /// Keeps those of `all` for which the caller meets the need.
    ///
    /// # Errors
    /// As [`Gate::check`].
    pub(super) fn retain<T>(
        &self,
        reader: &Reader<'_>,
        caller: &Caller,
        all: &mut Vec<T>,
        need: impl Fn(&T) -> Need,
    ) -> Result<(), ReadError> {
        if !reader.meta().authenticates {
            return Ok(());
        }
        let state = reader.auth()?;
        let permissions = self.permissions(reader, &state, caller)?;
        let mut fault = None;
        all.retain(|one| match reader.check_need(&permissions, &need(one)) {
            Ok(()) => true,
            Err(ReadError::Refused(_)) => false,
            Err(error) => {
                fault = Some(error);
                false
            }
        });
        fault.map_or(Ok(()), Err)
    }

    /// Checks a command, and gives it its principal.
    ///
    /// # Errors
    /// As [`Gate::check`].
    pub(in crate::rpc) fn allow(
        &self,
        reader: &Reader<'_>,
        caller: &Caller,
        command: &Command,
    ) -> Result<Allowed, ReadError> {
        let command = command.clone();
        if !reader.meta().authenticates {
            return Ok(Allowed(command));
        }
        let state = reader.auth()?;
        let permissions = self.permissions(reader, &state, caller)?;
        for need in &needs_of(&command) {
            reader.check_need(&permissions, need)?;
        }
        let principal = Principal::User {
            name: caller.name().unwrap_or_default().to_owned(),
            auth_revision: state.revision,
        };
        Ok(Allowed(Command::By(Box::new(By { principal, command }))))
    }

    /// The caller as the owner of what it makes; `None` while authentication is disabled.
    ///
    /// # Errors
    /// Refused when authentication is enabled and the caller is no user.
    pub(in crate::rpc) fn owner(
        &self,
        reader: &Reader<'_>,
        caller: &Caller,
    ) -> Result<Option<Owner>, ReadError> {
        let state = reader.auth()?;
        if !state.enabled {
            return Ok(None);
        }
        Ok(Some(self.permissions(reader, &state, caller)?.owner()))
    }

    /// The permissions of the caller, whose token must be good still.
    fn permissions(
        &self,
        reader: &Reader<'_>,
        state: &AuthState,
        caller: &Caller,
    ) -> Result<Arc<Permissions>, ReadError> {
        let proven = match caller {
            Caller::User(proven) => proven,
            Caller::BadToken => return Err(Refusal::InvalidAuthToken.into()),
            Caller::Nobody => return Err(Refusal::UserEmpty.into()),
        };
        if proven.user.is_empty() {
            return Err(Refusal::UserEmpty.into());
        }
        let found = self.lookup(reader, state, &proven.user)?;
        verify(proven, state, found.as_deref())?;
        found.ok_or_else(|| Refusal::UserNotFound.into())
    }

    /// The permissions of a user. Reads without the lock: a paced reader may have to wait.
    fn lookup(
        &self,
        reader: &Reader<'_>,
        state: &AuthState,
        user: &str,
    ) -> Result<Option<Arc<Permissions>>, ReadError> {
        let known = self.permissions.lock().known(state.revision, user);
        if known.is_some() {
            return Ok(known);
        }
        let found = reader.permissions(user)?.map(Arc::new);
        if let Some(found) = &found {
            self.permissions.lock().keep(state.revision, user, found);
        }
        Ok(found)
    }
}

/// Refuses a token that is of another password, of an earlier auth revision, or from before
/// authentication was disabled, with which the secret of tokens ends.
fn verify(
    proven: &Proven,
    state: &AuthState,
    found: Option<&Permissions>,
) -> Result<(), ReadError> {
    match proven.basis {
        None => Ok(()),
        Some(_) if proven.enabled_at != state.enabled_at => Err(Refusal::InvalidAuthToken.into()),
        Some(Basis::Password(generation)) => match found {
            Some(found) if found.password_generation() == generation.0 => Ok(()),
            _ => Err(Refusal::InvalidAuthToken.into()),
        },
        Some(Basis::Revision(AuthRevision(revision))) if revision == state.revision.0 => Ok(()),
        Some(Basis::Revision(_)) => Err(Refusal::AuthOldRevision.into()),
    }
}
