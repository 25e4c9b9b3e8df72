//! The commands: one file per group of verbs.
//!
//! A command sends requests and passes the answer to the output, which formats it.

mod access;
mod alarm;
mod archive;
mod check;
mod conditions;
mod defrag;
mod diff;
mod discovery;
mod elect;
mod endpoint;
mod endpoints;
mod exec;
mod fence;
mod holding;
mod keys;
mod lease;
mod lock;
mod make_mirror;
mod member;
mod migrate;
mod move_leader;
mod password;
mod recover;
mod registry;
mod session;
mod signals;
mod snapshot;
mod space;
mod tls;
mod txn;
mod version;
mod watch;

use std::{
    fmt::Display,
    io::{self, Write},
    sync::atomic::{AtomicUsize, Ordering},
};

use tenure::{Client, Member};

use crate::{
    args::{Check, Cli, Command, Global, Recover, Snapshot, Writing},
    failure::Failure,
    output::Output,
};

/// Attempts of one call: few, because a user waits for the result.
const ATTEMPTS_MAX: u32 = 5;

/// Maximum number of queued messages. Each has a thread.
const QUEUED_MESSAGES_MAX: usize = 8;

/// The client and the output of a command.
#[derive(Debug)]
struct Session {
    client: Client,
    output: Output,
    global: Global,
}

/// Runs the command.
///
/// # Errors
/// The failure of the command.
pub async fn run(mut cli: Cli) -> Result<(), Failure> {
    let output = Output {
        format: cli.global.write_out,
        hex: cli.global.hex,
    };
    if let Some(outcome) = offline(output, &cli.command) {
        return outcome;
    }
    discovery::find_endpoints(&mut cli.global).await?;
    let global = cli.global.clone();
    match run_once(cli, output).await {
        Err(failure) => Err(tls::explain(failure, &global).await),
        done => done,
    }
}

async fn run_once(cli: Cli, output: Output) -> Result<(), Failure> {
    // Its client is that of --from.
    if let Command::Migrate(args) = &cli.command {
        return migrate::run(&cli.global, output, args).await;
    }
    let client = connect(&cli.global).await?;
    let session = Session {
        client,
        output,
        global: cli.global,
    };
    online(session, cli.command).await
}

/// Runs a command that needs no server; `None` for one that does.
fn offline(output: Output, command: &Command) -> Option<Result<(), Failure>> {
    match command {
        Command::Version => Some(version::version(output)),
        Command::Completion { shell } => Some(version::completion(output, *shell)),
        Command::Snapshot(Snapshot::Save { .. }) => None,
        Command::Snapshot(command) => Some(snapshot::offline(output, command)),
        Command::Archive(args) => {
            let command = args.command.as_ref();
            command.map(|command| archive::offline(output, args, command))
        }
        Command::Diff(args) if !args.needs_server() => Some(diff::offline(output, args)),
        _ => None,
    }
}

/// Runs a command with the client of a session.
async fn online(session: Session, command: Command) -> Result<(), Failure> {
    match command {
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
        Command::Recover(Recover::Plan) => recover::plan(&session).await,
        Command::MoveLeader { member } => move_leader::run(&session, member).await,
        Command::Auth(command) => access::auth(&session, command).await,
        Command::User(command) => access::user(&session, command).await,
        Command::Role(command) => access::role(&session, command).await,
        Command::Alarm(command) => alarm::run(&session, command).await,
        Command::Defrag { cluster } => defrag::run(&session, cluster).await,
        Command::Snapshot(Snapshot::Save { file }) => {
            // A snapshot has no deadline unless the user set one.
            let global = &session.global;
            let limit = global
                .command_timeout_given
                .then_some(global.command_timeout);
            snapshot::save(&session, &file, limit).await
        }
        Command::MakeMirror(args) => make_mirror::run(&session, &args).await,
        Command::Archive(args) => archive::run(&session, &args).await,
        Command::Diff(args) => diff::run(&session, &args).await,
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
        // They needed no server.
        Command::Snapshot(_)
        | Command::Migrate(_)
        | Command::Version
        | Command::Completion { .. } => Ok(()),
    }
}

pub(crate) async fn connect(global: &Global) -> Result<Client, Failure> {
    let endpoints = global.endpoints.iter().map(|endpoint| endpoint.trim());
    let endpoints: Vec<_> = endpoints.collect();
    let mut builder = Client::builder()
        .endpoints(endpoints)
        .timeout(global.command_timeout)
        .connect_timeout(global.dial_timeout)
        .probe(global.keepalive_time, global.keepalive_timeout)
        .attempts_max(ATTEMPTS_MAX);
    if let Some(tls) = tls::settings(global)? {
        builder = builder.tls(tls);
    }
    if let Some(token) = &global.auth_jwt_token {
        builder = builder.token(token);
    } else if let Some((user, password)) = credentials(global)? {
        builder = builder.credentials(user, password);
    }
    Ok(builder.connect().await?)
}

fn credentials(global: &Global) -> Result<Option<(String, String)>, Failure> {
    let Some(user) = global.user.as_deref() else {
        return Ok(None);
    };
    if let Some(password) = global.password.as_deref() {
        return Ok(Some((user.to_owned(), password.to_owned())));
    }
    if let Some((user, password)) = user.split_once(':') {
        return Ok(Some((user.to_owned(), password.to_owned())));
    }
    let missing = "the password is missing: give --user name:password, or --password \
                   (TENURECTL_PASSWORD)";
    let password = password::asked(user)?.ok_or_else(|| Failure::usage(missing))?;
    Ok(Some((user.to_owned(), password)))
}

impl Session {
    /// The endpoints of a command: those given, or those of all members.
    async fn endpoints(&self, cluster: bool) -> Result<Vec<String>, Failure> {
        if !cluster {
            return Ok(self.client.endpoints().map(str::to_owned).collect());
        }
        let list = self.client.cluster().members().await?;
        let urls = list.iter().flat_map(Member::client_urls);
        Ok(urls.cloned().collect())
    }
}

/// Prints a message to standard error.
fn print_message(text: impl Display) {
    // A closed standard error is ignored.
    _ = writeln!(io::stderr(), "{text}");
}

/// Prints a message to standard error without waiting for the write, for callers that must not
/// block on it. Messages that are unwritten when the program ends are lost, and so are those beyond
/// [`QUEUED_MESSAGES_MAX`] queued ones.
fn print_message_detached(text: impl Display + Send + 'static) {
    static WAITING: AtomicUsize = AtomicUsize::new(0);
    if WAITING.fetch_add(1, Ordering::Relaxed) >= QUEUED_MESSAGES_MAX {
        WAITING.fetch_sub(1, Ordering::Relaxed);
        return;
    }
    // A detached thread and not a blocking task, for which the runtime would wait. If no thread can
    // be started the message is lost.
    _ = std::thread::Builder::new().spawn(move || {
        print_message(text);
        WAITING.fetch_sub(1, Ordering::Relaxed);
    });
}
