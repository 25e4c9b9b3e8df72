//! `watch`: prints changes, and runs a command for each of them if one is given.

use std::{io, process::Stdio};

use clap::{CommandFactory, FromArgMatches, Parser};
use tenure::{Client, Event, Revision, WatchControl, Watcher};
use tokio::process::Command;

use super::{Session, print_message};
use crate::{
    args::{self, WatchArgs},
    environment,
    failure::Failure,
    output::{Output, Reply, Watched},
    quoting::{quote, words},
};

/// Prefixes of the variables that describe a change to a command.
const EVENT_PREFIXES: [&str; 2] = ["TENURE_WATCH_", "ETCD_WATCH_"];

/// One line of an interactive watch.
#[derive(Parser)]
#[command(no_binary_name = true, disable_help_flag = true)]
struct Line {
    #[command(flatten)]
    args: WatchArgs,
}

pub(super) async fn run(session: &Session, args: &WatchArgs) -> Result<(), Failure> {
    let keys = keys_of_environment()?;
    if args.interactive {
        return interactive(session, &keys).await;
    }
    let watcher = start(&session.client, args, &keys).await?;
    deliver(watcher, session.output, &args.exec).await
}

/// The range in `TENURECTL_WATCH_KEY` and `TENURECTL_WATCH_RANGE_END`, or in etcdctl's variables.
fn keys_of_environment() -> Result<Vec<String>, Failure> {
    let variable = |name| environment::text_for(name, &environment::of_process);
    match (variable("watch-key"), variable("watch-range-end")) {
        (None, Some(end)) => {
            let text = format!("the variable WATCH_KEY is empty but WATCH_RANGE_END is {end:?}");
            Err(Failure::usage(text))
        }
        (key, end) => Ok(key.into_iter().chain(end).collect()),
    }
}

async fn start(client: &Client, args: &WatchArgs, keys: &[String]) -> Result<Watcher, Failure> {
    let mut watch = client
        .watch(args.range(keys)?)
        .require_leader()
        .start_revision(Revision::new(args.rev));
    if args.prev_kv {
        watch = watch.prev_kv();
    }
    if args.progress_notify {
        watch = watch.progress_notify();
    }
    Ok(watch.await?)
}

/// Prints the updates of a watch until the server ends it.
async fn deliver(mut watcher: Watcher, output: Output, exec: &[String]) -> Result<(), Failure> {
    while let Some(update) = watcher.next().await {
        let update = match update {
            Ok(update) => update,
            Err(error) => {
                print_message(format_args!("watch was canceled ({error})"));
                let compact_revision = error.compact_revision().unwrap_or_default().get();
                let header = watcher.header().into_wire();
                let end = Watched {
                    header,
                    compact_revision,
                    canceled: true,
                    ..Watched::default()
                };
                output.print(&Reply::Watch(end))?;
                return Err(Failure::WatchEnded);
            }
        };
        if update.is_progress() {
            output.say(format!("progress notify: {}\n", update.revision()).as_bytes())?;
        }
        output.print(&Reply::Watch(Watched {
            header: update.header().into_wire(),
            events: update.iter().cloned().map(Event::into_wire).collect(),
            ..Watched::default()
        }))?;
        for event in &update {
            execute(exec, update.revision(), event).await?;
        }
    }
    Ok(())
}

/// Runs the user's command for one change.
async fn execute(exec: &[String], revision: Revision, event: &Event) -> Result<(), Failure> {
    let [program, arguments @ ..] = exec else {
        return Ok(());
    };
    let kind = if event.is_put() { "PUT" } else { "DELETE" };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    for prefix in EVENT_PREFIXES {
        command.env(format!("{prefix}REVISION"), revision.to_string());
        command.env(format!("{prefix}EVENT_TYPE"), quote(kind.as_bytes()));
        command.env(format!("{prefix}KEY"), quote(event.key()));
        command.env(format!("{prefix}VALUE"), quote(event.value()));
    }
    let error = match command.status().await {
        Ok(status) if status.success() => return Ok(()),
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    };
    print_message(format_args!("command {exec:?} error ({error})"));
    Err(Failure::Reported)
}

/// Reads `watch …` and `progress` lines; watches run concurrently.
async fn interactive(session: &Session, keys: &[String]) -> Result<(), Failure> {
    let mut watches: Vec<WatchControl> = Vec::new();
    loop {
        let line = next_line().await?;
        let words = words(&line).map_err(Failure::Input)?;
        match words.first().map(String::as_str) {
            Some("watch") => match begin(session, &words[1..], keys).await {
                Ok(watch) => watches.push(watch),
                Err(failure) => print_message(format_args!("Invalid command {line} ({failure})")),
            },
            Some("progress") => {
                for watch in &watches {
                    if let Err(error) = watch.request_progress() {
                        print_message(format_args!("no progress at this moment ({error})"));
                    }
                }
            }
            Some(_) => print_message(format_args!("Invalid command {line} (only support watch)")),
            None => print_message(format_args!(
                "Invalid command: {line} (watch and progress supported)"
            )),
        }
    }
}

async fn begin(
    session: &Session,
    words: &[String],
    keys: &[String],
) -> Result<WatchControl, Failure> {
    let command = args::lenient(Line::command());
    let mut matches = command
        .try_get_matches_from(words)
        .map_err(Failure::Parse)?;
    let Line { args } = Line::from_arg_matches_mut(&mut matches).map_err(Failure::Parse)?;
    let watcher = start(&session.client, &args, keys).await?;
    let control = watcher.control();
    let output = session.output;
    tokio::spawn(async move {
        // The failure was printed, and does not affect other watches.
        _ = deliver(watcher, output, &args.exec).await;
    });
    Ok(control)
}

/// The next line of standard input, read on a blocking thread so that watches continue meanwhile.
async fn next_line() -> Result<String, Failure> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = read.await.map_err(anyhow::Error::from)??;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.trim_end_matches('\r').to_owned()),
        None => Err(Failure::Input(
            "error reading watch request line: EOF".to_owned(),
        )),
    }
}
