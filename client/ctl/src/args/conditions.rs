//! Options shared by commands that write: guards and the idempotency key.

use clap::Args;

use super::values::{GuardArg, guard, idempotency_key};

/// Guards of a write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Conditions")]
pub struct Guards {
    /// Write only while the lock or election NAME is held under TOKEN; may be repeated
    #[arg(long = "guard", value_name = "NAME=TOKEN", value_parser = guard)]
    pub guards: Vec<GuardArg>,
}

/// Guards and idempotency key of a write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Conditions")]
pub struct Conditions {
    #[command(flatten)]
    pub guards: Guards,
    /// Idempotency key: a write with the same key within ten minutes is not executed again and
    /// returns the first answer
    #[arg(long, value_name = "KEY", value_parser = idempotency_key)]
    pub idempotency_key: Option<String>,
}

/// Arguments of a command that writes, with its conditions.
#[derive(Debug, Clone, Args)]
pub struct Writing<A: Args> {
    /// Arguments of the command.
    #[command(flatten)]
    pub args: A,
    #[command(flatten)]
    pub conditions: Conditions,
}

/// Arguments of an idempotent command, which needs no idempotency key, with its guards.
#[derive(Debug, Clone, Args)]
pub struct Guarded<A: Args> {
    /// Arguments of the command.
    #[command(flatten)]
    pub args: A,
    #[command(flatten)]
    pub guards: Guards,
}
