//! Duties of the leader that no request triggers: expiry of leases, timers, and automatic
//! compaction.

mod auto_compaction;
mod expirer;
mod waker;

pub(crate) use self::auto_compaction::spawn as spawn_auto_compaction;
pub use self::{
    expirer::{Expirer, ExpirerSettings},
    waker::Waker,
};
