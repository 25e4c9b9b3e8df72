//! Options of `fence` and `session`.

use std::time::Duration;

use clap::{Args, Subcommand};
use tenure::LeaseId;

use super::{
    conditions::Guarded,
    values::{lease_id, token, ttl},
};

/// Fence commands.
#[derive(Debug, Subcommand)]
pub enum Fence {
    /// Prefixes below which only the holder of a lock may write
    #[command(subcommand)]
    Policy(Policy),
    /// Whether a token holds a lock: exit code 0 when it does, 1 when it does not
    Check {
        /// The lock or election
        name: String,
        /// The token
        #[arg(value_parser = token)]
        token: i64,
    },
}

/// Commands on fence policies.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Refuse writes below a prefix unless they carry a guard of a lock
    Set(Guarded<PolicyArgs>),
    /// List all policies
    List,
    /// Let everyone write below a prefix again
    Remove(Guarded<PrefixArgs>),
}

/// Options of `fence policy remove`.
#[derive(Debug, Clone, Args)]
pub struct PrefixArgs {
    /// The prefix
    pub prefix: String,
}

/// Options of `fence policy set`.
#[derive(Debug, Clone, Args)]
pub struct PolicyArgs {
    /// The prefix
    pub prefix: String,
    /// The lock or election
    pub lock: String,
}

/// Session commands.
#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Open a session; 'lease keep-alive' with its id keeps it
    Open {
        /// Seconds, or a duration, after which a session that stays silent ends
        #[arg(long, default_value = "60", value_name = "TTL", value_parser = ttl)]
        ttl: Duration,
    },
    /// End a session and its lease, with everything attached to it
    Close {
        /// The session, in hexadecimal
        #[arg(value_name = "SESSION", value_parser = lease_id)]
        id: LeaseId,
    },
    /// Print how long a session has left, what it remembers and what it claims
    Inspect {
        /// The session, in hexadecimal
        #[arg(value_name = "SESSION", value_parser = lease_id)]
        id: LeaseId,
    },
}
