//! Requests: decoding into commands and queries, and the refusals that need no state.

pub(super) mod conditions;
pub(super) mod downgrade;
pub(super) mod far_walks;
pub(super) mod field;
pub(super) mod freshness;
pub(super) mod nesting;
pub(super) mod overlap;
pub(super) mod request;
