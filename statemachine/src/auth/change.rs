//! Changes of users, roles and permissions.
//!
//! Invariant: while authentication is enabled, the user `root` exists and has the role `root`.

use bytes::Bytes;

use crate::{
    access::{
        Role, User,
        rows::{forget_secret, read_name, role_row, save_secret, secret, user_row},
    },
    command::AuthChange,
    engine::Table,
    error::{Fault, ReadError, Refusal},
    feature::FeatureLevel,
    rows::{Family, Row},
    transition::Transition,
    value::{AuthRevision, KeyRange, Limit, Permission, permission::is_grantable},
};

impl Transition<'_> {
    /// Changes users, roles or permissions.
    pub(crate) fn change_auth(&mut self, change: &AuthChange) -> Result<(), ReadError> {
        let needed = FeatureLevel::AUTHENTICATED;
        if self.meta.level < needed {
            return Err(Refusal::LevelTooLow { needed }.into());
        }
        match change {
            AuthChange::Enable { secret } => self.enable_auth(secret),
            AuthChange::Disable => {
                self.disable_auth();
                Ok(())
            }
            AuthChange::UserAdd { user, password } => self.add_user(user, password.as_ref()),
            AuthChange::UserDelete(user) => self.delete_user(user),
            AuthChange::UserSetPassword { user, password } => self.set_password(user, password),
            AuthChange::UserGrantRole { user, role } => self.grant_role(user, role),
            AuthChange::UserRevokeRole { user, role } => self.revoke_role(user, role),
            AuthChange::RoleAdd(role) => self.add_role(role),
            AuthChange::RoleDelete(role) => self.delete_role(role),
            AuthChange::RoleGrantPermission { role, permission } => {
                self.grant_permission(role, permission)
            }
            AuthChange::RoleRevokePermission { role, range } => self.revoke_permission(role, range),
        }
    }

    /// When authentication is enabled already, it only stores the secret that a restored state is
    /// without. As in etcd, the auth revision stays.
    fn enable_auth(&mut self, offered: &Bytes) -> Result<(), ReadError> {
        if offered.len() != AuthChange::SECRET_LEN {
            return Err(Refusal::InvalidAuthManagement.into());
        }
        if !self.gate.state.enabled {
            let root = User::load(self.overlay, User::ROOT)?.ok_or(Refusal::RootUserMissing)?;
            if !root.is_root() {
                return Err(Refusal::RootRoleMissing.into());
            }
            self.gate.state.enabled = true;
            self.meta.authenticates = true;
            self.gate.state.enabled_at = self.gate.state.revision;
            self.gate.state.save(self.overlay);
            self.effects.facts.auth_changed = true;
        }
        if secret(self.overlay)?.is_none() {
            save_secret(self.overlay, offered);
        }
        Ok(())
    }

    fn disable_auth(&mut self) {
        if self.gate.state.enabled {
            self.gate.state.enabled = false;
            self.meta.authenticates = false;
            forget_secret(self.overlay);
            self.next_auth_revision();
        }
    }

    fn add_user(&mut self, name: &str, password: Option<&Bytes>) -> Result<(), ReadError> {
        if name.is_empty() {
            return Err(Refusal::UserEmpty.into());
        }
        if User::load(self.overlay, name)?.is_some() {
            return Err(Refusal::UserExists.into());
        }
        Limit::AuthNameBytes.check(name.len() as u64)?;
        let hash_bytes = password.map_or(0, Bytes::len) as u64;
        Limit::PasswordHashBytes.check(hash_bytes)?;
        let users = self.gate.state.users.saturating_add(1);
        Limit::Users.check(users)?;
        self.gate.state.users = users;
        let added = self.next_auth_revision();
        let user = User {
            password: password.cloned(),
            password_generation: added,
            added: AuthRevision(added),
            roles: Vec::new(),
        };
        user.save(self.overlay, name);
        Ok(())
    }

    fn delete_user(&mut self, name: &str) -> Result<(), ReadError> {
        if self.gate.state.enabled && name == User::ROOT {
            return Err(Refusal::InvalidAuthManagement.into());
        }
        self.user_to_change(name)?;
        self.overlay.delete(Table::Cluster, user_row(name));
        let users = &mut self.gate.state.users;
        debug_assert!(*users > 0, "a user that is deleted is counted");
        *users = users.saturating_sub(1);
        self.next_auth_revision();
        Ok(())
    }

    fn set_password(&mut self, name: &str, password: &Bytes) -> Result<(), ReadError> {
        let mut user = self.user_to_change(name)?;
        Limit::PasswordHashBytes.check(password.len() as u64)?;
        user.password = user.password.map(|_| password.clone());
        user.password_generation = self.next_auth_revision();
        user.save(self.overlay, name);
        Ok(())
    }

    fn grant_role(&mut self, name: &str, role: &str) -> Result<(), ReadError> {
        let mut user = self.user_to_change(name)?;
        if role != User::ROOT {
            self.role_to_change(role)?;
        }
        let Err(place) = user.place(role) else {
            return Ok(());
        };
        Limit::UserRoles.check(user.roles.len().saturating_add(1) as u64)?;
        user.roles.insert(place, role.to_owned());
        user.save(self.overlay, name);
        self.next_auth_revision();
        Ok(())
    }

    fn revoke_role(&mut self, name: &str, role: &str) -> Result<(), ReadError> {
        let is_roots = name == User::ROOT && role == User::ROOT;
        if self.gate.state.enabled && is_roots {
            return Err(Refusal::InvalidAuthManagement.into());
        }
        let mut user = self.user_to_change(name)?;
        let place = user.place(role).map_err(|_| Refusal::RoleNotGranted)?;
        user.roles.remove(place);
        user.save(self.overlay, name);
        self.next_auth_revision();
        Ok(())
    }

    fn add_role(&mut self, name: &str) -> Result<(), ReadError> {
        if name.is_empty() {
            return Err(Refusal::RoleEmpty.into());
        }
        if Role::load(self.overlay, name)?.is_some() {
            return Err(Refusal::RoleExists.into());
        }
        Limit::AuthNameBytes.check(name.len() as u64)?;
        let roles = self.gate.state.roles.saturating_add(1);
        Limit::Roles.check(roles)?;
        self.gate.state.roles = roles;
        Role::default().save(self.overlay, name);
        self.next_auth_revision();
        Ok(())
    }

    fn delete_role(&mut self, name: &str) -> Result<(), ReadError> {
        if self.gate.state.enabled && name == User::ROOT {
            return Err(Refusal::InvalidAuthManagement.into());
        }
        self.role_to_change(name)?;
        self.take_from_all(name)?;
        self.overlay.delete(Table::Cluster, role_row(name));
        let roles = &mut self.gate.state.roles;
        debug_assert!(*roles > 0, "a role that is deleted is counted");
        *roles = roles.saturating_sub(1);
        self.next_auth_revision();
        Ok(())
    }

    fn take_from_all(&mut self, role: &str) -> Result<(), Fault> {
        for (row, user) in Family::User.rows(self.overlay)? {
            let mut user = User::decode(&user)?;
            if let Ok(place) = user.place(role) {
                user.roles.remove(place);
                user.save(self.overlay, &read_name(Family::User, &row)?);
            }
        }
        Ok(())
    }

    fn grant_permission(&mut self, name: &str, permission: &Permission) -> Result<(), ReadError> {
        if !is_grantable(&permission.range) {
            return Err(Refusal::InvalidAuthManagement.into());
        }
        let mut role = self.role_to_change(name)?;
        match role.place(&permission.range) {
            Ok(place) => {
                if let Some(known) = role.permissions.get_mut(place) {
                    known.access = permission.access;
                }
            }
            Err(place) => {
                role.permissions.insert(place, permission.clone());
                Limit::RolePermissions.check(role.permissions.len() as u64)?;
                Limit::RoleBytes.check(role.bytes())?;
            }
        }
        role.save(self.overlay, name);
        self.next_auth_revision();
        Ok(())
    }

    fn revoke_permission(&mut self, name: &str, range: &KeyRange) -> Result<(), ReadError> {
        let mut role = self.role_to_change(name)?;
        let place = role
            .place(range)
            .map_err(|_| Refusal::PermissionNotGranted)?;
        role.permissions.remove(place);
        role.save(self.overlay, name);
        self.next_auth_revision();
        Ok(())
    }

    fn user_to_change(&self, name: &str) -> Result<User, ReadError> {
        let user = User::load(self.overlay, name)?;
        user.ok_or_else(|| Refusal::UserNotFound.into())
    }

    fn role_to_change(&self, name: &str) -> Result<Role, ReadError> {
        let role = Role::load(self.overlay, name)?;
        role.ok_or_else(|| Refusal::RoleNotFound.into())
    }

    /// Moves the auth revision, stores the state of authentication, and returns the new revision.
    fn next_auth_revision(&mut self) -> u64 {
        self.effects.facts.auth_changed = true;
        let state = &mut *self.gate.state;
        state.revision = state.revision.next();
        state.save(self.overlay);
        state.revision.0
    }
}
