//! Options of `register`, `discover`, `drain`, `deregister` and `watch-endpoints`.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::values::{EndpointArg, duration, endpoint, pair, token, ttl};

/// Options of `register`.
#[derive(Debug, Clone, Args)]
pub struct RegisterArgs {
    /// The service
    pub service: String,
    /// The instance: its name within the service
    pub id: String,
    /// Where it is reached; may be repeated
    #[arg(
        long = "endpoint",
        required = true,
        value_name = "PROTOCOL://HOST:PORT",
        value_parser = endpoint
    )]
    pub served_at: Vec<EndpointArg>,
    /// Where it runs
    #[arg(long)]
    pub zone: Option<String>,
    /// A tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// A pair of metadata; may be repeated
    #[arg(long = "meta", value_name = "NAME=VALUE", value_parser = pair)]
    pub metadata: Vec<(String, String)>,
    /// Share of the traffic, relative to other instances
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    pub weight: u16,
    /// Version of the program
    #[arg(long = "version", value_name = "TEXT")]
    pub program_version: Option<String>,
    /// Seconds, or a duration, after which an instance that stays silent is removed
    #[arg(long, default_value = "10", value_name = "TTL", value_parser = ttl)]
    pub ttl: Duration,
    /// Register it as alive, but not for traffic
    #[arg(long)]
    pub not_ready: bool,
}

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReadinessArg {
    /// Alive, not yet to be used
    Starting,
    /// Wants traffic
    Ready,
    /// Finishes what is under way
    Draining,
    /// Alive, not to be used
    NotReady,
    /// All of these
    Any,
}

/// Which instances are wanted; all that is given must hold.
#[derive(Debug, Clone, Default, Args)]
pub struct SelectorArgs {
    /// Only instances with this tag; may be repeated
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    /// Only instances of this zone
    #[arg(long)]
    pub zone: Option<String>,
    /// Only instances with this pair of metadata; may be repeated
    #[arg(long = "meta", value_name = "NAME=VALUE", value_parser = pair)]
    pub metadata: Vec<(String, String)>,
    /// Only instances of this version
    #[arg(long = "version", value_name = "TEXT")]
    pub program_version: Option<String>,
    /// Only instances that are so far, separated by commas; ready unless given
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
    /// Which instances.
    #[command(flatten)]
    pub selector: SelectorArgs,
}

/// Options of `drain`.
#[derive(Debug, Clone, Args)]
pub struct DrainArgs {
    /// Which instance.
    #[command(flatten)]
    pub instance: InstanceArgs,
    /// How long until it is removed
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub grace: Duration,
}

/// An instance that is registered.
#[derive(Debug, Clone, Args)]
pub struct InstanceArgs {
    /// The service
    pub service: String,
    /// The instance
    pub id: String,
    /// Only this life of the instance; whichever is registered unless given
    #[arg(long, value_parser = token)]
    pub incarnation: Option<i64>,
}
