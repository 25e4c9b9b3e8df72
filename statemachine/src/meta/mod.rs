//! Counters of the state as a whole, and totals of rows that are bounded.

mod counters;
mod totals;

pub use self::counters::Meta;
pub(crate) use self::totals::Totals;
