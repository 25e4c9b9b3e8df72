//! The modes of a claim.

use crate::encoding;

/// How much of a lock a claim asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Alone.
    #[default]
    Exclusive,
    /// Together with other shared claims.
    Shared,
    /// So many of the lock's permits.
    Permits {
        /// How many; from 1 to `limit`.
        count: u32,
        /// How many there are in all.
        limit: u32,
    },
}

encoding::choice! {
    Mode { 0 = Exclusive, 1 = Shared, 2 = Permits { count, limit } } "unknown mode"
}
