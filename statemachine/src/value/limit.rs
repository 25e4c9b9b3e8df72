//! Limits of the state, from [`FeatureLevel::PRICED`] on: without a bound, these items could fill
//! disks, or let a client make one command arbitrarily long.
//!
//! The check is `Limit::check` in `error.rs`. Invariant: a refusal for a limit changes nothing, and
//! state from before the level is kept.
//!
//! [`FeatureLevel::PRICED`]: crate::FeatureLevel::PRICED

use crate::encoding;

/// Most keys attached to one lease. They are deleted with it in one revision, so the bound is that
/// of one delete.
pub(crate) const LEASE_KEYS_MAX: u64 = 500_000;

/// Most wills of one lease, which run or are removed with it in one command. A lease has one for
/// each lock that it holds, and one of its own; few hold more than a handful.
pub(crate) const LEASE_WILLS_MAX: u64 = 64;

/// Most bytes of all wills, including their rows' keys. Hundreds of thousands of usual ones, and
/// little compared with a key space; the quota does not count them.
pub(crate) const WILL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Most bytes of the outcomes that all sessions remember. A thousand usual ones of each of two
/// thousand sessions; the quota does not count them.
pub(crate) const SESSION_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Most leases at once. The leader keeps a hundred bytes of each in memory.
pub(crate) const LEASES_MAX: u64 = 1_000_000;

/// Most active alarms of one kind. A cluster has less than a tenth as many members, and one alarm
/// of a kind has the same effect as several.
pub(crate) const ALARMS_MAX: u64 = 64;

/// Most bytes of the name of a user or a role. Every command of a user carries its name.
pub(crate) const AUTH_NAME_BYTES_MAX: u64 = 256;

/// Most bytes of the hash of a password. One of bcrypt has 60; those of other methods, which may
/// come from another store, are not much longer.
pub(crate) const PASSWORD_HASH_BYTES_MAX: u64 = 512;

/// Most users. Deleting a role looks at all of them in one command: a few milliseconds.
pub(crate) const USERS_MAX: u64 = 10_000;

/// Most roles; as many as users, because many clusters have a role for each.
pub(crate) const ROLES_MAX: u64 = 10_000;

/// Most roles of one user. The permissions of all are merged when the user makes a call.
pub(crate) const USER_ROLES_MAX: u64 = 64;

/// Most permissions of one role. A role is stored as one row, which every change rewrites.
pub(crate) const ROLE_PERMISSIONS_MAX: u64 = 1000;

/// Most bytes of the ranges of one role's permissions: 1000 usual ones. With the most roles, one
/// user's take 4 MiB of memory.
pub(crate) const ROLE_BYTES_MAX: u64 = 64 * 1024;

/// A limited quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Keys attached to one lease.
    LeaseKeys,
    /// Wills of one lease.
    LeaseWills,
    /// Bytes of all wills.
    WillBytes,
    /// Bytes of the outcomes that all sessions remember.
    SessionBytes,
    /// Leases.
    Leases,
    /// Active alarms of one kind.
    Alarms,
    /// Bytes of the name of a user or a role.
    AuthNameBytes,
    /// Bytes of the hash of a password.
    PasswordHashBytes,
    /// Users.
    Users,
    /// Roles.
    Roles,
    /// Roles of one user.
    UserRoles,
    /// Permissions of one role.
    RolePermissions,
    /// Bytes of the permissions of one role.
    RoleBytes,
}

encoding::choice! {
    Limit {
        1 = LeaseKeys,
        2 = LeaseWills,
        3 = WillBytes,
        4 = SessionBytes,
        5 = Leases,
        6 = Alarms,
        20 = AuthNameBytes,
        21 = PasswordHashBytes,
        22 = Users,
        23 = Roles,
        24 = UserRoles,
        25 = RolePermissions,
        26 = RoleBytes,
    } "unknown limit"
}

impl Limit {
    /// Returns the maximum.
    pub(crate) const fn max(self) -> u64 {
        match self {
            Self::LeaseKeys => LEASE_KEYS_MAX,
            Self::LeaseWills => LEASE_WILLS_MAX,
            Self::WillBytes => WILL_BYTES_MAX,
            Self::SessionBytes => SESSION_BYTES_MAX,
            Self::Leases => LEASES_MAX,
            Self::Alarms => ALARMS_MAX,
            Self::AuthNameBytes => AUTH_NAME_BYTES_MAX,
            Self::PasswordHashBytes => PASSWORD_HASH_BYTES_MAX,
            Self::Users => USERS_MAX,
            Self::Roles => ROLES_MAX,
            Self::UserRoles => USER_ROLES_MAX,
            Self::RolePermissions => ROLE_PERMISSIONS_MAX,
            Self::RoleBytes => ROLE_BYTES_MAX,
        }
    }
}
