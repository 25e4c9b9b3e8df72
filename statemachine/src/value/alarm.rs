//! Kinds of alarm.

use crate::encoding;

/// Kinds of alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// The space quota of a member is exhausted.
    NoSpace,
    /// The data of a member differs from the others'.
    Corrupt,
}

encoding::choice! {
    AlarmKind { 1 = NoSpace, 2 = Corrupt } "unknown alarm"
}
