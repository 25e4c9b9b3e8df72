//! A node that holds what cannot be true, or that lost a part of itself, ends: seen on a child.
//!
//! The child is this test binary again. It brings a log or a node into the state in question and
//! then waits for ever; a parent that has to kill it has found a node that lives on.

use std::{
    env,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use openraft::{
    RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use tenured::{node::LogLimits, storage::LogStore};

use crate::{
    lagging::{blank, id, open},
    lone_node,
    step_disk::{Image, StepDisk},
};

const CHILD: &str = "TENURE_ENDS_TEST_CASE";
/// How long a child may live: it needs far less than a second.
const LIVES_MAX: Duration = Duration::from_secs(20);

/// Runs the child in `case`, and returns what it said when it ended by itself.
fn ends(case: &str) -> String {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "ends::child_ends", "--nocapture"])
        .env(CHILD, case)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() && begun.elapsed() < LIVES_MAX {
        std::thread::yield_now();
    }
    let lives = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!lives, "the process lives on; it said:\n{said}");
    assert!(!output.status.success(), "it ended well; it said:\n{said}");
    said
}

fn assert_ends(case: &str, cause: &str) {
    let said = ends(case);
    let fatal: Vec<_> = said.lines().filter(|line| line.contains("fatal")).collect();
    assert_eq!(fatal.len(), 1, "one line says why: {said}");
    assert!(fatal[0].contains(cause), "{}", fatal[0]);
}

#[test]
fn a_log_that_is_given_an_entry_after_a_gap_ends_the_process() {
    assert_ends(
        "gap",
        "the log ends at T1-N1.0 and was given T1-N1.2, which does not follow it",
    );
}

#[test]
fn a_log_that_is_cut_below_what_is_committed_ends_the_process() {
    assert_ends(
        "cut",
        "the log was to be cut after T1-N1.0, and T1-N1.2 is committed",
    );
}

#[test]
fn a_log_that_cannot_be_read_ends_the_process() {
    assert_ends("unreadable", "the log could not be read");
}

#[test]
fn a_log_that_lost_an_entry_ends_the_process_instead_of_sending_a_gap() {
    assert_ends(
        "hole",
        "entries 0 to 2 of the log were asked for, and what was read goes from 0 to 2",
    );
}

#[test]
fn a_node_whose_consensus_core_ended_ends_too() {
    assert_ends("core", "consensus ended by itself");
}

/// Not a test of its own: does nothing unless it is the child.
#[test]
fn child_ends() {
    let Ok(case) = env::var(CHILD) else {
        return;
    };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        match case.as_str() {
            "gap" => gap().await,
            "cut" => cut().await,
            "unreadable" => unreadable().await,
            "hole" => hole().await,
            "core" => core().await,
            other => panic!("no case {other}"),
        }
        std::future::pending::<()>().await;
    });
}

/// A log of so many entries, on a disk that keeps them.
async fn filled(entries: u64) -> (LogStore, Arc<StepDisk>) {
    let disk = Arc::new(StepDisk::holding(Image::default()));
    let mut log = open(Arc::clone(&disk));
    for index in 0..entries {
        log.append([blank(index)], IOFlushed::noop()).await.unwrap();
    }
    (log, disk)
}

async fn gap() {
    let (mut log, _) = filled(1).await;
    log.append([blank(2)], IOFlushed::noop()).await.unwrap();
}

async fn cut() {
    let (mut log, _) = filled(3).await;
    log.save_committed(Some(id(2))).await.unwrap();
    log.truncate_after(Some(id(0))).await.unwrap();
}

async fn unreadable() {
    let (log, disk) = filled(3).await;
    drop(log);
    // Opened anew, so that nothing is in memory.
    let mut log = open(Arc::clone(&disk));
    disk.fail_reads();
    log.try_get_log_entries(0..3).await.unwrap();
}

async fn hole() {
    let (log, disk) = filled(3).await;
    drop(log);
    let mut log = open(Arc::clone(&disk));
    disk.lose(1);
    log.try_get_log_entries(0..3).await.unwrap();
}

/// A lone node whose core stops, as it does after an error of its storage.
async fn core() {
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = lone_node::start(dir.path(), LogLimits::of(1000)).await;
    node.raft().shutdown().await.unwrap();
    std::future::pending::<()>().await;
}
