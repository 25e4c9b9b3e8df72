//! Locks: exclusive, shared and counted, first come first served, with fencing tokens.
//!
//! Defines the requests and handles of locks; [`claim`](crate::claim) acquires, keeps and releases
//! claims, and the server decides which claim holds.

mod acquire;
mod guard;
mod modes;
mod request;
mod try_acquire;

#[cfg(test)]
mod tests;

use tenure_proto::v1::{Mode, mode::Kind};

pub use guard::LockGuard;
pub use modes::{RwLock, Semaphore};
pub use request::LockRequest;
#[cfg(test)]
pub(crate) use try_acquire::TryAcquire;

/// The mode of a claim on an exclusive lock.
pub(crate) fn exclusive() -> Mode {
    Mode {
        kind: Some(Kind::Exclusive(true)),
    }
}
