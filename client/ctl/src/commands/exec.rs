//! Watches over a command that runs for as long as a lock is held, and not longer.
//!
//! The command gets a process group of its own, so that whatever it starts ends with it. The
//! invariant: once the lock is lost, no member of the group runs on, except while this process
//! itself is stopped; then the group is killed as soon as it goes on.

use std::{
    io::{self, IsTerminal},
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep_until},
};

use super::{signals::Source, tell};
use crate::{
    supervision::{Supervision, Verdict},
    tether,
};

/// What shells add to the number of the signal that ended a command.
const SIGNAL_BASE: i32 = 128;

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

/// Runs `command` while `held` is held; it is told to end `grace` before the deadline.
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
    loop {
        let wake = match supervision.judge(Instant::now(), held.deadline(), held.is_lost()) {
            Verdict::Wait(wake) => wake,
            Verdict::Terminate => {
                tell("the lock cannot be renewed: the command is told to end");
                group.signal(Signal::TERM);
                // A stopped process would not notice.
                group.signal(Signal::CONT);
                continue;
            }
            Verdict::Kill => {
                group.signal(Signal::KILL);
                child.wait().await?;
                return Ok(Ending::Lost);
            }
        };
        // All of these are cancel safe: a child's status, a signal and a loss stay until somebody
        // asks for them.
        tokio::select! {
            status = child.wait() => {
                let status = status?;
                let in_time = !held.is_lost() && Instant::now() < held.deadline();
                if in_time && !supervision.is_ending() {
                    return Ok(Ending::Exited(code(status)));
                }
                // Whether it ended before the lock did cannot be told any more, and what it
                // started may have stayed behind.
                group.signal(Signal::KILL);
                return Ok(Ending::Lost);
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
            let _ = kill_process_group(group, signal);
        }
    }

    /// Gives a signal that this process received to the command.
    fn pass_on(self, signal: Signal) {
        if signal == Signal::TSTP {
            tell("a command that runs under a lock cannot be suspended: the lock would be lost");
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
mod tests {
    use std::{
        fs::File,
        io::Read,
        path::PathBuf,
        sync::{
            Mutex,
            atomic::{AtomicBool, AtomicU32, Ordering},
        },
    };

    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use tokio::sync::{Notify, mpsc};

    use super::*;

    /// Longer than any test runs.
    const LONG: Duration = Duration::from_secs(3_600);
    /// Ends only by a signal that cannot be ignored, and has a child that does the same.
    const STUBBORN: &str = "trap '' TERM; sleep 3600 & echo ready >&3; wait; wait";

    /// Goes on until a signal ends it. Not one long command: a shell that is signalled just before
    /// it starts one would not look at its traps until that is over.
    const BUSY: &str = "while :; do sleep 0.01; done";

    /// A lock under the control of a test.
    struct Fake {
        deadline: Mutex<Instant>,
        lost: AtomicBool,
        news: Notify,
    }

    impl Fake {
        fn new() -> Self {
            Self {
                deadline: Mutex::new(Instant::now() + LONG),
                lost: AtomicBool::new(false),
                news: Notify::new(),
            }
        }

        fn move_deadline(&self, left: Duration) {
            *self.deadline.lock().unwrap() = Instant::now() + left;
            self.news.notify_one();
        }

        fn lose(&self) {
            self.lost.store(true, Ordering::SeqCst);
            self.news.notify_one();
        }
    }

    impl Held for Fake {
        fn deadline(&self) -> Instant {
            *self.deadline.lock().unwrap()
        }

        fn is_lost(&self) -> bool {
            self.lost.load(Ordering::SeqCst)
        }

        async fn lost(&self) {
            self.news.notified().await;
        }
    }

    impl Source for mpsc::Receiver<Signal> {
        async fn next(&mut self) -> Signal {
            match self.recv().await {
                Some(signal) => signal,
                None => std::future::pending().await,
            }
        }
    }

    /// A pipe that a command and everything it starts hold open as descriptor 3: it ends when the
    /// last of them does.
    struct Line {
        path: PathBuf,
    }

    impl Line {
        fn new() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let count = COUNT.fetch_add(1, Ordering::SeqCst);
            let name = format!("tenurectl-exec-{}-{count}", std::process::id());
            let path = std::env::temp_dir().join(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
            Self { path }
        }

        /// A shell that says on the pipe what `script` writes to descriptor 3.
        fn shell(&self, script: &str) -> std::process::Command {
            let mut command = std::process::Command::new("sh");
            command.arg("-c").arg(format!("exec 3>\"$LINE\"; {script}"));
            command.env("LINE", &self.path);
            // One that outlives a test which failed must not keep its output open.
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        }

        /// Waits for `ready`, then does `then`, and returns what the command said until its end.
        async fn after_ready(&self, then: impl AsyncFnOnce()) -> String {
            let path = self.path.clone();
            let opened = tokio::task::spawn_blocking(move || {
                let mut pipe = File::open(path).unwrap();
                let mut word = [0; b"ready\n".len()];
                pipe.read_exact(&mut word).unwrap();
                assert_eq!(&word, b"ready\n");
                pipe
            });
            let mut pipe = opened.await.unwrap();
            then().await;
            let rest = tokio::task::spawn_blocking(move || {
                let mut rest = String::new();
                pipe.read_to_string(&mut rest).unwrap();
                rest
            });
            rest.await.unwrap()
        }
    }

    impl Drop for Line {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }

    fn silent() -> mpsc::Receiver<Signal> {
        mpsc::channel(1).1
    }

    async fn ending(script: &str) -> Ending {
        let mut command = std::process::Command::new("sh");
        command.arg("-c").arg(script);
        let held = Fake::new();
        let grace = Duration::from_secs(1);
        run(command, &held, grace, &mut silent()).await.unwrap()
    }

    #[tokio::test]
    async fn the_exit_code_of_the_command_is_passed_on() {
        assert_eq!(ending("exit 0").await, Ending::Exited(0));
        assert_eq!(ending("exit 7").await, Ending::Exited(7));
        assert_eq!(ending("kill -9 $$").await, Ending::Exited(137));
    }

    #[tokio::test]
    async fn a_command_that_does_not_exist_has_the_exit_code_of_shells() {
        for (program, code) in [("/nonexistent", 127), ("/", 126)] {
            let command = std::process::Command::new(program);
            let ending = run(command, &Fake::new(), LONG / 2, &mut silent()).await;
            assert_eq!(ending.unwrap(), Ending::Exited(code), "{program}");
        }
    }

    #[tokio::test]
    async fn a_command_that_cannot_keep_its_lock_is_told_to_end_first() {
        let (line, held, mut signals) = (Line::new(), Fake::new(), silent());
        let polite = format!("trap 'echo asked >&3; exit 0' TERM; echo ready >&3; {BUSY}");
        // Within its grace at once, and far from the deadline.
        let (ending, said) = tokio::join!(
            run(line.shell(&polite), &held, LONG / 4, &mut signals),
            line.after_ready(async || held.move_deadline(LONG / 8)),
        );
        assert_eq!(ending.unwrap(), Ending::Lost, "although it ended well");
        assert_eq!(said, "asked\n");
    }

    #[tokio::test]
    async fn a_command_and_what_it_started_are_killed_at_the_deadline() {
        let (line, held, mut signals) = (Line::new(), Fake::new(), silent());
        let left = Duration::from_millis(300);
        let (ending, said) = tokio::join!(
            run(line.shell(STUBBORN), &held, left / 2, &mut signals),
            line.after_ready(async || held.move_deadline(left)),
        );
        assert_eq!(ending.unwrap(), Ending::Lost);
        assert_eq!(said, "", "the pipe ended, so nobody holds it any more");
    }

    #[tokio::test]
    async fn a_command_whose_lock_is_lost_is_killed_at_once() {
        let (line, held, mut signals) = (Line::new(), Fake::new(), silent());
        let (ending, _) = tokio::join!(
            run(line.shell(STUBBORN), &held, LONG / 4, &mut signals),
            line.after_ready(async || held.lose()),
        );
        assert_eq!(ending.unwrap(), Ending::Lost);
    }

    #[tokio::test]
    async fn a_deadline_that_is_long_past_kills_at_once() {
        let (line, held, mut signals) = (Line::new(), Fake::new(), silent());
        // As after a stop: the deadline went by while nobody looked.
        let (ending, _) = tokio::join!(
            run(line.shell(STUBBORN), &held, LONG / 4, &mut signals),
            line.after_ready(async || held.move_deadline(Duration::ZERO)),
        );
        assert_eq!(ending.unwrap(), Ending::Lost);
    }

    #[tokio::test]
    async fn signals_are_passed_on_to_the_whole_group() {
        let (line, held) = (Line::new(), Fake::new());
        let (sender, mut signals) = mpsc::channel(1);
        // Not SIGINT: a test that runs in the background may have to ignore it.
        let script = format!("trap 'echo heard >&3; exit 3' TERM; echo ready >&3; {BUSY}");
        let (ending, said) = tokio::join!(
            run(line.shell(&script), &held, LONG / 4, &mut signals),
            line.after_ready(async || sender.send(Signal::TERM).await.unwrap()),
        );
        assert_eq!(ending.unwrap(), Ending::Exited(3));
        assert_eq!(said, "heard\n");
    }
}
