//! Responses about users, roles and permissions.

use tenure_proto::{
    authpb::{self, permission::Type},
    etcdserverpb::{AuthRoleGetResponse, AuthStatusResponse, AuthUserGetResponse},
};

use super::{Header, impl_header};
use crate::range::KeyRange;

/// What a permission allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PermissionKind {
    /// Reading.
    Read,
    /// Writing, which does not include reading.
    Write,
    /// Both.
    ReadWrite,
}

/// A permission of a role: what it allows, and on which keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Permission {
    kind: PermissionKind,
    range: KeyRange,
}

impl Permission {
    /// A permission on a key, a prefix or a range of keys.
    #[must_use]
    pub fn new(kind: PermissionKind, range: impl Into<KeyRange>) -> Self {
        Self {
            kind,
            range: range.into(),
        }
    }

    fn of(message: authpb::Permission) -> Self {
        let kind = match message.perm_type() {
            Type::Read => PermissionKind::Read,
            Type::Write => PermissionKind::Write,
            Type::Readwrite => PermissionKind::ReadWrite,
        };
        Self::new(kind, KeyRange::between(message.key, message.range_end))
    }

    pub(crate) fn into_message(self) -> authpb::Permission {
        let perm_type = match self.kind {
            PermissionKind::Read => Type::Read,
            PermissionKind::Write => Type::Write,
            PermissionKind::ReadWrite => Type::Readwrite,
        };
        let (key, range_end) = self.range.into_parts();
        authpb::Permission {
            perm_type: perm_type.into(),
            key,
            range_end,
        }
    }

    /// What it allows.
    #[must_use]
    pub fn kind(&self) -> PermissionKind {
        self.kind
    }

    /// The keys that it covers.
    #[must_use]
    pub fn range(&self) -> &KeyRange {
        &self.range
    }
}

/// Whether permissions are enforced. Made by [`Access::status`](crate::Access::status).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccessStatus {
    header: Option<Header>,
    enabled: bool,
    revision: u64,
}

impl AccessStatus {
    pub(crate) fn of(message: AuthStatusResponse) -> Self {
        Self {
            header: Header::of(message.header),
            enabled: message.enabled,
            revision: message.auth_revision,
        }
    }

    /// Whether permissions are enforced.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// The revision of users and roles, which grows with each change of them.
    #[must_use]
    pub fn access_revision(&self) -> u64 {
        self.revision
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> AuthStatusResponse {
        AuthStatusResponse {
            header: self.header.map(Header::into_wire),
            enabled: self.enabled,
            auth_revision: self.revision,
        }
    }
}

impl_header!(AccessStatus);

/// A user and its roles. Made by [`Access::user`](crate::Access::user).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    header: Option<Header>,
    name: String,
    roles: Vec<String>,
}

impl User {
    pub(crate) fn of(name: String, message: AuthUserGetResponse) -> Self {
        Self {
            header: Header::of(message.header),
            name,
            roles: message.roles,
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The names of its roles, sorted.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        &self.roles
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> AuthUserGetResponse {
        AuthUserGetResponse {
            header: self.header.map(Header::into_wire),
            roles: self.roles,
        }
    }
}

impl_header!(User);

/// A role and its permissions. Made by [`Access::role`](crate::Access::role).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    header: Option<Header>,
    name: String,
    permissions: Vec<Permission>,
}

impl Role {
    pub(crate) fn of(name: String, message: AuthRoleGetResponse) -> Self {
        Self {
            header: Header::of(message.header),
            name,
            permissions: message.perm.into_iter().map(Permission::of).collect(),
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its permissions, sorted by key.
    #[must_use]
    pub fn permissions(&self) -> &[Permission] {
        &self.permissions
    }

    /// Converts into the generated protobuf message.
    #[cfg(feature = "wire")]
    #[must_use]
    pub fn into_wire(self) -> AuthRoleGetResponse {
        AuthRoleGetResponse {
            header: self.header.map(Header::into_wire),
            perm: self
                .permissions
                .into_iter()
                .map(Permission::into_message)
                .collect(),
        }
    }
}

impl_header!(Role);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permission_survives_the_way_over_the_wire() {
        for kind in [
            PermissionKind::Read,
            PermissionKind::Write,
            PermissionKind::ReadWrite,
        ] {
            for range in [
                KeyRange::key("a"),
                KeyRange::prefix("a/"),
                KeyRange::from_key("a"),
                KeyRange::all(),
            ] {
                let permission = Permission::new(kind, range);
                let message = permission.clone().into_message();
                assert_eq!(Permission::of(message), permission);
            }
        }
    }
}
