//! Users and roles of a backup in etcd's format, made to agree with the invariants of this state.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::rows::{AuthState, Role, User};
use crate::{
    error::{Fault, damaged},
    value::{Access, AuthRevision, Permission, permission::is_grantable},
};

/// Users and roles that were read so far. All of a cluster are held at once: they are few.
#[derive(Debug, Default)]
pub(crate) struct RestoredUsers {
    users: BTreeMap<String, User>,
    roles: BTreeMap<String, Role>,
    is_enabled: bool,
    revision: Option<AuthRevision>,
}

impl RestoredUsers {
    pub(crate) const fn state(&mut self, is_enabled: bool, revision: AuthRevision) {
        self.is_enabled = is_enabled;
        self.revision = Some(revision);
    }

    pub(crate) fn user(&mut self, name: String, password: Option<Bytes>, roles: Vec<String>) {
        let user = User {
            password,
            password_generation: 0,
            added: AuthRevision::FIRST,
            roles,
        };
        self.users.insert(name, user);
    }

    /// etcd may hold two permissions for one range; this state holds their union. It leaves out
    /// those for no key.
    pub(crate) fn role(&mut self, name: String, permissions: Vec<Permission>) {
        let mut role = Role::default();
        for permission in permissions {
            if !is_grantable(&permission.range) {
                continue;
            }
            match role.place(&permission.range) {
                Err(place) => role.permissions.insert(place, permission),
                Ok(place) => {
                    if let Some(known) = role.permissions.get_mut(place) {
                        known.access = union(known.access, permission.access);
                    }
                }
            }
        }
        self.roles.insert(name, role);
    }

    /// Returns the state of authentication with all users and roles; `None` if nothing was read.
    ///
    /// # Errors
    /// When authentication is enabled and there is no administrator.
    pub(crate) fn finish(mut self) -> Result<Option<Finished>, Fault> {
        let is_empty = self.users.is_empty() && self.roles.is_empty();
        if is_empty && self.revision.is_none() {
            return Ok(None);
        }
        let roles = &self.roles;
        let revision = self.revision.unwrap_or(AuthRevision::FIRST);
        for user in self.users.values_mut() {
            user.roles.sort_unstable();
            user.roles.dedup();
            // A role that does not exist gives nothing; one that is added later is another.
            user.roles
                .retain(|role| role == User::ROOT || roles.contains_key(role));
            user.password_generation = revision.0;
            user.added = revision;
        }
        let root = self.users.get(User::ROOT);
        if self.is_enabled && !root.is_some_and(User::is_root) {
            return Err(damaged("authentication is enabled without root"));
        }
        let state = AuthState {
            enabled: self.is_enabled,
            revision,
            // Tokens of the cluster of the backup are of another secret.
            enabled_at: revision,
            users: self.users.len() as u64,
            roles: self.roles.len() as u64,
        };
        Ok(Some(Finished {
            state,
            users: self.users,
            roles: self.roles,
        }))
    }
}

/// What a restored state has of users and roles.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) state: AuthState,
    pub(crate) users: BTreeMap<String, User>,
    pub(crate) roles: BTreeMap<String, Role>,
}

fn union(one: Access, other: Access) -> Access {
    if one == other { one } else { Access::ReadWrite }
}
