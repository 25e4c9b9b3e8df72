//! Settings of the server: flags, variables and a file, validated into one [`Config`].
//!
//! Flags, `TENURE_*` variables, etcd's `ETCD_*` variables and a TOML file share one table of names
//! ([`flags`]). A flag takes precedence over a variable, a variable over the file. This module
//! neither prints nor exits: [`load`] returns the action to take, or every fault at once.
//!
//! Invariant: every `Config` has passed all checks, so readers do not check again.

mod arguments;
mod audit;
mod checked;
mod cluster;
mod duration;
mod fault;
mod file;
pub mod flags;
mod gates;
mod help;
pub mod identity;
mod load;
#[cfg(test)]
mod reference;
mod security;
mod settings;
mod sources;
mod suggestion;
mod token;
mod url;
mod validate;
mod variables;

pub use self::audit::AuditTarget;
pub use self::cluster::{FirstStart, InitialMember, Joining};
pub use self::fault::{ConfigErrors, ConfigFault, Origin, Warning};
pub use self::gates::FeatureGates;
pub use self::identity::member_id_at;
pub use self::load::{Invocation, from_process, load};
pub use self::security::{Certificate, ClusterSecret, TlsConfig};
pub use self::settings::{
    AutoCompaction, ClusterState, Config, DiskReserve, LogFormat, LogLevel, LogOutput,
    MetricsLevel, QuorumRecovery, SrvDiscovery,
};
pub use self::token::{JwtMethod, JwtOptions, TokenProvider};
pub use self::url::{Bind, Url};

/// The version of tenure.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
