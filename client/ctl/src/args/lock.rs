//! Options of `lock` and `elect`.

use std::{ffi::OsString, time::Duration};

use clap::{Args, Subcommand};
use tenure::LeaseId;

use super::{
    conditions::{Guarded, Guards},
    values::{Permits, duration, lease_id, permits, reason, token, ttl},
};
use crate::failure::Failure;

/// Upper bound of the default grace period.
const GRACE_MAX: Duration = Duration::from_secs(1);
/// The default grace period is this fraction of the TTL: renewals are due after a third of it, so
/// there is time for more than one of them before a command is terminated.
const GRACES_PER_TTL: u32 = 4;

/// Options of `lock`.
#[derive(Debug, Args)]
#[command(
    subcommand_negates_reqs = true,
    override_usage = "tenurectl lock [acquire] [OPTIONS] NAME [[--] COMMAND [ARGS]...]\n       \
                      tenurectl lock list [PREFIX]\n       \
                      tenurectl lock inspect NAME\n       \
                      tenurectl lock release NAME [--token TOKEN] --reason TEXT",
    after_help = "Locks called 'acquire', 'list', 'inspect', 'release' or 'help' are taken with \
                  'lock acquire NAME'.\n\nA command runs in a process group of its own, with the \
                  lock in TENURE_LOCK_NAME, TENURE_LOCK_KEY and TENURE_LOCK_TOKEN, and in \
                  ETCD_LOCK_KEY and ETCD_LOCK_REV. SIGINT and SIGTERM are passed on to it. When \
                  the lock cannot be kept, the group gets SIGTERM at the deadline less the grace, \
                  and SIGKILL at the deadline. What the command leaves running in its group \
                  when it exits gets SIGTERM, and SIGKILL two seconds later; then the lock is \
                  released. At a terminal, the standard input of the command is empty."
)]
pub struct LockArgs {
    /// The subcommand, if one is given.
    #[command(subcommand)]
    command: Option<Lock>,
    /// The lock to acquire.
    #[command(flatten)]
    acquire: Option<AcquireArgs>,
}

impl LockArgs {
    /// The command to run.
    ///
    /// # Errors
    /// [`Failure::Usage`] when a lock and a subcommand are given.
    pub fn into_command(self) -> Result<Lock, Failure> {
        match (self.command, self.acquire) {
            (Some(command), None) => Ok(command),
            (None, Some(acquire)) => Ok(Lock::Acquire(acquire)),
            // clap requires a name when there is no subcommand.
            (None, None) => Err(Failure::usage("lock needs the name of a lock")),
            (Some(_), Some(_)) => Err(Failure::usage(
                "options and a name before 'acquire', 'list', 'inspect' or 'release': to run a \
                 command of that name write 'lock NAME -- COMMAND', otherwise put the options last",
            )),
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Lock {
    /// Acquire a lock, and hold it until a signal or for as long as a command runs
    Acquire(AcquireArgs),
    /// List locks and elections that have claims
    List {
        /// Prefix of their names; all unless given
        #[arg(default_value = "", hide_default_value = true)]
        prefix: String,
        /// Maximum number to list; 0 for a thousand
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        limit: u32,
    },
    /// Print the holders and waiters of a lock or election
    Inspect {
        /// The lock
        name: String,
        /// Maximum number of waiting claims to print; 0 for a hundred
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        limit: u32,
    },
    /// Forcibly release a lock; written to the audit log
    Release(Guarded<ForceArgs>),
}

/// Options of `lock release`.
#[derive(Debug, Clone, Args)]
pub struct ForceArgs {
    /// The lock
    pub name: String,
    /// Token of the claim to end; every granted claim unless given
    #[arg(long, value_parser = token)]
    pub token: Option<i64>,
    /// Reason, for the audit log
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
}

/// Options of `lock acquire`.
#[derive(Debug, Clone, Args)]
pub struct AcquireArgs {
    /// The lock
    #[arg(required = true)]
    name: Option<String>,
    /// Seconds, or a duration, after which a silent holder loses the lock
    #[arg(long, default_value = "10", value_name = "TTL", value_parser = ttl)]
    pub ttl: Duration,
    /// How long to wait for the lock; unlimited unless given, not at all when 0s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Share the lock with other shared holders
    #[arg(long, conflicts_with = "permits")]
    pub shared: bool,
    /// Acquire N of the M permits of the lock
    #[arg(long, value_name = "N/M", value_parser = permits)]
    pub permits: Option<Permits>,
    /// Delay before the next grant when the lock is lost without having been released
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub lock_delay: Option<Duration>,
    /// Name of the claimant, shown by 'lock inspect'
    #[arg(long, value_name = "TEXT")]
    pub principal: Option<String>,
    /// How long before the deadline the command is terminated; a quarter of the TTL, at most 1s,
    /// unless given
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub grace: Option<Duration>,
    /// Command to run while the lock is held; all arguments after it are its own
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub exec: Vec<OsString>,
}

impl AcquireArgs {
    /// The name of the lock.
    #[must_use]
    pub fn name(&self) -> &str {
        // It is missing only with a subcommand, which `LockArgs::into_command` handles.
        self.name.as_deref().unwrap_or_default()
    }

    /// How long before the deadline the command is terminated.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a grace period that leaves no time to run.
    pub fn grace(&self) -> Result<Duration, Failure> {
        match self.grace {
            None => Ok(GRACE_MAX.min(self.ttl / GRACES_PER_TTL)),
            Some(grace) if grace < self.ttl => Ok(grace),
            Some(_) => Err(Failure::usage(
                "--grace must be shorter than --ttl: the command would be terminated at once",
            )),
        }
    }
}

/// Options of `elect`.
#[derive(Debug, Clone, Args)]
#[command(override_usage = "tenurectl elect [OPTIONS] NAME VALUE\n       \
                            tenurectl elect --listen NAME\n       \
                            tenurectl elect --hand-over-to LEASE --epoch EPOCH NAME")]
pub struct ElectArgs {
    /// The election
    pub name: String,
    /// Value to proclaim once elected
    pub value: Option<String>,
    /// Print the leader, and every change of it
    #[arg(short, long)]
    pub listen: bool,
    /// Hand leadership over to the candidate with this lease, in hexadecimal
    #[arg(long, value_name = "LEASE", value_parser = lease_id, requires = "epoch")]
    pub hand_over_to: Option<LeaseId>,
    /// The epoch of the current leader
    #[arg(long, value_parser = token, requires = "hand_over_to")]
    pub epoch: Option<i64>,
    /// Seconds, or a duration, after which a silent leader is replaced
    #[arg(long, default_value = "10", value_name = "TTL", value_parser = ttl)]
    pub ttl: Duration,
    /// How long to wait to be elected; unlimited unless given
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Name of the candidate, shown by 'lock inspect'
    #[arg(long, value_name = "TEXT")]
    pub principal: Option<String>,
    /// Guards of a handover.
    #[command(flatten)]
    pub guards: Guards,
}

/// The mode of `elect`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elect<'a> {
    /// Campaign, and lead until a signal.
    Campaign {
        /// The value to proclaim.
        value: &'a str,
    },
    /// Observe the leader.
    Listen,
    /// Hand leadership over to a candidate.
    HandOver {
        /// The lease of the candidate.
        to: LeaseId,
        /// The epoch of the current leader.
        epoch: i64,
    },
}

impl ElectArgs {
    /// The mode that the options select.
    ///
    /// # Errors
    /// [`Failure::Usage`] for options that do not fit together.
    pub fn mode(&self) -> Result<Elect<'_>, Failure> {
        let unguarded = self.guards == Guards::default();
        match (&self.value, self.listen, self.hand_over_to.zip(self.epoch)) {
            (None, false, Some((to, epoch))) => Ok(Elect::HandOver { to, epoch }),
            (_, _, Some(_)) => Err(Failure::usage(
                "--hand-over-to takes no value and no --listen",
            )),
            _ if !unguarded => Err(Failure::usage("--guard of elect is for --hand-over-to")),
            (None, true, None) => Ok(Elect::Listen),
            (Some(_), true, None) => {
                Err(Failure::usage("elect takes no value when --listen is set"))
            }
            (Some(value), false, None) => Ok(Elect::Campaign { value }),
            (None, false, None) => Err(Failure::usage(
                "elect needs a value to proclaim, or --listen",
            )),
        }
    }
}
