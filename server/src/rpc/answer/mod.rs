//! Answers on their way out: replies and failures as the wire has them, and the memory that large
//! ones may hold.

pub(super) mod bulk;
pub(super) mod chunks;
pub(super) mod failure;
pub(super) mod large;
pub(super) mod outbox;
pub(super) mod refusal;
pub(super) mod reply;
pub(super) mod share;
pub(super) mod status;
