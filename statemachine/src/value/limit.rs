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
}

encoding::choice! {
    Limit {
        1 = LeaseKeys,
        2 = LeaseWills,
        3 = WillBytes,
        4 = SessionBytes,
        5 = Leases,
        6 = Alarms,
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
        }
    }
}
