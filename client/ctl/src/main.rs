//! The command line of tenure: runs one command and exits with its code.
//!
//! Everything else is in the library of this package.

use std::process::ExitCode;

fn main() -> ExitCode {
    tenurectl::run(std::env::args_os())
}
