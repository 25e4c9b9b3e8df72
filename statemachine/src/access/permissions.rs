//! The permissions of a user: the union of those of its roles.

use super::{
    Owner,
    intervals::Intervals,
    rows::{Role, User},
};
use crate::{
    engine::View,
    error::Fault,
    value::{AuthRevision, KeyRange, Permission},
};

/// What a user may read and write, at one auth revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    user: String,
    added: AuthRevision,
    is_root: bool,
    password_generation: u64,
    read: Intervals,
    write: Intervals,
}

impl Permissions {
    /// Merges the permissions of all roles of a user. Roles that do not exist give none.
    pub(crate) fn of(view: &dyn View, name: &str, user: &User) -> Result<Self, Fault> {
        let mut granted = Vec::new();
        for role in &user.roles {
            if let Some(role) = Role::load(view, role)? {
                granted.extend(role.permissions);
            }
        }
        let ranges = |wanted: fn(&Permission) -> bool| {
            let found = granted.iter().filter(move |it| wanted(it));
            Intervals::of(found.map(|permission| &permission.range))
        };
        Ok(Self {
            user: name.to_owned(),
            added: user.added,
            is_root: user.is_root(),
            password_generation: user.password_generation,
            read: ranges(|permission| permission.access.reads()),
            write: ranges(|permission| permission.access.writes()),
        })
    }

    /// The name of the user.
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// The auth revision at which the user was added.
    #[must_use]
    pub const fn added(&self) -> AuthRevision {
        self.added
    }

    /// The user, as the owner of what it makes.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner {
            added: self.added,
            name: self.user.clone(),
        }
    }

    /// Whether the user may do everything.
    #[must_use]
    pub const fn is_root(&self) -> bool {
        self.is_root
    }

    /// The generation of the password, which tokens name; see [`User::password_generation`].
    #[must_use]
    pub const fn password_generation(&self) -> u64 {
        self.password_generation
    }

    /// Whether the user may read every key of `range`.
    #[must_use]
    pub fn may_read(&self, range: &KeyRange) -> bool {
        self.is_root || self.read.cover(range)
    }

    /// Whether the user may write every key of `range`.
    #[must_use]
    pub fn may_write(&self, range: &KeyRange) -> bool {
        self.is_root || self.write.cover(range)
    }

    pub(super) const fn read(&self) -> &Intervals {
        &self.read
    }

    pub(super) const fn write(&self) -> &Intervals {
        &self.write
    }

    /// Returns its size, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let ranges = self.read.bytes().saturating_add(self.write.bytes());
        ranges.saturating_add(self.user.len())
    }
}
