//! Command line arguments: global flags, commands and their options.
//!
//! Names, defaults and meanings are etcdctl's.

mod access;
mod conditions;
mod copying;
mod keys;
mod lock;
mod order;
mod registry;
mod restore;
mod session;
mod values;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{
    Arg, ArgAction, Command as ClapCommand, CommandFactory, FromArgMatches, Parser, Subcommand,
    ValueEnum, parser::ValueSource, value_parser,
};
use clap_complete::Shell;
use tenure::{LeaseId, MemberId};

use values::{duration, member_id, name_server};

pub use access::{Access, Auth, Kind, RangeArgs, Reading, Role, User};
pub use conditions::{Conditions, Guarded, Guards, Writing};
pub use copying::{
    ArchiveArgs, ArchiveCommand, DestinationArgs, DiffArgs, MigrateArgs, MirrorArgs,
};
pub use keys::{DelArgs, GetArgs, PutArgs, WatchArgs};
pub use lock::{AcquireArgs, Elect, ElectArgs, ForceArgs, Lock, LockArgs};
pub use registry::{
    DiscoverArgs, DrainArgs, InstanceArgs, ReadinessArg, RegisterArgs, SelectorArgs,
};
pub use restore::RestoreArgs;
pub use session::{Fence, Policy, PolicyArgs, PrefixArgs, SessionCommand};
pub(crate) use values::lease_id;
pub use values::{EndpointArg, GuardArg, Permits};

use crate::{
    environment::{Lookup, unsupported, variable_for},
    failure::Failure,
};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "tenurectl",
    version,
    about = "Command line of the tenure coordination service, with etcdctl's verbs",
    after_help = "Every global option can be set by a variable: TENURECTL_<OPTION>, or \
                  ETCDCTL_<OPTION> when that is not set. Exit codes: 0 success, 1 the command \
                  failed, 2 wrong usage, 3 wrong input, 4 output format not supported, 5 watch \
                  ended by the server."
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Servers to talk to, separated by commas
    #[arg(
        long,
        global = true,
        default_value = "127.0.0.1:2379",
        value_delimiter = ','
    )]
    pub endpoints: Vec<String>,
    /// Format of the output
    #[arg(
        short,
        long,
        global = true,
        default_value = "simple",
        value_name = "FORMAT"
    )]
    pub write_out: Format,
    /// Print byte strings as hexadecimal
    #[arg(long, global = true)]
    pub hex: bool,
    /// How long a server may take to accept a connection
    #[arg(long, global = true, default_value = "2s", value_parser = duration)]
    pub dial_timeout: Duration,
    /// Deadline of a short command
    #[arg(long, global = true, default_value = "5s", value_parser = duration)]
    pub command_timeout: Duration,
    /// Whether the deadline was set, by flag or variable
    #[arg(skip)]
    pub command_timeout_given: bool,
    /// How often an open connection is probed
    #[arg(long, global = true, default_value = "10s", value_parser = duration)]
    pub keepalive_time: Duration,
    /// How long a probe may stay unanswered
    #[arg(long, global = true, default_value = "6s", value_parser = duration)]
    pub keepalive_timeout: Duration,
    /// Name, or name:password, of the user
    #[arg(long, global = true)]
    pub user: Option<String>,
    /// Password of the user
    #[arg(long, global = true, hide_env_values = true)]
    pub password: Option<String>,
    /// Authentication token to send, instead of one fetched with name and password
    #[arg(long, global = true, hide_env_values = true, value_name = "TOKEN")]
    pub auth_jwt_token: Option<String>,
    /// Verify the servers' certificates with the authorities in this file
    #[arg(long, global = true, value_name = "FILE")]
    pub cacert: Option<PathBuf>,
    /// Show the servers the certificate in this file
    #[arg(id = "tls_cert", long = "cert", global = true, value_name = "FILE")]
    pub cert: Option<PathBuf>,
    /// The key of that certificate
    #[arg(id = "tls_key", long = "key", global = true, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// Use plain text for endpoints without https:// unless an option of TLS is given
    #[arg(long, global = true, default_value_t = true, hide_default_value = true)]
    pub insecure_transport: bool,
    /// Accept every certificate of a server: for tests
    #[arg(long, global = true)]
    pub insecure_skip_tls_verify: bool,
    /// Find the servers by the SRV records of this domain
    #[arg(short = 'd', long, global = true, value_name = "DOMAIN")]
    pub discovery_srv: Option<String>,
    /// Suffix of the services in these records
    #[arg(long, global = true, value_name = "NAME")]
    pub discovery_srv_name: Option<String>,
    /// Name server to ask for them, with or without a port, instead of those of the system
    #[arg(long, global = true, value_name = "ADDRESS", value_parser = name_server)]
    pub discovery_dns_server: Option<SocketAddr>,
    /// Use servers without TLS, and certificates for other names than the domain
    #[arg(long, global = true, default_value_t = true, hide_default_value = true)]
    pub insecure_discovery: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Human-readable lines
    Simple,
    /// One JSON document per answer
    Json,
    /// One field per line
    Fields,
    /// A table
    Table,
}

impl Format {
    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Json => "json",
            Self::Fields => "fields",
            Self::Table => "table",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a key; without a value it is read from standard input
    Put(Writing<PutArgs>),
    /// Read a key or a range of keys
    Get(GetArgs),
    /// Delete a key or a range of keys
    Del(Writing<DelArgs>),
    /// Run a transaction read from standard input
    Txn {
        /// Prompt for the parts of the transaction
        #[arg(short, long)]
        interactive: bool,
        #[command(flatten)]
        conditions: Conditions,
    },
    /// Print changes of a key or a range of keys, or run a command for each of them
    Watch(WatchArgs),
    /// Grant, renew, inspect and revoke leases
    #[command(subcommand)]
    Lease(Lease),
    /// Compact the history before a revision
    #[command(visible_alias = "compact")]
    Compaction {
        /// Oldest revision to keep
        revision: i64,
        /// Wait until the compacted history is removed from the store
        #[arg(long)]
        physical: bool,
        #[command(flatten)]
        conditions: Conditions,
    },
    /// Acquire, list, inspect and forcibly release locks
    Lock(LockArgs),
    /// Campaign in an election, observe it, or hand it over
    Elect(ElectArgs),
    /// Register an instance of a service until a signal
    Register(RegisterArgs),
    /// List the instances of a service
    Discover(DiscoverArgs),
    /// Drain an instance: no new traffic now, deregistered later
    Drain(Guarded<DrainArgs>),
    /// Deregister an instance
    Deregister(Guarded<InstanceArgs>),
    /// Print the instances of a service, and every change of them
    WatchEndpoints(DiscoverArgs),
    /// Manage fence policies and check fencing tokens
    #[command(subcommand)]
    Fence(Fence),
    /// Open, close and inspect sessions
    #[command(subcommand)]
    Session(SessionCommand),
    /// Print status, health or hash of each endpoint
    Endpoint {
        /// Query all members of the cluster
        #[arg(long, global = true)]
        cluster: bool,
        /// The query
        #[command(subcommand)]
        command: Endpoint,
    },
    /// List and change the members of the cluster
    #[command(subcommand)]
    Member(Member),
    /// Recover a cluster whose quorum is lost for good
    #[command(subcommand)]
    Recover(Recover),
    /// Transfer leadership to another member
    MoveLeader {
        /// Member to become the leader, in hexadecimal
        #[arg(value_parser = member_id)]
        member: MemberId,
    },
    /// Enforce permissions or not, and print what a user may do
    #[command(subcommand)]
    Auth(Auth),
    /// Add, list and change users
    #[command(subcommand)]
    User(User),
    /// Add, list and change roles
    #[command(subcommand)]
    Role(Role),
    /// List and disarm alarms
    #[command(subcommand)]
    Alarm(Alarm),
    /// Defragment the store of each endpoint
    Defrag {
        /// All members of the cluster
        #[arg(long)]
        cluster: bool,
    },
    /// Save the data of a server, check it, and restore it
    #[command(subcommand)]
    Snapshot(Snapshot),
    /// Copy keys to another cluster, and every change of them
    MakeMirror(MirrorArgs),
    /// Move to another cluster while this one is in use
    Migrate(MigrateArgs),
    /// Keep a snapshot and every change after it in a folder, to restore any revision
    #[command(args_conflicts_with_subcommands = false)]
    Archive(ArchiveArgs),
    /// Print the keys that differ between two revisions
    Diff(DiffArgs),
    /// Measure the cluster
    #[command(subcommand)]
    Check(Check),
    /// Print the version
    Version,
    /// Print a script that completes commands in a shell
    Completion {
        /// The shell
        shell: Shell,
    },
}

#[derive(Debug, Subcommand)]
pub enum Lease {
    /// Grant a lease
    Grant {
        /// Seconds until it ends unless it is renewed
        ttl: i64,
        #[command(flatten)]
        conditions: Conditions,
    },
    /// Revoke a lease and delete its keys
    Revoke {
        /// The lease, in hexadecimal
        #[arg(value_name = "LEASE", value_parser = lease_id)]
        id: LeaseId,
        #[command(flatten)]
        conditions: Conditions,
    },
    /// Print the remaining time of a lease
    Timetolive {
        /// The lease, in hexadecimal
        #[arg(value_name = "LEASE", value_parser = lease_id)]
        id: LeaseId,
        /// Print the keys attached to it
        #[arg(long)]
        keys: bool,
    },
    /// List all leases
    List,
    /// Renew a lease until it expires or is revoked
    KeepAlive {
        /// The lease, in hexadecimal
        #[arg(value_name = "LEASE", value_parser = lease_id)]
        id: LeaseId,
        /// Renew once and exit
        #[arg(long)]
        once: bool,
    },
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Endpoint {
    /// Version, size, leader and progress
    Status,
    /// Check that requests are served; fails when any endpoint is unhealthy
    Health,
    /// Hash over the history of keys
    Hashkv {
        /// Last revision to hash; the latest unless set
        #[arg(long, default_value_t = 0)]
        rev: i64,
    },
}

#[derive(Debug, Subcommand)]
pub enum Recover {
    /// Compare what is left: which member to recover, and what may be lost
    #[command(
        after_help = "Name the members that are left with --endpoints. Nothing is changed. \
                            Exit code 1: there is nothing to recover, or nothing to recover from."
    )]
    Plan,
}

#[derive(Debug, Subcommand)]
pub enum Member {
    /// Add a member
    Add {
        #[command(flatten)]
        new: NewMember,
        /// Add it as a learner
        #[arg(long, conflicts_with = "wait")]
        learner: bool,
    },
    /// Remove a lost member, and add one in its place
    Replace {
        /// The lost member, in hexadecimal
        #[arg(value_name = "MEMBER", value_parser = member_id)]
        id: MemberId,
        #[command(flatten)]
        new: NewMember,
    },
    /// Remove a member permanently
    Remove {
        /// The member, in hexadecimal
        #[arg(value_name = "MEMBER", value_parser = member_id)]
        id: MemberId,
    },
    /// Change the peer URLs of a member
    Update {
        /// The member, in hexadecimal
        #[arg(value_name = "MEMBER", value_parser = member_id)]
        id: MemberId,
        /// Peer URLs of the member, separated by commas
        #[arg(long, value_delimiter = ',', required = true)]
        peer_urls: Vec<String>,
    },
    /// List all members
    List {
        /// Linearizable (l) or serializable (s)
        #[arg(long, default_value = "l")]
        consistency: Consistency,
    },
    /// Promote a learner to a voting member
    Promote {
        /// The member, in hexadecimal
        #[arg(value_name = "MEMBER", value_parser = member_id)]
        id: MemberId,
    },
}

/// A member to add.
#[derive(Debug, clap::Args)]
pub struct NewMember {
    /// Its name
    pub name: String,
    /// Peer URLs of the member, separated by commas
    #[arg(long, value_delimiter = ',', required = true)]
    pub peer_urls: Vec<String>,
    /// Wait until it votes, and print what it still waits for; ten minutes unless told
    #[arg(
        long,
        value_name = "LIMIT",
        value_parser = duration,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "10m"
    )]
    pub wait: Option<Duration>,
}

/// Consistency of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Consistency {
    /// Linearizable
    L,
    /// Serializable
    S,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Alarm {
    /// List all alarms
    List,
    /// Disarm all alarms
    Disarm,
}

#[derive(Debug, Subcommand)]
pub enum Snapshot {
    /// Save a snapshot of a server to a file
    Save {
        /// The file
        file: PathBuf,
    },
    /// Print hash, revision, keys and size of a snapshot file
    Status {
        /// The file
        file: PathBuf,
    },
    /// Check a snapshot file, and print what is in it
    Verify {
        /// The file
        file: PathBuf,
    },
    /// Make the data directory of a member of a new cluster from a snapshot file
    Restore(RestoreArgs),
}

#[derive(Debug, Subcommand)]
pub enum Check {
    /// Write for a minute at a fixed rate and judge rate and latency
    Perf {
        /// How much to write
        #[arg(long, default_value = "s")]
        load: Load,
        /// Prefix of the keys that are written and deleted
        #[arg(long, default_value = "/etcdctl-check-perf/")]
        prefix: String,
        /// Cleanup options
        #[command(flatten)]
        cleanup: Cleanup,
    },
    /// Write many keys and print how much memory the first endpoint takes for them
    Datascale {
        /// How much to write
        #[arg(long, default_value = "s")]
        load: Load,
        /// Prefix of the keys that are written and deleted
        #[arg(long, default_value = "/etcdctl-check-datascale/")]
        prefix: String,
        /// Cleanup options
        #[command(flatten)]
        cleanup: Cleanup,
    },
}

/// Cleanup after a check.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Cleanup {
    /// Compact the history of the check
    #[arg(long)]
    pub auto_compact: bool,
    /// Defragment every endpoint
    #[arg(long)]
    pub auto_defrag: bool,
}

/// Work load of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Load {
    /// Small
    #[value(name = "s", alias = "small")]
    Small,
    /// Medium
    #[value(name = "m", alias = "medium")]
    Medium,
    /// Large
    #[value(name = "l", alias = "large")]
    Large,
    /// Extra large
    #[value(name = "xl", alias = "xLarge")]
    ExtraLarge,
}

/// The clap command, with environment variables from `lookup`.
#[must_use]
pub fn command(lookup: Lookup<'_>) -> ClapCommand {
    let mut command = Cli::command();
    let globals: Vec<_> = command
        .get_arguments()
        .filter(|arg| arg.is_global_set())
        .collect();
    let globals: Vec<_> = globals.iter().map(|arg| arg.get_id().clone()).collect();
    for id in globals {
        command = command.mut_arg(&id, |arg| {
            let name = arg.get_long().unwrap_or(id.as_str());
            let (variable, _) = variable_for(name, lookup);
            arg.env(variable)
        });
    }
    lenient(command)
}

/// Lets every switch take a value, as in etcdctl (`--prefix=false`), and every option be repeated.
#[must_use]
pub fn lenient(command: ClapCommand) -> ClapCommand {
    command
        // The last one of repeated options is used.
        .args_override_self(true)
        .mut_args(switch_with_value)
        .mut_subcommands(lenient)
}

fn switch_with_value(arg: Arg) -> Arg {
    if !matches!(arg.get_action(), ArgAction::SetTrue) {
        return arg;
    }
    let arg = if arg.get_default_values().is_empty() {
        arg.default_value("false")
    } else {
        arg
    };
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .value_parser(value_parser!(bool))
        .hide_possible_values(true)
        .hide_default_value(true)
}

/// Parses a whole command line, the name of the program included.
///
/// # Errors
/// [`Failure::Parse`] for arguments that clap rejects, [`Failure::Usage`] for options that this
/// client does not support.
pub fn parse(arguments: &[OsString], lookup: Lookup<'_>) -> Result<Cli, Failure> {
    let command = command(lookup);
    let has_flag = |name: &str| {
        let mut globals = command.get_arguments().filter(|arg| arg.is_global_set());
        globals.any(|arg| arg.get_long() == Some(name))
    };
    if let Some(text) = unsupported(has_flag, lookup) {
        return Err(Failure::usage(text));
    }
    let arguments = order::verb_first(&command, arguments);
    let mut matches = command
        .try_get_matches_from(arguments)
        .map_err(Failure::Parse)?;
    let given = matches.value_source("command_timeout") != Some(ValueSource::DefaultValue);
    let mut cli = Cli::from_arg_matches_mut(&mut matches).map_err(Failure::Parse)?;
    cli.global.command_timeout_given = given;
    if cli.global.cert.is_some() != cli.global.key.is_some() {
        return Err(Failure::usage(
            "--cert and --key belong together: a certificate and its key",
        ));
    }
    Ok(cli)
}
