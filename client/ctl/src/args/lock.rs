//! Options of `lock` and `elect`.

use std::{ffi::OsString, time::Duration};

use clap::{Args, Subcommand};
use tenure::LeaseId;

use super::{
    conditions::{Guarded, Guards},
    values::{Permits, duration, lease_id, permits, reason, token, ttl},
};
use crate::failure::Failure;

/// Longest grace that is chosen when none is given.
const GRACE_MAX: Duration = Duration::from_secs(1);
/// Parts of a time to live, one of which is the grace when none is given: renewals are due after a
/// third, so there is time for more than one of them before a command is told to end.
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
    /// A word that is no name of a lock.
    #[command(subcommand)]
    command: Option<Lock>,
    /// The lock to take.
    #[command(flatten)]
    acquire: Option<AcquireArgs>,
}

impl LockArgs {
    /// What to do.
    ///
    /// # Errors
    /// [`Failure::Usage`] when a lock and a subcommand are given.
    pub fn into_command(self) -> Result<Lock, Failure> {
        match (self.command, self.acquire) {
            (Some(command), None) => Ok(command),
            (None, Some(acquire)) => Ok(Lock::Acquire(acquire)),
            // clap asks for a name when there is no subcommand.
            (None, None) => Err(Failure::usage("lock needs the name of a lock")),
            (Some(_), Some(_)) => Err(Failure::usage(
                "options and a name before 'acquire', 'list', 'inspect' or 'release': to run a \
                 command of that name write 'lock NAME -- COMMAND', otherwise put the options last",
            )),
        }
    }
}

/// What to do with a lock.
#[derive(Debug, Subcommand)]
pub enum Lock {
    /// Take a lock, and hold it until a signal or for as long as a command runs
    Acquire(AcquireArgs),
    /// List locks and elections that anybody claims
    List {
        /// What their names start with; all of them unless given
        #[arg(default_value = "", hide_default_value = true)]
        prefix: String,
        /// Most of them to list; 0 for a thousand
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        limit: u32,
    },
    /// Print who holds a lock or leads an election, and who waits
    Inspect {
        /// The lock
        name: String,
        /// Most waiting claims to print; 0 for a hundred
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        limit: u32,
    },
    /// Take a lock away from its holder; written to the audit log
    Release(Guarded<ForceArgs>),
}

/// Options of `lock release`.
#[derive(Debug, Clone, Args)]
pub struct ForceArgs {
    /// The lock
    pub name: String,
    /// The claim to end; every claim that holds unless given
    #[arg(long, value_parser = token)]
    pub token: Option<i64>,
    /// Why
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub reason: String,
}

/// Options of `lock acquire`.
#[derive(Debug, Clone, Args)]
pub struct AcquireArgs {
    /// The lock
    #[arg(required = true)]
    name: Option<String>,
    /// Seconds, or a duration, after which a holder that stays silent loses the lock
    #[arg(long, default_value = "10", value_name = "TTL", value_parser = ttl)]
    pub ttl: Duration,
    /// How long to wait for the lock; without end unless given, not at all when 0s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Hold the lock together with others who share it
    #[arg(long, conflicts_with = "permits")]
    pub shared: bool,
    /// Take N of the M permits of the lock
    #[arg(long, value_name = "N/M", value_parser = permits)]
    pub permits: Option<Permits>,
    /// For how long nobody gets the lock when it is lost without having been released
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub lock_delay: Option<Duration>,
    /// Who asks, for whoever inspects the lock
    #[arg(long, value_name = "TEXT")]
    pub principal: Option<String>,
    /// How long before the deadline a command is told to end; a quarter of the TTL, at most 1s,
    /// unless given
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub grace: Option<Duration>,
    /// Command to run while the lock is held; whatever follows its name is its own
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    pub exec: Vec<OsString>,
}

impl AcquireArgs {
    /// The lock.
    #[must_use]
    pub fn name(&self) -> &str {
        // There is none only beside a subcommand, which `LockArgs::into_command` refuses.
        self.name.as_deref().unwrap_or_default()
    }

    /// How long before the deadline a command is told to end.
    ///
    /// # Errors
    /// [`Failure::Usage`] for a grace that leaves no time to run.
    pub fn grace(&self) -> Result<Duration, Failure> {
        match self.grace {
            None => Ok(GRACE_MAX.min(self.ttl / GRACES_PER_TTL)),
            Some(grace) if grace < self.ttl => Ok(grace),
            Some(_) => Err(Failure::usage(
                "--grace must be shorter than --ttl: a command would be told to end at once",
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
    /// What to proclaim once elected
    pub value: Option<String>,
    /// Print who leads, and every change of that
    #[arg(short, long)]
    pub listen: bool,
    /// Step down in favour of the candidate with this lease, in hexadecimal
    #[arg(long, value_name = "LEASE", value_parser = lease_id, requires = "epoch")]
    pub hand_over_to: Option<LeaseId>,
    /// The epoch of the leader that steps down
    #[arg(long, value_parser = token, requires = "hand_over_to")]
    pub epoch: Option<i64>,
    /// Seconds, or a duration, after which a leader that stays silent is replaced
    #[arg(long, default_value = "10", value_name = "TTL", value_parser = ttl)]
    pub ttl: Duration,
    /// How long to wait to be elected; without end unless given
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub wait: Option<Duration>,
    /// Who stands, for whoever inspects the election
    #[arg(long, value_name = "TEXT")]
    pub principal: Option<String>,
    /// What must hold for handing over.
    #[command(flatten)]
    pub guards: Guards,
}

/// What `elect` is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elect<'a> {
    /// Stand for election.
    Campaign {
        /// What to proclaim.
        value: &'a str,
    },
    /// Print who leads.
    Listen,
    /// Step down in favour of a candidate.
    HandOver {
        /// The lease of the candidate.
        to: LeaseId,
        /// The epoch of the leader that steps down.
        epoch: i64,
    },
}

impl ElectArgs {
    /// What is meant.
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
