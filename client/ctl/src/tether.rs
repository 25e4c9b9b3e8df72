//! Kills a command when this program dies, by the parent death signal.
//!
//! Otherwise the command would continue while its lock is no longer renewed. A process can set this
//! signal only for itself, and keeps it across `exec`; so this program starts itself, sets the
//! signal, and executes the command. It does not apply to children of the command, nor to a command
//! that gains privileges by `exec`.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    os::unix::process::CommandExt,
    process::Command,
};

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

/// Exit code for a command that does not exist, as shells have it.
const NOT_FOUND: u8 = 127;
/// Exit code for a command that exists and cannot be run, as shells have it.
const NOT_RUNNABLE: u8 = 126;
/// This program, even if its file was replaced meanwhile.
const MYSELF: &str = "/proc/self/exe";
/// Internal first argument of this program when it is to execute a command; the parent's pid and
/// the command follow.
const MARK: &str = "--tethered-to";

/// A command that runs `program` and is killed when this program dies.
#[must_use]
pub fn command(program: &OsStr, arguments: &[OsString]) -> Command {
    if std::fs::exists(MYSELF).unwrap_or(false) {
        let mut command = Command::new(MYSELF);
        let parent = getpid().as_raw_nonzero().to_string();
        command.arg(MARK).arg(parent).arg(program).args(arguments);
        command
    } else {
        let mut command = Command::new(program);
        command.args(arguments);
        command
    }
}

/// Executes the command if these are the arguments made by [`command`]; does nothing otherwise.
/// Returns the exit code if the command cannot be run.
#[must_use]
pub fn become_command(arguments: &[OsString]) -> Option<u8> {
    let [_, mark, parent, program, arguments @ ..] = arguments else {
        return None;
    };
    if mark != MARK {
        return None;
    }
    let parent = parent.to_str().and_then(|id| id.parse().ok());
    let alive = || getppid().is_some_and(|id| Some(id) == parent.and_then(Pid::from_raw));
    // The parent may have died before the signal was set.
    if !alive() || set_parent_process_death_signal(Some(Signal::KILL)).is_err() || !alive() {
        return Some(NOT_RUNNABLE);
    }
    let error = Command::new(program).args(arguments).exec();
    Some(not_run(program, &error))
}

/// Reports that a command cannot be run; returns the exit code for it.
pub fn not_run(program: &OsStr, error: &io::Error) -> u8 {
    // A closed standard error is ignored.
    _ = writeln!(io::stderr(), "cannot run {}: {error}", program.display());
    if error.kind() == io::ErrorKind::NotFound {
        NOT_FOUND
    } else {
        NOT_RUNNABLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_mark_turns_this_program_into_another() {
        let become_one = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            become_command(&words)
        };
        assert_eq!(become_one(&["tenurectl"]), None);
        assert_eq!(become_one(&["tenurectl", "lock", "a", "echo"]), None);
        assert_eq!(become_one(&["tenurectl", MARK]), None);
    }

    #[test]
    fn a_command_whose_parent_is_gone_is_not_run() {
        // Not a pid.
        let words = ["tenurectl", MARK, "x", "/nonexistent"].map(OsString::from);
        assert_eq!(become_command(&words), Some(NOT_RUNNABLE));
    }
}
