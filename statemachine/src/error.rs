//! Refusals, which are answers, and faults, which stop the node.

use thiserror::Error;

use crate::types::Revision;

/// A deterministic "no": part of the replicated result, equal on every replica, changing nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// `ignore_value` or `ignore_lease` on a key that does not exist.
    #[error("key not found")]
    KeyNotFound,
    /// The lease does not exist.
    #[error("lease not found")]
    LeaseNotFound,
    /// The lease exists already.
    #[error("lease exists already")]
    LeaseExists,
    /// The revision lies below the floor.
    #[error("revision is compacted; the floor is {floor}")]
    Compacted {
        /// The oldest readable revision.
        floor: Revision,
    },
    /// The revision lies in the future.
    #[error("revision is in the future; the latest is {latest}")]
    FutureRevision {
        /// The latest revision.
        latest: Revision,
    },
    /// The space quota is exhausted and the command would need space.
    #[error("space quota exhausted")]
    NoSpace,
    /// The data of a member is known to differ; nothing is served.
    #[error("data is corrupt")]
    Corrupt,
}

/// The engine failed, or what it holds cannot be true. The node must stop.
#[derive(Debug, Error)]
pub enum Fault {
    /// The engine could not read or write.
    #[error("state engine failed")]
    Engine(#[from] EngineError),
    /// Bytes of the state do not decode.
    #[error("state is damaged: {0}")]
    Damaged(String),
    /// A committed command does not decode.
    #[error("command does not decode: {0}")]
    Command(String),
}

/// The engine could not read or write.
#[derive(Debug, Error)]
#[error("{context}")]
pub struct EngineError {
    /// What was being done.
    pub context: String,
    /// What the engine said.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Why a read has no answer: a refusal, or a fault.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The request cannot be answered; the node is fine.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The node must stop.
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<EngineError> for ReadError {
    fn from(error: EngineError) -> Self {
        Self::Fault(Fault::Engine(error))
    }
}
