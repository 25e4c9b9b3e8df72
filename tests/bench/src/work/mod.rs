//! What one client does, for each load.

mod discovery;
mod keys;
mod lease;
mod lock;
mod range;
mod swap;
mod watch;
mod write;

pub(crate) use discovery::Resolvers;
pub(crate) use keys::KeySpace;
pub(crate) use lease::{Granter, Renewer, Revoker};
pub(crate) use lock::Locker;
pub(crate) use range::{Mixer, Ranger};
pub(crate) use swap::Swapper;
pub(crate) use watch::FanOut;
pub(crate) use write::Putter;

use std::time::Instant;

use tonic::Status;

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// One operation was done.
    Done,
    /// There is nothing left to operate on; nothing was done.
    Exhausted,
}

/// One client: a step is one operation, and is what gets measured.
pub(crate) trait Work: Send + 'static {
    /// What must be there before the first step; may use the time until `until`.
    fn prepare(&mut self, _until: Instant) -> impl Future<Output = Result<(), Status>> + Send {
        async { Ok(()) }
    }

    /// One operation.
    fn step(&mut self) -> impl Future<Output = Result<Step, Status>> + Send;

    /// Takes back what would weigh on the cells that follow.
    fn finish(&mut self) -> impl Future<Output = Result<(), Status>> + Send {
        async { Ok(()) }
    }
}

/// An answer that breaks the contract; counts as a failed request.
fn broken(what: impl Into<String>) -> Status {
    Status::data_loss(what)
}
