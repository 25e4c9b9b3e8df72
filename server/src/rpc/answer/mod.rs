//! Responses: replies and failures in their wire form, and the memory of large ones.

pub(super) mod bulk;
pub(super) mod chunks;
pub(super) mod failure;
pub(super) mod large;
pub(super) mod outbox;
pub(super) mod refusal;
pub(super) mod reply;
pub(super) mod share;
pub(super) mod status;
pub(super) mod written;
