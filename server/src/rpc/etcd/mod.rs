//! etcd's services.

pub(super) mod auth;
pub(super) mod cluster;
pub(super) mod election;
pub(super) mod kv;
pub(super) mod lease;
pub(super) mod lock;
pub(super) mod maintenance;
pub(super) mod watch;
pub(super) mod wording;
