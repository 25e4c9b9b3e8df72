//! A running etcd of one member. The process and its files are gone when the value is; when the
//! test is failing, its log is printed.

use std::{
    fs::{self, File},
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::tools::Tools;

/// How long etcd may take to serve, on a busy machine.
const READY_MAX: Duration = Duration::from_secs(30);
/// Bytes of the log that are shown when a test fails.
const LOG_SHOWN_BYTES: usize = 4000;

pub(crate) struct Etcd {
    tools: Tools,
    endpoint: String,
    child: Child,
    directory: TempDir,
}

impl Etcd {
    /// Starts it with nothing.
    pub(crate) fn new(tools: &Tools) -> Self {
        Self::start(tools, |_, _| {})
    }

    /// Starts it with what a snapshot holds. `flags` are further ones for the restore.
    pub(crate) fn restored(tools: &Tools, file: &Path, flags: &[&str]) -> Self {
        Self::start(tools, |data, peer| {
            let mut restore = tools.file_command(["snapshot", "restore"]);
            restore.arg(file).args(flags);
            restore.args(["--name", "m1", "--data-dir"]).arg(data);
            restore.args(["--initial-cluster", &format!("m1={peer}")]);
            restore.args(["--initial-advertise-peer-urls", peer]);
            let output = restore.output().expect("the program can be run");
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "the restore failed: {error}");
        })
    }

    fn start(tools: &Tools, prepare: impl FnOnce(&Path, &str)) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("tenure-test-etcd-")
            .tempdir()
            .expect("the temporary directory can be written to");
        let [client, peer] = free_urls();
        let data = directory.path().join("data");
        prepare(&data, &peer);
        let log = File::create(directory.path().join("log")).unwrap();
        let mut etcd = Command::new(&tools.etcd);
        etcd.args(["--name", "m1", "--log-level", "error", "--data-dir"])
            .arg(&data)
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("m1={peer}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        let mut started = Self {
            tools: tools.clone(),
            endpoint: client,
            child: etcd.spawn().expect("etcd can be started"),
            directory,
        };
        started.wait_ready();
        started
    }

    fn wait_ready(&mut self) {
        let deadline = Instant::now() + READY_MAX;
        loop {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "etcd ended: {ended:?}");
            // It waits for an answer by itself. `endpoint health` would fail for an alarm.
            let read = self.command(&["get", "any"]).output().unwrap();
            if read.status.success() {
                return;
            }
            assert!(Instant::now() < deadline, "etcd does not serve: {read:?}");
        }
    }

    fn arguments<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [&["--endpoints", &self.endpoint], words].concat()
    }

    fn command(&self, words: &[&str]) -> Command {
        self.tools.ctl_command(self.arguments(words))
    }

    /// Runs a command of `etcdctl` and returns what it printed.
    pub(crate) fn ctl(&self, words: &[&str]) -> String {
        self.tools.ctl(self.arguments(words))
    }

    /// Runs a command that reads its input.
    pub(crate) fn ctl_with_input(&self, words: &[&str], input: &str) -> String {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{words:?} failed");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Its HashKV at a revision: hash, and compact revision.
    pub(crate) fn hash_kv(&self, revision: i64, user: &[&str]) -> (u64, i64) {
        let revision = revision.to_string();
        let words = ["endpoint", "hashkv", "--write-out=json", "--rev", &revision];
        let text = self.ctl(&[user, &words].concat());
        let answer: Value = serde_json::from_str(&text).expect("the hash is JSON");
        let hash = &answer[0]["HashKV"];
        let compacted = hash["compact_revision"].as_i64().unwrap_or_default();
        (hash["hash"].as_u64().expect("there is a hash"), compacted)
    }

    /// Saves a snapshot.
    pub(crate) fn save(&self, user: &[&str]) -> PathBuf {
        let file = self.directory.path().join("saved.db");
        let words = ["snapshot", "save", file.to_str().unwrap()];
        self.ctl(&[user, &words].concat());
        file
    }

    /// Stops it in order, and returns its database; the files are gone with the directory.
    pub(crate) fn stop(mut self) -> (TempDir, PathBuf) {
        let id = self.child.id().to_string();
        let kill = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(kill.success());
        self.child.wait().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("db");
        let own = self.directory.path().join("data/member/snap/db");
        fs::copy(own, &database).unwrap();
        (directory, database)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // Both fail only when the child is gone already.
        _ = self.child.kill();
        _ = self.child.wait();
        if thread::panicking() {
            let log = fs::read(self.directory.path().join("log")).unwrap_or_default();
            let end = &log[log.len().saturating_sub(LOG_SHOWN_BYTES)..];
            _ = std::io::stderr().write_all(end);
        }
    }
}

/// Two addresses that nobody listens at.
fn free_urls() -> [String; 2] {
    // Held together, so that they differ.
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| format!("http://{}", listener.local_addr().unwrap()))
}
