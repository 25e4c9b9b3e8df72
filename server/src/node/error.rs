//! Errors of the node's operations, one variant per cause.
//!
//! Causes before a proposal was sent allow a retry; those after it leave the outcome unknown.

use thiserror::Error;

/// Why a write has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// No leader is known. Nothing was proposed.
    #[error("no leader")]
    NoLeader,
    /// Too many commands wait to be proposed or applied. Nothing was proposed.
    #[error("too many requests")]
    Overloaded,
    /// The command exceeds the size limit of the log. Nothing was proposed.
    #[error("request is too large")]
    TooLarge,
    /// The command needs a feature level that is not in force. Nothing was proposed.
    #[error("feature level is not in force")]
    LevelNotReached,
    /// The node is stopping. Nothing was proposed.
    #[error("server stopped")]
    Stopping,
    /// The proposal was sent, without an outcome in time: it may or may not take effect.
    #[error("request timed out, outcome unknown")]
    TimedOut,
    /// The leader was lost after the proposal was sent: it may or may not take effect.
    #[error("leader lost, outcome unknown")]
    LeaderLost,
}

/// Why a linearizable read failed. Reads change nothing: all of these may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReadIndexError {
    /// No leader is known.
    #[error("no leader")]
    NoLeader,
    /// The leader changed during the request.
    #[error("leader changed")]
    LeaderChanged,
    /// A quorum did not confirm the leader in time, or this node did not catch up in time.
    #[error("request timed out")]
    TimedOut,
    /// The node is stopping.
    #[error("server stopped")]
    Stopping,
}

/// Why leadership was not transferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransferError {
    /// This node does not lead.
    #[error("not leader")]
    NotLeader,
    /// The target is not a voting member.
    #[error("bad leader transferee")]
    BadTarget,
    /// The target has not answered this leader lately: a transfer would only interrupt writes.
    #[error("leader transferee does not answer")]
    SilentTarget,
    /// The target did not become leader in time.
    #[error("request timed out")]
    TimedOut,
    /// The node is stopping.
    #[error("server stopped")]
    Stopping,
}
