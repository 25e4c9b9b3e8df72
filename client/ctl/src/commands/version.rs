//! `version` and `completion`, which need no server.

use clap_complete::Shell;
use tenure::wire::API_VERSION;

use crate::{args, failure::Failure, output::Output};

pub(super) fn version(output: Output) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    output.say(format!("tenurectl version: {version}\nAPI version: {API_VERSION}\n").as_bytes())
}

pub(super) fn completion(output: Output, shell: Shell) -> Result<(), Failure> {
    // Environment variables would put the user's current settings into the script.
    let mut command = args::command(&|_| None);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "tenurectl", &mut script);
    output.say(&script)
}
