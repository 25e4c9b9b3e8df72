//! tenure's own services.

pub(super) mod election;
pub(super) mod fence;
pub(super) mod lock;
pub(super) mod member;
pub(super) mod registry;
pub(super) mod session;
