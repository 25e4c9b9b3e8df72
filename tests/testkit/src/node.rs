//! One node: a child process, its files, and what can be done to it.
//!
//! # Invariants
//! The process is gone when the [`Node`] is, also when it was paused. A signal goes to nobody but
//! this child.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    calls::Calls,
    page::{Page, page},
    spawner::{self, Launch},
    wait::{STATE_MAX, wait_until},
};

/// A node of a [`Cluster`](crate::Cluster).
#[derive(Debug)]
pub struct Node {
    name: String,
    address: String,
    secure_address: Option<String>,
    launch: Launch,
    data_dir: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    calls: Calls,
}

impl Node {
    pub(crate) fn new(
        name: String,
        address: String,
        launch: Launch,
        data_dir: PathBuf,
        log: PathBuf,
    ) -> Self {
        Self {
            calls: Calls::to(&address),
            name,
            address,
            secure_address: None,
            launch,
            data_dir,
            log,
            child: None,
        }
    }

    pub(crate) fn secured(mut self, address: Option<String>) -> Self {
        self.secure_address = address;
        self
    }

    /// Another node with the same program and flags, but those that the caller sets, and its data
    /// in `directory`.
    pub(crate) fn sibling(&self, name: String, address: String, directory: &Path) -> Self {
        let data_dir = directory.join(&name);
        let log = directory.join(format!("{name}.log"));
        let mut node = Self::new(name, address, self.launch.clone(), data_dir, log);
        let data_dir = node.data_dir.display().to_string();
        node.set_flag("--data-dir", Some(&data_dir));
        node
    }

    /// Its peer URL, by which the other members reach it.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn peer_url(&self) -> String {
        let words = self.command_line();
        let flag = words
            .iter()
            .position(|word| word == "--initial-advertise-peer-urls");
        let url = flag.and_then(|at| words.get(at + 1));
        url.expect("every node advertises a peer URL").clone()
    }

    /// Its `--name`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its client address, `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its client address that speaks TLS only, `host:port`.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn secure_address(&self) -> &str {
        let address = self.secure_address.as_deref();
        address.expect("the cluster was built with TLS for clients")
    }

    /// Its `--data-dir`.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Calls to this node and no other.
    #[must_use]
    pub fn calls(&self) -> Calls {
        self.calls.clone()
    }

    /// The words that start it.
    #[must_use]
    pub fn command_line(&self) -> Vec<String> {
        let words = self.launch.words.iter();
        words
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    /// Changes a flag from the next start on; without a value, leaves it out.
    pub fn set_flag(&mut self, name: &str, value: Option<&str>) {
        let words = &mut self.launch.words;
        while let Some(at) = words.iter().position(|word| word == name) {
            // Flags and their values are words of their own.
            words.drain(at..(at + 2).min(words.len()));
        }
        words.extend(
            value
                .into_iter()
                .flat_map(|value| [name.into(), value.into()]),
        );
    }

    /// Runs another program from the next start on, with the same flags.
    ///
    /// # Panics
    /// When the node has no name.
    pub fn set_program(&mut self, program: &Path) {
        let words = &mut self.launch.words;
        // Wrappers may stand before the program, and `--name` is the first of its flags.
        let name = words.iter().position(|word| word == "--name");
        let at = name.and_then(|at| at.checked_sub(1));
        words[at.expect("a program stands before its flags")] = program.into();
    }

    /// Adds a flag without a value from the next start on.
    pub fn add_switch(&mut self, name: &str) {
        self.launch.words.push(name.into());
    }

    /// Its process id.
    ///
    /// # Panics
    /// When it was stopped.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running().id()
    }

    /// Everything it has logged, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Fetches an HTTP page of it.
    ///
    /// # Panics
    /// When nobody answers.
    pub async fn page(&self, path: &str) -> Page {
        let fetched = page(&self.address, path).await;
        fetched.unwrap_or_else(|error| panic!("{} does not answer {path}: {error}", self.name))
    }

    /// The id that it has as a member.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn member_id(&self) -> u64 {
        let status = self.calls.status().await;
        let status = status.unwrap_or_else(|error| panic!("{} has no status: {error}", self.name));
        status
            .header
            .expect("every response has a header")
            .member_id
    }

    /// Starts it, and does not wait for anything.
    ///
    /// # Panics
    /// When it runs already, or does not start.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let mut options = OpenOptions::new();
        let log = options
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap_or_else(|error| panic!("{} cannot be opened: {error}", self.log.display()));
        self.child = Some(spawner::spawn(&self.launch, &log));
    }

    /// Kills it as a power cut would, and does not return before it is gone.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("a node that is killed runs");
        child.kill().expect("an own child can be killed");
        child.wait().expect("an own child can be waited for");
    }

    /// Asks it to stop (SIGTERM), and returns how it ended.
    ///
    /// # Panics
    /// When it does not end.
    ///
    /// # Cancel safety
    /// The signal may have been sent.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_exit(STATE_MAX).await
    }

    /// Sends SIGTERM and does not wait.
    pub fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Freezes it: it keeps its connections and does nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen node go on.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Starts it again after it ended, with the same flags, and waits until it is ready.
    ///
    /// # Panics
    /// When it runs, or does not become ready.
    pub async fn restart(&mut self) {
        self.start();
        self.wait_ready().await;
    }

    /// Waits until it serves linearizable reads.
    ///
    /// # Panics
    /// When it ends instead, or does not become ready in time.
    pub async fn wait_ready(&mut self) {
        let what = format!("{} is ready", self.name);
        wait_until(&what, STATE_MAX, async || {
            if let Some(status) = self.exited() {
                panic!(
                    "{} ended with {status}; it said:\n{}",
                    self.name,
                    self.log_end()
                );
            }
            match page(&self.address, "/readyz").await {
                Ok(page) if page.status == 200 => Ok(()),
                Ok(page) => Err(page.body),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// When it does not.
    pub async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} has ended", self.name);
        let status = wait_until(&what, limit, async || self.exited().ok_or("it runs")).await;
        self.child = None;
        status
    }

    /// How it ended, if it did.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut()?;
        child.try_wait().expect("an own child can be waited for")
    }

    /// The last part of its log, for messages.
    #[must_use]
    pub fn log_end(&self) -> String {
        const LINES: usize = 60;
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn running(&self) -> &Child {
        let child = self.child.as_ref();
        child.unwrap_or_else(|| panic!("{} does not run", self.name))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.running()), signal).expect("an own child gets signals");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only when the child is gone already.
            _ = child.kill();
            _ = child.wait();
        }
    }
}
