//! What was reported durable survives a crash of the process; and the test that says so bites.
//!
//! The child is this test binary again. It appends to a log, prints every index that the log
//! reported flushed, and is killed in the middle. Its files keep what was not synced in the
//! process's own memory, so a log that reports before it syncs loses what it reported.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use openraft::{
    entry::RaftEntry,
    storage::{IOFlushed, RaftLogStorage},
};
use openraft_rt::Oneshot;
use openraft_rt_tokio::TokioOneshot;
use tenured::{
    consensus::{Batch, Entry, LogId, Payload, Vote},
    storage::{LogDisk, open_log},
};

use crate::{
    recovery::OWNER,
    store::{self, SyncMode},
};

const CHILD_DIR: &str = "TENURE_CRASH_TEST_DIR";
const CHILD_BROKEN: &str = "TENURE_CRASH_TEST_BROKEN";
/// Appends the parent sees before it kills the child.
const ACKNOWLEDGED: u64 = 100;

#[test]
fn what_the_log_reported_durable_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = append_until_killed(dir.path(), SyncMode::Real);
    assert!(acknowledged >= ACKNOWLEDGED);
    assert!(
        surviving(dir.path()) >= acknowledged,
        "an acknowledged entry is gone"
    );
}

#[test]
fn a_log_that_reports_without_syncing_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    let acknowledged = append_until_killed(dir.path(), SyncMode::Skipped);
    assert!(acknowledged >= ACKNOWLEDGED);
    assert!(
        surviving(dir.path()) < acknowledged,
        "the crash lost nothing, so it proves nothing"
    );
}

/// Runs the child, kills it after enough appends, and returns the last index it reported.
fn append_until_killed(dir: &Path, sync: SyncMode) -> u64 {
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "crash::child_appends_until_it_is_killed",
            "--nocapture",
        ])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped());
    if sync == SyncMode::Skipped {
        command.env(CHILD_BROKEN, "1");
    }
    let mut child = command.spawn().unwrap();
    let mut last = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        if let Some(index) = line.strip_prefix("durable ") {
            last = index.parse().unwrap();
        }
        if last == ACKNOWLEDGED {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    last
}

/// The last index that a restarted process finds.
fn surviving(dir: &Path) -> u64 {
    let disk = open_log(&dir.join("log"), OWNER).unwrap();
    disk.last_index().unwrap().unwrap_or(0)
}

/// Not a test of its own: does nothing unless it is the child.
#[test]
fn child_appends_until_it_is_killed() {
    let Some(dir) = env::var_os(CHILD_DIR) else {
        return;
    };
    let broken = env::var_os(CHILD_BROKEN).is_some();
    let sync = if broken {
        SyncMode::Skipped
    } else {
        SyncMode::Real
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut log = store::lossy_log(Path::new(&dir), sync);
        for index in 0.. {
            let (done, flushed) = <TokioOneshot as Oneshot>::channel();
            let entry = Entry::new(
                LogId::new(*Vote::new(1, 1).leader_id(), index),
                Payload::Normal(Batch(vec![7; 200].into())),
            );
            log.append([entry], IOFlushed::signal(done)).await.unwrap();
            flushed.await.unwrap().unwrap();
            let mut out = std::io::stdout();
            // The parent may have closed its end already.
            if writeln!(out, "durable {index}")
                .and_then(|()| out.flush())
                .is_err()
            {
                return;
            }
        }
    });
}
