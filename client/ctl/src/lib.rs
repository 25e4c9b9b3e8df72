//! The command line of tenure, with etcdctl's verbs, options and output.
//!
//! Data goes to standard output, messages to standard error. This is a library only so that tests
//! can use the parser and the output; programs use the `tenure` package.

pub mod args;
pub mod commands;
pub mod environment;
pub mod failure;
pub mod output;
pub mod quoting;
mod replication;
pub mod supervision;
pub mod tether;
pub mod transaction;

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use failure::Failure;

/// Parses the arguments, runs the command, and returns its exit code.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    if let Some(code) = tether::become_command(&arguments) {
        return ExitCode::from(code);
    }
    let outcome = args::parse(&arguments, &environment::of_process).and_then(|arguments| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(anyhow::Error::from)?;
        let outcome = runtime.block_on(commands::run(arguments));
        // A thread may still be blocked on standard input.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn report(failure: &Failure) {
    if let Failure::Parse(error) = failure {
        // clap prints help to standard output and errors to standard error. A closed stream is
        // ignored.
        _ = error.print();
        return;
    }
    let text = failure.to_string();
    if !text.is_empty() {
        _ = writeln!(io::stderr(), "Error: {text}");
    }
    if let Some(hint) = failure.hint() {
        _ = writeln!(io::stderr(), "{hint}");
    }
}
