//! The rows of users, roles and the state of authentication.
//!
//! The secret that signs tokens has a row of its own, because backups leave it out: whoever could
//! read an old backup could otherwise sign tokens.

use bytes::{BufMut, Bytes};

use crate::{
    encoding::{Decoder, Encoder, Malformed},
    engine::{Table, View},
    error::{Fault, damaged},
    rows::{Family, Overlay, Row},
    value::{AuthRevision, Permission, permission::place},
};

/// Layout version, the first byte of each of these rows.
const LAYOUT: u8 = 1;

/// The state of authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthState {
    /// Whether calls need a user.
    pub enabled: bool,
    /// Counts the changes of users, roles and permissions.
    pub revision: AuthRevision,
    /// The auth revision at which authentication was enabled last. Disabling it moves the revision,
    /// so this tells one secret of tokens from the next.
    pub enabled_at: AuthRevision,
    /// Number of users.
    pub users: u64,
    /// Number of roles.
    pub roles: u64,
}

impl Default for AuthState {
    fn default() -> Self {
        Self {
            enabled: false,
            revision: AuthRevision::FIRST,
            enabled_at: AuthRevision::FIRST,
            users: 0,
            roles: 0,
        }
    }
}

impl Row for AuthState {
    const DAMAGED: &'static str = "state of authentication is of an unknown layout";

    fn write_row(&self, out: &mut Encoder) {
        out.byte(LAYOUT);
        out.value(&self.enabled);
        out.fixed(self.revision);
        out.fixed(self.enabled_at);
        out.fixed(self.users);
        out.fixed(self.roles);
    }

    fn read_row(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.version(LAYOUT)?;
        Ok(Self {
            enabled: input.value()?,
            revision: input.fixed()?,
            enabled_at: input.fixed()?,
            users: input.fixed()?,
            roles: input.fixed()?,
        })
    }
}

impl AuthState {
    pub(crate) fn load(view: &dyn View) -> Result<Self, Fault> {
        let state = Self::find(view, Table::Cluster, Family::Auth.prefix())?;
        Ok(state.unwrap_or_default())
    }

    pub(crate) fn save(self, overlay: &mut Overlay) {
        let key = Bytes::from_static(Family::Auth.prefix());
        overlay.put(Table::Cluster, key, self.encode());
    }
}

/// A user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// The hash of the password; `None` for a user that cannot log in with one.
    pub password: Option<Bytes>,
    /// The auth revision at which the password was set. No two passwords of users of one name have
    /// the same.
    pub password_generation: u64,
    /// The auth revision at which the user was added: what an earlier user of the name owned is not
    /// the user's.
    pub added: AuthRevision,
    /// The roles, in order, none twice.
    pub roles: Vec<String>,
}

impl User {
    /// The role that may do everything. It need not exist.
    pub const ROOT: &'static str = "root";

    /// Whether the user may do everything.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.has_role(Self::ROOT)
    }

    /// Whether the user has a role.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.place(role).is_ok()
    }

    /// Returns the place of a role, or where it would be inserted.
    pub(crate) fn place(&self, role: &str) -> Result<usize, usize> {
        self.roles
            .binary_search_by(|known| known.as_str().cmp(role))
    }

    pub(crate) fn load(view: &dyn View, name: &str) -> Result<Option<Self>, Fault> {
        Self::find(view, Table::Cluster, &user_row(name))
    }

    pub(crate) fn save(&self, overlay: &mut Overlay, name: &str) {
        debug_assert!(
            self.roles.is_sorted_by(|a, b| a < b),
            "roles stay in order, none twice"
        );
        overlay.put(Table::Cluster, user_row(name), self.encode());
    }
}

impl Row for User {
    const DAMAGED: &'static str = "user is of an unknown layout";

    fn write_row(&self, out: &mut Encoder) {
        out.byte(LAYOUT);
        out.value(&self.password);
        out.value(&self.password_generation);
        out.value(&self.added);
        out.value(&self.roles);
    }

    fn read_row(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.version(LAYOUT)?;
        Ok(Self {
            password: input.value()?,
            password_generation: input.value()?,
            added: input.value()?,
            roles: input.value()?,
        })
    }
}

/// A role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    /// The permissions, by key and then by end; at most one for each range.
    pub permissions: Vec<Permission>,
}

impl Role {
    /// Returns the place of the permission for a range, or where it would be inserted.
    pub(crate) fn place(&self, range: &crate::value::KeyRange) -> Result<usize, usize> {
        let wanted = place(range);
        self.permissions
            .binary_search_by(|known| known.place().cmp(&wanted))
    }

    /// Returns the size of its ranges, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let bytes = self.permissions.iter().map(|permission| {
            let (start, end) = permission.place();
            start.len().saturating_add(end.len()) as u64
        });
        bytes.fold(0, u64::saturating_add)
    }

    pub(crate) fn load(view: &dyn View, name: &str) -> Result<Option<Self>, Fault> {
        Self::find(view, Table::Cluster, &role_row(name))
    }

    pub(crate) fn save(&self, overlay: &mut Overlay, name: &str) {
        debug_assert!(
            self.permissions.is_sorted_by(|a, b| a.place() < b.place()),
            "permissions stay in order, none twice"
        );
        overlay.put(Table::Cluster, role_row(name), self.encode());
    }
}

impl Row for Role {
    const DAMAGED: &'static str = "role is of an unknown layout";

    fn write_row(&self, out: &mut Encoder) {
        out.byte(LAYOUT);
        out.value(&self.permissions);
    }

    fn read_row(input: &mut Decoder<'_>) -> Result<Self, Malformed> {
        input.version(LAYOUT)?;
        Ok(Self {
            permissions: input.value()?,
        })
    }
}

pub(crate) fn user_row(name: &str) -> Bytes {
    named_row(Family::User, name)
}

pub(crate) fn role_row(name: &str) -> Bytes {
    named_row(Family::Role, name)
}

fn named_row(family: Family, name: &str) -> Bytes {
    let mut row = family.row(name.len());
    row.put_slice(name.as_bytes());
    row.freeze()
}

/// Returns the name in the key of a user's or a role's row.
pub(crate) fn read_name(family: Family, row: &[u8]) -> Result<String, Fault> {
    let name = family.rest(row).and_then(|name| str::from_utf8(name).ok());
    let name = name.filter(|name| !name.is_empty());
    name.map(str::to_owned)
        .ok_or_else(|| damaged("a user or a role has no name"))
}

/// Returns the secret that signs tokens.
pub(crate) fn secret(view: &dyn View) -> Result<Option<Bytes>, Fault> {
    Ok(view.get(Table::Cluster, Family::TokenSecret.prefix())?)
}

pub(crate) fn save_secret(overlay: &mut Overlay, secret: &Bytes) {
    let key = Bytes::from_static(Family::TokenSecret.prefix());
    overlay.put(Table::Cluster, key, secret.clone());
}

pub(crate) fn forget_secret(overlay: &mut Overlay) {
    let key = Bytes::from_static(Family::TokenSecret.prefix());
    overlay.delete(Table::Cluster, key);
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;
    use crate::{
        rows::assert_exact,
        value::{Access, KeyRange},
    };

    #[test]
    fn the_state_of_authentication_is_read_as_it_was_written() {
        let states = any::<(bool, [u64; 4])>();
        assert_exact(
            states.prop_map(|(enabled, [revision, at, users, roles])| AuthState {
                enabled,
                revision: AuthRevision(revision),
                enabled_at: AuthRevision(at),
                users,
                roles,
            }),
        );
    }

    #[test]
    fn users_are_read_as_they_were_written() {
        let password = option::of(vec(any::<u8>(), 0..70));
        let revisions = any::<(u64, u64)>();
        let users = (password, revisions, vec("[a-z]{1,9}", 0..5));
        assert_exact(
            users.prop_map(|(password, (password_generation, added), roles)| User {
                password: password.map(Bytes::from),
                password_generation,
                added: AuthRevision(added),
                roles,
            }),
        );
    }

    #[test]
    fn roles_are_read_as_they_were_written() {
        let access = prop_oneof![
            Just(Access::Read),
            Just(Access::Write),
            Just(Access::ReadWrite)
        ];
        let permission = (access, vec(any::<u8>(), 1..9), vec(any::<u8>(), 0..3));
        let permission = permission.prop_map(|(access, start, end)| Permission {
            access,
            range: KeyRange::from_wire(start.into(), end.into()),
        });
        assert_exact(vec(permission, 0..5).prop_map(|permissions| Role { permissions }));
    }
}
