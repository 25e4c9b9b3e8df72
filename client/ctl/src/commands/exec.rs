//! Runs a command under a lock and ends it when the lock is lost.
//!
//! The command has a process group of its own, so that its children end with it. The invariant:
//! once the lock is lost or released, no process of the group runs, except while this process
//! itself is stopped; then the group is killed as soon as it continues. Signals are never delayed
//! by messages: standard error may block.

use std::{
    io::{self, IsTerminal},
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, kill_process_group, test_kill_process_group, waitpgid},
};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, sleep_until},
};

use super::{print_message_detached, signals::Source};
use crate::{
    supervision::{Supervisor, Verdict},
    tether,
};

/// Shells report this number plus the signal that ended a command.
const SIGNAL_BASE: i32 = 128;
/// How long processes that a command left behind may take to end after SIGTERM. The next holder
/// waits meanwhile, so it is short; enough to write a file.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(2);
/// How long to wait for a killed group. SIGKILL takes milliseconds, except during uninterruptible
/// I/O on a hung disk.
const KILLED_PATIENCE: Duration = Duration::from_secs(1);
/// Poll interval of a group that outlives its command: there is no notification when it is empty.
const GROUP_POLL: Duration = Duration::from_millis(10);

/// A held lock, or its replacement in tests.
pub(super) trait LockHandle {
    /// The time until which it is certainly held; every renewal extends it.
    fn deadline(&self) -> Instant;
    /// Whether it is lost.
    fn is_lost(&self) -> bool;
    /// Waits until it is lost. Cancel safe.
    async fn lost(&self);
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CommandExit {
    /// It exited with this code, by itself or after a forwarded signal.
    Exited(u8),
    /// It was terminated because its lock was lost or about to be.
    Lost,
}

/// The remaining processes of a group whose command has ended.
#[derive(Debug, Clone, Copy)]
struct Leftover {
    /// How the command ended.
    exit: CommandExit,
    /// When the remaining processes are killed.
    kill_at: Instant,
}

/// Runs `command` while `held` is held, and terminates it `grace` before the deadline. Returns once
/// its process group is empty.
///
/// # Errors
/// When waiting for the started command fails.
pub(super) async fn run(
    command: std::process::Command,
    held: &impl LockHandle,
    grace: Duration,
    signals: &mut impl Source,
) -> io::Result<CommandExit> {
    let program = command.get_program().to_owned();
    let mut child = match start(command) {
        Ok(child) => child,
        Err(error) => return Ok(CommandExit::Exited(tether::not_run(&program, &error))),
    };
    let group = Group::of(&child);
    let mut supervisor = Supervisor::new(grace);
    let mut leftover: Option<Leftover> = None;
    loop {
        let now = Instant::now();
        if let Some(Leftover { exit, kill_at }) = leftover {
            if group.is_empty() {
                return Ok(exit);
            }
            if now >= kill_at {
                group.kill().await;
                return Ok(exit);
            }
        }
        let wake = match supervisor.judge(now, held.deadline(), held.is_lost()) {
            Verdict::Wait(wake) => wake,
            Verdict::Terminate => {
                group.terminate();
                print_message_detached("the lock cannot be renewed: terminating the command");
                continue;
            }
            Verdict::Kill => {
                group.signal(Signal::KILL);
                child.wait().await?;
                return Ok(CommandExit::Lost);
            }
        };
        let wake = match leftover {
            Some(leftover) => wake.min(leftover.kill_at).min(now + GROUP_POLL),
            None => wake,
        };
        // All of these are cancel safe: a child's status, a signal and a loss are kept until they
        // are received.
        tokio::select! {
            status = child.wait(), if leftover.is_none() => {
                let code = code(status?);
                let now = Instant::now();
                leftover = Some(if supervisor.is_ending() {
                    // The other processes have the same grace period. Whether the command ended
                    // before the lock was lost is unknown.
                    Leftover { exit: CommandExit::Lost, kill_at: held.deadline() }
                } else if held.is_lost() || now >= held.deadline() {
                    Leftover { exit: CommandExit::Lost, kill_at: now }
                } else {
                    group.terminate();
                    Leftover { exit: CommandExit::Exited(code), kill_at: now + LEFTOVER_PATIENCE }
                });
            }
            () = sleep_until(wake) => {}
            () = held.lost() => {}
            signal = signals.next() => group.forward(signal),
        }
    }
}

fn start(command: std::process::Command) -> io::Result<Child> {
    let mut command = Command::from(command);
    command.process_group(0);
    // Its group is in the background of the terminal: reading from the terminal would stop the
    // command permanently.
    if io::stdin().is_terminal() {
        command.stdin(Stdio::null());
    }
    command.spawn()
}

/// The process group of a command.
#[derive(Debug, Clone, Copy)]
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn signal(self, signal: Signal) {
        if let Self(Some(group)) = self {
            // The group may have ended already.
            _ = kill_process_group(group, signal);
        }
    }

    fn terminate(self) {
        self.signal(Signal::TERM);
        // A stopped process does not handle SIGTERM.
        self.signal(Signal::CONT);
    }

    /// Kills the remaining processes, and waits for their end, within a limit.
    async fn kill(self) {
        self.signal(Signal::KILL);
        let enough = Instant::now() + KILLED_PATIENCE;
        while !self.is_empty() && Instant::now() < enough {
            sleep(GROUP_POLL).await;
        }
    }

    /// Whether the group is empty. Call it only after the command itself was waited for: it reaps
    /// children of the group.
    fn is_empty(self) -> bool {
        let Self(Some(group)) = self else {
            return true;
        };
        // If this is the init process of a container, orphans become its children and exist until
        // they are reaped.
        while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
        // A process with other privileges exists but cannot be signalled.
        test_kill_process_group(group) == Err(Errno::SRCH)
    }

    /// Forwards a signal that this process received to the command.
    fn forward(self, signal: Signal) {
        if signal == Signal::TSTP {
            print_message_detached(
                "a command that runs under a lock cannot be suspended: the lock would be lost",
            );
        } else {
            self.signal(signal);
        }
    }
}

/// The exit code of a command, as in shells.
fn code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, signal) => SIGNAL_BASE + signal.unwrap_or_default(),
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
