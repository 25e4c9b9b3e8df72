//! Reads of users, roles and the state of authentication.

use bytes::Bytes;

use super::{
    Permissions,
    rows::{AuthState, Role, User, read_name, secret},
};
use crate::{error::Fault, read::Reader, rows::Family, rows::Row};

impl Reader<'_> {
    /// Returns the state of authentication.
    ///
    /// # Errors
    /// When the engine cannot read, or the row does not decode.
    pub fn auth(&self) -> Result<AuthState, Fault> {
        AuthState::load(self.view)
    }

    /// Returns the secret that signs tokens; `None` while authentication is disabled, and after a
    /// restore until authentication is enabled once more.
    ///
    /// # Errors
    /// When the engine cannot read.
    pub fn token_secret(&self) -> Result<Option<Bytes>, Fault> {
        secret(self.view)
    }

    /// Returns a user.
    ///
    /// # Errors
    /// When the engine cannot read, or the row does not decode.
    pub fn user(&self, name: &str) -> Result<Option<User>, Fault> {
        User::load(self.view, name)
    }

    /// Returns every user, by name.
    ///
    /// # Errors
    /// As [`Reader::user`].
    pub fn users(&self) -> Result<Vec<(String, User)>, Fault> {
        let rows = Family::User.rows(self.view)?.into_iter();
        let users = rows.map(|(row, user)| {
            let name = read_name(Family::User, &row)?;
            Ok((name, User::decode(&user)?))
        });
        users.collect()
    }

    /// Returns a role.
    ///
    /// # Errors
    /// As [`Reader::user`].
    pub fn role(&self, name: &str) -> Result<Option<Role>, Fault> {
        Role::load(self.view, name)
    }

    /// Returns every role, by name.
    ///
    /// # Errors
    /// As [`Reader::user`].
    pub fn roles(&self) -> Result<Vec<(String, Role)>, Fault> {
        let rows = Family::Role.rows(self.view)?.into_iter();
        let roles = rows.map(|(row, role)| {
            let name = read_name(Family::Role, &row)?;
            Ok((name, Role::decode(&role)?))
        });
        roles.collect()
    }

    /// Returns the permissions of a user, computed anew; see [`crate::PermissionCache`].
    ///
    /// # Errors
    /// As [`Reader::user`].
    pub fn permissions(&self, name: &str) -> Result<Option<Permissions>, Fault> {
        let user = self.user(name)?;
        user.map(|user| Permissions::of(self.view, name, &user))
            .transpose()
    }
}
