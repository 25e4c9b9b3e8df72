//! Watches over a command that runs for as long as a lock is held, and not longer.
//!
//! The command gets a process group of its own, so that whatever it starts ends with it. The
//! invariant: once the lock is lost or given back, no member of the group runs on, except while
//! this process itself is stopped; then the group is killed as soon as it goes on. No signal waits
//! for a message: whoever reads standard error may have stopped reading.

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

use super::{mention, signals::Source};
use crate::{
    supervision::{Supervision, Verdict},
    tether,
};

/// What shells add to the number of the signal that ended a command.
const SIGNAL_BASE: i32 = 128;
/// How long what a command has left behind may take to end after SIGTERM. The next in line waits
/// meanwhile, so it is short; enough to write a file.
const LEFTOVER_PATIENCE: Duration = Duration::from_secs(2);
/// How long a group that was killed is waited for. Death by SIGKILL takes milliseconds, except in
/// the middle of a call to a disk that does not answer, which nobody can end.
const KILLED_PATIENCE: Duration = Duration::from_secs(1);
/// How often a group is looked at that outlives its command: nothing tells when it is empty.
const GROUP_POLL: Duration = Duration::from_millis(10);

/// Something that is held for some time and can be lost.
pub(super) trait Held {
    /// Until when it is certainly held; every renewal moves it on.
    fn deadline(&self) -> Instant;
    /// Whether it is lost.
    fn is_lost(&self) -> bool;
    /// Waits until it is lost. Cancel safe.
    async fn lost(&self);
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// By itself, or by a signal that was passed on, with this exit code.
    Exited(u8),
    /// Its lock was lost or about to be, and it was told to end, or ended.
    Lost,
}

/// The rest of a group whose command has ended.
#[derive(Debug, Clone, Copy)]
struct Leftover {
    /// How the command ended.
    ending: Ending,
    /// When the rest is killed.
    kill_at: Instant,
}

/// Runs `command` while `held` is held; it is told to end `grace` before the deadline. Returns
/// when nobody of its process group is left.
///
/// # Errors
/// When the command was started and cannot be waited for.
pub(super) async fn run(
    command: std::process::Command,
    held: &impl Held,
    grace: Duration,
    signals: &mut impl Source,
) -> io::Result<Ending> {
    let program = command.get_program().to_owned();
    let mut child = match start(command) {
        Ok(child) => child,
        Err(error) => return Ok(Ending::Exited(tether::not_run(&program, &error))),
    };
    let group = Group::of(&child);
    let mut supervision = Supervision::new(grace);
    let mut leftover: Option<Leftover> = None;
    loop {
        let now = Instant::now();
        if let Some(Leftover { ending, kill_at }) = leftover {
            if group.is_empty() {
                return Ok(ending);
            }
            if now >= kill_at {
                group.kill().await;
                return Ok(ending);
            }
        }
        let wake = match supervision.judge(now, held.deadline(), held.is_lost()) {
            Verdict::Wait(wake) => wake,
            Verdict::Terminate => {
                group.ask_to_end();
                mention("the lock cannot be renewed: the command is told to end");
                continue;
            }
            Verdict::Kill => {
                group.signal(Signal::KILL);
                child.wait().await?;
                return Ok(Ending::Lost);
            }
        };
        let wake = match leftover {
            Some(leftover) => wake.min(leftover.kill_at).min(now + GROUP_POLL),
            None => wake,
        };
        // All of these are cancel safe: a child's status, a signal and a loss stay until somebody
        // asks for them.
        tokio::select! {
            status = child.wait(), if leftover.is_none() => {
                let code = code(status?);
                let now = Instant::now();
                leftover = Some(if supervision.is_ending() {
                    // The others have the same grace. Whether the command ended before the lock did
                    // cannot be told any more.
                    Leftover { ending: Ending::Lost, kill_at: held.deadline() }
                } else if held.is_lost() || now >= held.deadline() {
                    Leftover { ending: Ending::Lost, kill_at: now }
                } else {
                    group.ask_to_end();
                    Leftover { ending: Ending::Exited(code), kill_at: now + LEFTOVER_PATIENCE }
                });
            }
            () = sleep_until(wake) => {}
            () = held.lost() => {}
            signal = signals.next() => group.pass_on(signal),
        }
    }
}

fn start(command: std::process::Command) -> io::Result<Child> {
    let mut command = Command::from(command);
    command.process_group(0);
    // A group of its own is in the background of the terminal: reading from it would stop the
    // command for good.
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
            // A group that is gone needs no signal.
            kill_process_group(group, signal).ok();
        }
    }

    fn ask_to_end(self) {
        self.signal(Signal::TERM);
        // A stopped process would not notice.
        self.signal(Signal::CONT);
    }

    /// Kills whoever is left, and waits until they are gone, within bounds.
    async fn kill(self) {
        self.signal(Signal::KILL);
        let enough = Instant::now() + KILLED_PATIENCE;
        while !self.is_empty() && Instant::now() < enough {
            sleep(GROUP_POLL).await;
        }
    }

    /// Whether nobody is left. Only to be asked after the command itself was waited for: its status
    /// would be taken away from whoever does.
    fn is_empty(self) -> bool {
        let Self(Some(group)) = self else {
            return true;
        };
        // Orphans become children of the first process of a container, which this may be, and
        // count until somebody takes their status.
        while let Ok(Some(_)) = waitpgid(group, WaitOptions::NOHANG) {}
        // Whoever has gained privileges is there, and not ours to signal.
        test_kill_process_group(group) == Err(Errno::SRCH)
    }

    /// Gives a signal that this process received to the command.
    fn pass_on(self, signal: Signal) {
        if signal == Signal::TSTP {
            mention("a command that runs under a lock cannot be suspended: the lock would be lost");
        } else {
            self.signal(signal);
        }
    }
}

/// The exit code of a command as shells give it.
fn code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, signal) => SIGNAL_BASE + signal.unwrap_or_default(),
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
