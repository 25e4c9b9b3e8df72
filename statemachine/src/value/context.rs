//! The input of `apply` beside the state and the command.

use crate::value::ClusterTime;

/// The position and time at which a command was committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// Log index of the entry that carries the command.
    pub index: u64,
    /// Term of the entry.
    pub term: u64,
    /// The leader's stamp. The machine uses the greatest so far, so time never goes back.
    pub now: ClusterTime,
}
