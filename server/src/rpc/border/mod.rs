//! Requests on their way in: what can be refused by looking at a request alone is refused here.

pub(super) mod conditions;
pub(super) mod far_walks;
pub(super) mod field;
pub(super) mod freshness;
pub(super) mod nesting;
pub(super) mod overlap;
pub(super) mod request;
