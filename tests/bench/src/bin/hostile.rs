//! Hostile clients against both systems: arguments to a run to an exit code.
//!
//! Ends with 0 when every node of tenure lived and kept its leader, 1 when not, 2 when there was
//! no run. How long honest clients waited is printed and decides nothing.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anyhow::Context;
use clap::Parser;
use tenure_bench::hostile::{self, Arguments};

/// There was no run.
const EXIT_NO_RUN: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = runtime
        .context("starting the runtime")
        .and_then(|runtime| runtime.block_on(hostile::run(arguments, &mut io::stdout())));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            _ = writeln!(io::stderr(), "{error:#}");
            ExitCode::from(EXIT_NO_RUN)
        }
    }
}
