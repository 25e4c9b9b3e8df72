//! What the commands do: one file per group of verbs.
//!
//! A command asks the server and hands the answer to the output; it decides nothing about the form.

mod alarm;
mod check;
mod conditions;
mod defrag;
mod elect;
mod endpoint;
mod endpoints;
mod exec;
mod fence;
mod holding;
mod keys;
mod lease;
mod lock;
mod member;
mod move_leader;
mod registry;
mod session;
mod signals;
mod snapshot;
mod txn;
mod version;
mod watch;

use std::{
    io::{self, Write},
    sync::atomic::{AtomicUsize, Ordering},
};

use tenure::{Client, Member};

use crate::{
    args::{Check, Cli, Command, Global, Writing},
    failure::Failure,
    output::Output,
};

/// Attempts of one call. A person waits: better to say soon that nothing answers.
const ATTEMPTS_MAX: u32 = 5;

/// Mentions that wait to be written at the same time. Each has a thread, and more than a few tell
/// nothing new.
const MENTIONS_MAX: usize = 8;

/// What every command needs: the cluster, and where answers go.
#[derive(Debug)]
struct Session {
    client: Client,
    output: Output,
    global: Global,
}

/// Runs the command.
///
/// # Errors
/// How it ended, when it did not succeed.
pub async fn run(cli: Cli) -> Result<(), Failure> {
    let output = Output {
        format: cli.global.write_out,
        hex: cli.global.hex,
    };
    match cli.command {
        Command::Version => return version::version(output),
        Command::Completion { shell } => return version::completion(output, shell),
        _ => {}
    }
    let client = connect(&cli.global).await?;
    let session = Session {
        client,
        output,
        global: cli.global,
    };
    match cli.command {
        Command::Put(Writing { args, conditions }) => keys::put(&session, &args, &conditions).await,
        Command::Get(args) => keys::get(&session, &args).await,
        Command::Del(Writing { args, conditions }) => keys::del(&session, &args, &conditions).await,
        Command::Compaction {
            revision,
            physical,
            conditions,
        } => keys::compaction(&session, revision, physical, &conditions).await,
        Command::Txn {
            interactive,
            conditions,
        } => txn::run(&session, interactive, &conditions).await,
        Command::Watch(args) => watch::run(&session, &args).await,
        Command::Lease(command) => lease::run(&session, command).await,
        Command::Endpoint { cluster, command } => endpoint::run(&session, cluster, command).await,
        Command::Member(command) => member::run(&session, command).await,
        Command::MoveLeader { member } => move_leader::run(&session, member).await,
        Command::Alarm(command) => alarm::run(&session, command).await,
        Command::Defrag { cluster } => defrag::run(&session, cluster).await,
        Command::Snapshot(command) => {
            // A snapshot takes as long as it takes, unless the user set a limit.
            let global = &session.global;
            let limit = global
                .command_timeout_given
                .then_some(global.command_timeout);
            snapshot::run(&session, &command, limit).await
        }
        Command::Check(Check::Perf {
            load,
            prefix,
            cleanup,
        }) => check::perf(&session, load, &prefix, cleanup).await,
        Command::Check(Check::Datascale {
            load,
            prefix,
            cleanup,
        }) => check::datascale(&session, load, &prefix, cleanup).await,
        Command::Lock(args) => lock::run(&session, args.into_command()?).await,
        Command::Elect(args) => elect::run(&session, &args).await,
        Command::Register(args) => registry::register(&session, &args).await,
        Command::Discover(args) => registry::discover(&session, &args).await,
        Command::Drain(args) => registry::drain(&session, args).await,
        Command::Deregister(args) => registry::deregister(&session, args).await,
        Command::WatchEndpoints(args) => registry::watch(&session, &args).await,
        Command::Fence(command) => fence::run(&session, command).await,
        Command::Session(command) => session::run(&session, command).await,
        Command::Version | Command::Completion { .. } => Ok(()),
    }
}

async fn connect(global: &Global) -> Result<Client, Failure> {
    let endpoints = global.endpoints.iter().map(|endpoint| endpoint.trim());
    let endpoints: Vec<_> = endpoints.collect();
    let mut builder = Client::builder()
        .endpoints(endpoints)
        .timeout(global.command_timeout)
        .connect_timeout(global.dial_timeout)
        .probe(global.keepalive_time, global.keepalive_timeout)
        .attempts_max(ATTEMPTS_MAX);
    if let Some(token) = &global.auth_jwt_token {
        builder = builder.token(token);
    } else if let Some((user, password)) = credentials(global)? {
        builder = builder.credentials(user, password);
    }
    Ok(builder.connect().await?)
}

fn credentials(global: &Global) -> Result<Option<(&str, &str)>, Failure> {
    let Some(user) = global.user.as_deref() else {
        return Ok(None);
    };
    if let Some(password) = global.password.as_deref() {
        return Ok(Some((user, password)));
    }
    let pair = user.split_once(':');
    let missing = "the password is missing: give --user name:password, or --password \
                   (TENURECTL_PASSWORD)";
    pair.map(Some).ok_or_else(|| Failure::usage(missing))
}

impl Session {
    /// The endpoints a command is about: those given, or those of all members.
    async fn endpoints(&self, cluster: bool) -> Result<Vec<String>, Failure> {
        if !cluster {
            return Ok(self.client.endpoints().map(str::to_owned).collect());
        }
        let list = self.client.cluster().members().await?;
        let urls = list.iter().flat_map(Member::client_urls);
        Ok(urls.cloned().collect())
    }
}

/// Says something to the user that is not data.
fn tell(text: impl std::fmt::Display) {
    // When standard error is closed there is nobody to tell.
    drop(writeln!(io::stderr(), "{text}"));
}

/// Says something to the user without waiting until it is read, for callers who must not stop:
/// whoever reads standard error may have stopped reading. What is not written when the program ends
/// is lost, and so is what comes while [`MENTIONS_MAX`] others wait.
fn mention(text: &'static str) {
    static WAITING: AtomicUsize = AtomicUsize::new(0);
    if WAITING.fetch_add(1, Ordering::Relaxed) >= MENTIONS_MAX {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    // Detached, and not a task, whose end the runtime would wait for. Without a thread there is no
    // way to say it.
    drop(std::thread::Builder::new().spawn(move || {
        tell(text);
        WAITING.fetch_sub(1, Ordering::Relaxed);
    }));
}
