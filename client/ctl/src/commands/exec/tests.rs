//! Commands under a lock that the tests control: how they and their children end.

use std::{
    fs::File,
    io::{Read, Write},
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use rustix::fs::{CWD, FileType, Mode, OFlags, fcntl_setfl, mknodat};
use tokio::{
    sync::{Notify, mpsc},
    time::timeout,
};

use super::*;

/// Longer than any test runs.
const LONG: Duration = Duration::from_secs(3_600);
/// Far more than the process with a blocked standard error takes.
const BLOCKED_PATIENCE: Duration = Duration::from_secs(20);
/// Ends only by a signal that cannot be ignored, and has a child that does the same.
const STUBBORN: &str = "trap '' TERM; sleep 3600 & echo ready >&3; wait; wait";

/// Runs until a signal ends it. Not one long command: a shell that is signalled just before it
/// starts one would handle its traps only after the end of that command.
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

impl LockHandle for Fake {
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

/// A pipe that a command and all its descendants hold open as descriptor 3: it ends when the last
/// of them does.
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

    /// A shell that sends the output of `script` on descriptor 3 to the pipe.
    fn shell(&self, script: &str) -> std::process::Command {
        let mut command = std::process::Command::new("sh");
        command.arg("-c").arg(format!("exec 3>\"$LINE\"; {script}"));
        command.env("LINE", &self.path);
        // A process that outlives a failed test must not keep its output open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Waits for `ready`, runs `then`, and returns the output of the command up to its end.
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
        _ = std::fs::remove_file(&self.path);
    }
}

fn silent() -> mpsc::Receiver<Signal> {
    mpsc::channel(1).1
}

async fn exit(script: &str) -> CommandExit {
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(script);
    let held = Fake::new();
    let grace = Duration::from_secs(1);
    run(command, &held, grace, &mut silent()).await.unwrap()
}

#[tokio::test]
async fn the_exit_code_of_the_command_is_passed_on() {
    assert_eq!(exit("exit 0").await, CommandExit::Exited(0));
    assert_eq!(exit("exit 7").await, CommandExit::Exited(7));
    assert_eq!(exit("kill -9 $$").await, CommandExit::Exited(137));
}

#[tokio::test]
async fn a_command_that_does_not_exist_has_the_exit_code_of_shells() {
    for (program, code) in [("/nonexistent", 127), ("/", 126)] {
        let command = std::process::Command::new(program);
        let exit = run(command, &Fake::new(), LONG / 2, &mut silent()).await;
        assert_eq!(exit.unwrap(), CommandExit::Exited(code), "{program}");
    }
}

#[tokio::test]
async fn a_command_that_cannot_keep_its_lock_is_told_to_end_first() {
    let (line, held, mut signals) = (Line::new(), Fake::new(), silent());
    let polite = format!("trap 'echo asked >&3; exit 0' TERM; echo ready >&3; {BUSY}");
    // Within the grace period at once, and far from the deadline.
    let (exit, said) = tokio::join!(
        run(line.shell(&polite), &held, LONG / 4, &mut signals),
        line.after_ready(async || held.move_deadline(LONG / 8)),
    );
    assert_eq!(exit.unwrap(), CommandExit::Lost, "although it ended well");
    assert_eq!(said, "asked\n");
}

#[tokio::test]
async fn a_command_and_what_it_started_are_killed_at_the_deadline() {
    let (line, held, mut signals) = (Line::new(), Fake::new(), silent());
    let left = Duration::from_millis(300);
    let (exit, said) = tokio::join!(
        run(line.shell(STUBBORN), &held, left / 2, &mut signals),
        line.after_ready(async || held.move_deadline(left)),
    );
    assert_eq!(exit.unwrap(), CommandExit::Lost);
    assert_eq!(said, "", "the pipe ended, so nobody holds it any more");
}

#[tokio::test]
async fn a_command_whose_lock_is_lost_is_killed_at_once() {
    let (line, held, mut signals) = (Line::new(), Fake::new(), silent());
    let (exit, _) = tokio::join!(
        run(line.shell(STUBBORN), &held, LONG / 4, &mut signals),
        line.after_ready(async || held.lose()),
    );
    assert_eq!(exit.unwrap(), CommandExit::Lost);
}

#[tokio::test]
async fn a_deadline_that_is_long_past_kills_at_once() {
    let (line, held, mut signals) = (Line::new(), Fake::new(), silent());
    // As after a stop of this process: the deadline passed without being handled.
    let (exit, _) = tokio::join!(
        run(line.shell(STUBBORN), &held, LONG / 4, &mut signals),
        line.after_ready(async || held.move_deadline(Duration::ZERO)),
    );
    assert_eq!(exit.unwrap(), CommandExit::Lost);
}

#[tokio::test]
async fn signals_are_passed_on_to_the_whole_group() {
    let (line, held) = (Line::new(), Fake::new());
    let (sender, mut signals) = mpsc::channel(1);
    // Not SIGINT: a test that runs in the background may have to ignore it.
    let script = format!("trap 'echo heard >&3; exit 3' TERM; echo ready >&3; {BUSY}");
    let (exit, said) = tokio::join!(
        run(line.shell(&script), &held, LONG / 4, &mut signals),
        line.after_ready(async || sender.send(Signal::TERM).await.unwrap()),
    );
    assert_eq!(exit.unwrap(), CommandExit::Exited(3));
    assert_eq!(said, "heard\n");
}

#[tokio::test]
async fn what_a_command_leaves_behind_is_told_to_end_before_its_lock_is_released() {
    let (line, held, mut signals) = (Line::new(), Fake::new(), silent());
    let script = "sleep 3600 & echo ready >&3; exit 4";
    let (exit, said) = tokio::join!(
        run(line.shell(script), &held, LONG / 4, &mut signals),
        line.after_ready(async || ()),
    );
    assert_eq!(exit.unwrap(), CommandExit::Exited(4));
    assert_eq!(said, "", "the pipe ended, so nobody holds it any more");
}

#[tokio::test]
async fn what_a_command_leaves_behind_is_killed_when_it_does_not_end() {
    let (line, held, mut signals) = (Line::new(), Fake::new(), silent());
    let started = Instant::now();
    let script = "trap '' TERM; sleep 3600 & echo ready >&3; exit 4";
    let (exit, _) = tokio::join!(
        run(line.shell(script), &held, LONG / 4, &mut signals),
        line.after_ready(async || ()),
    );
    assert_eq!(exit.unwrap(), CommandExit::Exited(4));
    assert!(started.elapsed() >= LEFTOVER_PATIENCE);
}

#[tokio::test]
async fn others_keep_their_grace_when_the_command_itself_ends_at_once() {
    let (line, held, mut signals) = (Line::new(), Fake::new(), silent());
    let slow = "trap 'sleep 0.2; echo tidied >&3; exit 0' TERM; echo ready >&3";
    let script = format!("trap 'exit 0' TERM; ({slow}; {BUSY}) & wait");
    let (exit, said) = tokio::join!(
        run(line.shell(&script), &held, LONG / 4, &mut signals),
        line.after_ready(async || held.move_deadline(LONG / 8)),
    );
    assert_eq!(exit.unwrap(), CommandExit::Lost);
    assert_eq!(said, "tidied\n");
}

/// Set for the process in which standard error is blocked.
const BLOCKED: &str = "TENURECTL_TEST_BLOCKED";

/// A full pipe: writes block until it is read.
fn full_pipe() -> (io::PipeReader, io::PipeWriter) {
    let (reader, mut writer) = io::pipe().unwrap();
    fcntl_setfl(&writer, OFlags::NONBLOCK).unwrap();
    let full = loop {
        if let Err(error) = writer.write(b".") {
            break error;
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    fcntl_setfl(&writer, OFlags::empty()).unwrap();
    (reader, writer)
}

/// The work of the process with a blocked standard error.
async fn end_a_command_under_a_blocked_stderr() {
    let (line, held) = (Line::new(), Fake::new());
    let (sender, mut signals) = mpsc::channel(1);
    let left = Duration::from_millis(300);
    let (exit, _) = tokio::join!(
        run(line.shell(STUBBORN), &held, left / 2, &mut signals),
        line.after_ready(async || {
            sender.send(Signal::TSTP).await.unwrap();
            held.move_deadline(left);
        }),
    );
    assert_eq!(exit.unwrap(), CommandExit::Lost);
}

#[tokio::test]
async fn signals_do_not_wait_until_somebody_reads_standard_error() {
    const NAME: &str = "signals_do_not_wait_until_somebody_reads_standard_error";
    if std::env::var_os(BLOCKED).is_some() {
        return end_a_command_under_a_blocked_stderr().await;
    }
    let (_reader, writer) = full_pipe();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "--nocapture"])
        .arg(format!("commands::exec::tests::{NAME}"));
    command.env(BLOCKED, "yes").stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(writer);
    command.kill_on_drop(true);
    let child = command.spawn().unwrap();
    let ended = timeout(BLOCKED_PATIENCE, child.wait_with_output()).await;
    let output = ended.expect("it does not wait").unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}");
}
