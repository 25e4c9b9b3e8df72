//! The load generator: arguments to a run to an exit code.
//!
//! Ends with 0 when every request was answered, 1 when some failed, 2 when there was no run; how
//! fast either system was never matters.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use tenure_bench::{Verdict, arguments::Arguments};
use tokio::signal::unix::{SignalKind, signal};

/// Nothing was measured, or not all.
const EXIT_NO_RUN: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // One thread: the generator shares its cores with the servers and must not take them all.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime
        .context("starting the runtime")
        .and_then(|runtime| runtime.block_on(until_interrupted(arguments)));
    match result {
        Ok(Verdict::Clean) => ExitCode::SUCCESS,
        Ok(Verdict::RequestsFailed) => ExitCode::FAILURE,
        Err(error) => {
            _ = writeln!(io::stderr(), "{error:#}");
            ExitCode::from(EXIT_NO_RUN)
        }
    }
}

/// A run; a signal ends it in a way that takes the servers along.
async fn until_interrupted(arguments: Arguments) -> Result<Verdict> {
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let mut out = io::stdout();
    // Not cancel-safe, and need not be: nothing follows.
    tokio::select! {
        verdict = tenure_bench::run(arguments, &mut out) => verdict,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}
