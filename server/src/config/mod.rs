//! What an operator may set, and the one validated [`Config`] that everything else reads.
//!
//! Flags, `TENURE_*` variables and a TOML file share one table of names ([`flags`]). A flag beats a
//! variable, a variable beats the file. This module neither prints nor exits: [`load`] returns what
//! to do, or every fault at once.
//!
//! Invariant: a `Config` that exists has passed every check, so no reader checks again.

mod arguments;
mod cluster;
mod duration;
mod fault;
mod file;
pub mod flags;
mod help;
pub mod identity;
mod load;
#[cfg(test)]
mod reference;
mod settings;
mod sources;
mod suggestion;
mod url;
mod validate;
mod variables;

pub use self::cluster::{FirstStart, InitialMember};
pub use self::fault::{ConfigErrors, ConfigFault, Origin, Warning};
pub use self::load::{Invocation, from_process, load};
pub use self::settings::{
    AutoCompaction, ClusterState, Config, LogFormat, LogLevel, LogOutput, MetricsLevel,
};
pub use self::url::Url;

/// tenure's own version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
