//! Values: named numbers, records, ranges of keys, limits and modes.
//!
//! Data and arithmetic, independent of the state.

mod alarm;
mod context;
pub(crate) mod limit;
mod mode;
mod range;
mod types;

pub use self::{
    alarm::AlarmKind,
    context::Context,
    limit::Limit,
    mode::Mode,
    range::{KeyRange, RangeEnd},
    types::{ClusterTime, KeyValue, LeaseId, MemberId, Revision, Ttl},
};
