//! How much of something the state keeps, from [`FeatureLevel::PRICED`] on: what has no bound of
//! its own would fill disks, or make one command as long as its client likes.
//!
//! The check, a refusal, is `Limit::check` in `error.rs`. Invariant: what is refused for a limit
//! changes nothing, and what there was before the level stays.
//!
//! [`FeatureLevel::PRICED`]: crate::FeatureLevel::PRICED

use crate::encoding;

/// Keys attached to one lease. They end with it in one revision, so they are as many as one delete
/// may delete.
pub(crate) const LEASE_KEYS_MAX: u64 = 500_000;

/// Wills of one lease, which run or go with it in one command. A lease has one for each lock that
/// it holds, and one of its own; few hold more than a handful.
pub(crate) const LEASE_WILLS_MAX: u64 = 64;

/// Bytes of all wills, their rows' keys included. Hundreds of thousands of usual ones, and little
/// beside a key space; the quota does not count them.
pub(crate) const WILL_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Bytes of the outcomes that all sessions remember. A thousand usual ones of each of two thousand
/// sessions; the quota does not count them.
pub(crate) const SESSION_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Leases that there are at once. The leader holds a hundred bytes of each in memory.
pub(crate) const LEASES_MAX: u64 = 1_000_000;

/// Active alarms of one kind. A cluster has less than a tenth as many members, and one alarm of a
/// kind does as much as any number.
pub(crate) const ALARMS_MAX: u64 = 64;

/// What has a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Keys attached to one lease.
    LeaseKeys,
    /// Wills of one lease.
    LeaseWills,
    /// Bytes of all wills.
    WillBytes,
    /// Bytes of what all sessions remember.
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
    /// How much there may be.
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
