//! Options of `fence` and `session`.

use std::time::Duration;

use clap::{Args, Subcommand};
use tenure::LeaseId;

use super::{
    conditions::Guarded,
    values::{lease_id, token, ttl},
};

#[derive(Debug, Subcommand)]
pub enum Fence {
    /// Manage prefixes that only the holder of a lock may write
    #[command(subcommand)]
    Policy(Policy),
    /// Check whether a token holds a lock: exit code 0 when it does, 1 when it does not
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
    /// Allow unguarded writes below a prefix again
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

#[derive(Debug, Subcommand)]
pub enum SessionCommand {
    /// Open a session; 'lease keep-alive' with its id renews it
    Open {
        /// Seconds, or a duration, after which a session without renewal ends
        #[arg(long, default_value = "60", value_name = "TTL", value_parser = ttl)]
        ttl: Duration,
    },
    /// Close a session and delete everything attached to its lease
    Close {
        /// The session, in hexadecimal
        #[arg(value_name = "SESSION", value_parser = lease_id)]
        id: LeaseId,
    },
    /// Print the remaining time, remembered outcomes and claims of a session
    Inspect {
        /// The session, in hexadecimal
        #[arg(value_name = "SESSION", value_parser = lease_id)]
        id: LeaseId,
    },
}
