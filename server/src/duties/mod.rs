//! What a leader does without being asked: it ends leases that are due, wakes what waits for a
//! time, and compacts history.

mod auto_compaction;
mod expirer;
mod waker;

pub(crate) use self::auto_compaction::spawn as spawn_auto_compaction;
pub use self::{
    expirer::{Expirer, ExpirerSettings},
    waker::Waker,
};
