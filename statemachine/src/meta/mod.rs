//! Numbers about the state as a whole: the machine's counters, and totals of rows that are bounded.

mod counters;
mod totals;

pub use self::counters::Meta;
pub(crate) use self::totals::Totals;
