//! Options of `register`, `discover`, `drain`, `deregister` and `watch-endpoints`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{EndpointArg, duration, endpoint, pair, token, ttl};

#[derive(Debug, Clone, Args)]
pub struct RegisterArgs {
    /// The service
    pub service: String,
    /// Id of the instance within the service
    pub id: String,
    /// Endpoint of the instance; may be repeated
    #[arg(
        long = "endpoint",
        required = true,
        value_name = "PROTOCOL://HOST:PORT",
        value_parser = endpoint
    )]
    pub served_at: Vec<EndpointArg>,
    /// Zone of the instance
    #[arg(long)]
    pub zone: Option<String>,
    /// A tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// A metadata entry; may be repeated
    #[arg(long = "meta", value_name = "NAME=VALUE", value_parser = pair)]
    pub metadata: Vec<(String, String)>,
    /// Share of the traffic, relative to other instances
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    pub weight: u16,
    /// Version of the program
    #[arg(long = "version", value_name = "TEXT")]
    pub program_version: Option<String>,
    /// Seconds, or a duration, after which a silent instance is removed
    #[arg(long, default_value = "10", value_name = "TTL", value_parser = ttl)]
    pub ttl: Duration,
    /// Register it as not ready for traffic
    #[arg(long)]
    pub not_ready: bool,
}

/// Readiness of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReadinessArg {
    /// Alive, not ready yet
    Starting,
    /// Ready for traffic
    Ready,
    /// Finishes its requests
    Draining,
    /// Temporarily not ready
    NotReady,
    /// All of these
    Any,
}

/// Selects instances; all given conditions must hold.
#[derive(Debug, Clone, Default, Args)]
pub struct SelectorArgs {
    /// Only instances with this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Only instances of this zone
    #[arg(long)]
    pub zone: Option<String>,
    /// Only instances with this metadata entry; may be repeated
    #[arg(long = "meta", value_name = "NAME=VALUE", value_parser = pair)]
    pub metadata: Vec<(String, String)>,
    /// Only instances of this version
    #[arg(long = "version", value_name = "TEXT")]
    pub program_version: Option<String>,
    /// Only instances of these readiness values, separated by commas; ready unless given
    #[arg(long, value_delimiter = ',')]
    pub readiness: Vec<ReadinessArg>,
    /// All instances when fewer than half are ready
    #[arg(long)]
    pub passing_or_all: bool,
}

/// Options of `discover` and `watch-endpoints`.
#[derive(Debug, Clone, Args)]
pub struct DiscoverArgs {
    /// The service
    pub service: String,
    #[command(flatten)]
    pub selector: SelectorArgs,
}

#[derive(Debug, Clone, Args)]
pub struct DrainArgs {
    #[command(flatten)]
    pub instance: InstanceArgs,
    /// Grace period until it is deregistered
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub grace: Duration,
}

#[derive(Debug, Clone, Args)]
pub struct InstanceArgs {
    /// The service
    pub service: String,
    /// The instance
    pub id: String,
    /// Only this incarnation of the instance; the registered one unless given
    #[arg(long, value_parser = token)]
    pub incarnation: Option<i64>,
}
