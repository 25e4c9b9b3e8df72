//! Values: named numbers, records, ranges of keys, limits and modes.
//!
//! Data and arithmetic, independent of the state.

mod alarm;
mod context;
pub(crate) mod limit;
mod mode;
pub(crate) mod permission;
mod range;
mod types;

pub use self::{
    alarm::AlarmKind,
    context::Context,
    limit::Limit,
    mode::Mode,
    permission::{Access, Permission},
    range::{KeyRange, RangeEnd},
    types::{AuthRevision, ClusterTime, KeyValue, LeaseId, MemberId, Revision, Ttl},
};
