//! The modes of a claim.

use crate::encoding;

/// How much of a lock a claim requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Alone.
    #[default]
    Exclusive,
    /// Together with other shared claims.
    Shared,
    /// Some of the lock's permits.
    Permits {
        /// Number of permits; from 1 to `limit`.
        count: u32,
        /// Total number of permits.
        limit: u32,
    },
}

encoding::choice! {
    Mode { 0 = Exclusive, 1 = Shared, 2 = Permits { count, limit } } "unknown mode"
}
