//! Why the node could not do what it was asked, by cause.
//!
//! The causes before a proposal has left are apart from those after it: the former invite another
//! try, the latter mean that the outcome is unknown.

use thiserror::Error;

/// Why a write has no outcome to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProposeError {
    /// No leader is known. Nothing was proposed.
    #[error("no leader")]
    NoLeader,
    /// Too much is waiting to be proposed or applied. Nothing was proposed.
    #[error("too many requests")]
    Overloaded,
    /// The command is larger than the log takes. Nothing was proposed.
    #[error("request is too large")]
    TooLarge,
    /// The feature level that the command belongs to is not in force. Nothing was proposed.
    #[error("feature level is not in force")]
    LevelNotReached,
    /// The node is stopping. Nothing was proposed.
    #[error("server stopped")]
    Stopping,
    /// The proposal left, and its outcome did not arrive in time: it may or may not take effect.
    #[error("request timed out, outcome unknown")]
    TimedOut,
    /// The proposal left, and the leader was lost before its outcome arrived: it may or may not
    /// take effect.
    #[error("leader lost, outcome unknown")]
    LeaderLost,
}

/// Why a linearizable read could not be made. Reads change nothing: any of these may be retried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReadIndexError {
    /// No leader is known.
    #[error("no leader")]
    NoLeader,
    /// The leader changed while it was asked.
    #[error("leader changed")]
    LeaderChanged,
    /// The leader did not confirm itself in time, or this node did not catch up in time.
    #[error("request timed out")]
    TimedOut,
    /// The node is stopping.
    #[error("server stopped")]
    Stopping,
}

/// Why leadership could not be handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransferError {
    /// This node does not lead.
    #[error("not leader")]
    NotLeader,
    /// The target is no voting member.
    #[error("bad leader transferee")]
    BadTarget,
    /// The target has not answered this leader lately: a hand-over would only interrupt writes.
    #[error("leader transferee does not answer")]
    SilentTarget,
    /// The target did not take over in time.
    #[error("request timed out")]
    TimedOut,
    /// The node is stopping.
    #[error("server stopped")]
    Stopping,
}
