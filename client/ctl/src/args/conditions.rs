//! What writing commands take beside their own options: guards, and a name for the write.

use clap::Args;

use super::values::{GuardArg, guard, idempotency_key};

/// What must hold for a write to happen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Conditions")]
pub struct Guards {
    /// Write only while the lock or election NAME is held under TOKEN; may be repeated
    #[arg(long = "guard", value_name = "NAME=TOKEN", value_parser = guard)]
    pub guards: Vec<GuardArg>,
}

/// Conditions of a write that may be repeated.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Conditions")]
pub struct Conditions {
    /// What must hold.
    #[command(flatten)]
    pub guards: Guards,
    /// Name of this write: sent again with the same name it is not executed again, and answers what
    /// it answered first; remembered for ten minutes
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    pub idempotency_key: Option<String>,
}

/// A command that writes: its own options, and conditions.
#[derive(Debug, Clone, Args)]
pub struct Writing<A: Args> {
    /// Its own options.
    #[command(flatten)]
    pub args: A,
    /// Conditions.
    #[command(flatten)]
    pub conditions: Conditions,
}

/// A command that changes what is the same however often it is repeated, and so needs no name: its
/// own options, and guards.
#[derive(Debug, Clone, Args)]
pub struct Guarded<A: Args> {
    /// Its own options.
    #[command(flatten)]
    pub args: A,
    /// What must hold.
    #[command(flatten)]
    pub guards: Guards,
}
