//! A node of etcd itself, for tests that hold our answers against its answers.
//!
//! Not a cluster: what is compared does not depend on the number of nodes. The process is gone when
//! the [`Etcd`] is; its files are too, unless the test is failing.

use std::{
    fs::{self, File},
    io::Write,
    path::PathBuf,
    process::Child,
    thread,
};

use tempfile::TempDir;

use crate::{
    calls::Calls,
    ports::free_port,
    spawner::{self, Launch},
    tool::find_program,
    wait::{STATE_MAX, wait_until},
};

/// Bytes of the log that are shown when a test fails.
const LOG_SHOWN_BYTES: usize = 4000;

/// A running etcd.
#[derive(Debug)]
pub struct Etcd {
    address: String,
    child: Child,
    log: PathBuf,
    directory: Option<TempDir>,
}

impl Etcd {
    /// Starts Debian's etcd and waits until it serves; `None`, said loudly, when it is not
    /// installed.
    ///
    /// # Panics
    /// When it is installed and does not serve.
    pub async fn start() -> Option<Self> {
        let Some(program) = find_program("etcd") else {
            // Past the capture of a passing test: a skipped check must be seen.
            let notice = "SKIPPED: etcd is not installed (Debian: etcd-server)\n";
            _ = std::io::stderr().write_all(notice.as_bytes());
            return None;
        };
        let mut etcd = Self::spawn(program);
        etcd.wait_ready().await;
        Some(etcd)
    }

    fn spawn(program: PathBuf) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("tenure-test-etcd-")
            .tempdir()
            .expect("the temporary directory can be written to");
        let [client, peer] = [free_port(), free_port()];
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let flags = [
            ("--name", "etcd".to_owned()),
            (
                "--data-dir",
                directory.path().join("data").display().to_string(),
            ),
            ("--listen-client-urls", url(client)),
            ("--advertise-client-urls", url(client)),
            ("--listen-peer-urls", url(peer)),
            ("--initial-advertise-peer-urls", url(peer)),
            ("--initial-cluster", format!("etcd={}", url(peer))),
            ("--log-level", "error".to_owned()),
        ];
        let words = [program.into_os_string()]
            .into_iter()
            .chain(
                flags
                    .into_iter()
                    .flat_map(|(flag, value)| [flag.into(), value.into()]),
            )
            .collect();
        let log = directory.path().join("log");
        let output = File::create(&log).expect("an own directory can be written to");
        Self {
            address: format!("127.0.0.1:{client}"),
            child: spawner::spawn(&Launch { words }, &output),
            log,
            directory: Some(directory),
        }
    }

    /// Its client address, `host:port`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    async fn wait_ready(&mut self) {
        let calls = Calls::to(&self.address);
        let (child, log) = (&mut self.child, &self.log);
        wait_until("etcd serves", STATE_MAX, async || {
            let ended = child.try_wait().expect("an own child can be waited for");
            if let Some(status) = ended {
                panic!("etcd ended with {status}; it said:\n{}", log_end(log));
            }
            calls.get("any").await.map_err(|status| status.to_string())
        })
        .await;
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let report = thread::panicking().then(|| log_end(&self.log));
        // Both fail only when the child is gone already.
        _ = self.child.kill();
        _ = self.child.wait();
        if let (Some(report), Some(directory)) = (report, self.directory.take()) {
            let kept = directory.keep();
            let text = format!("\n--- etcd, files in {}:\n{report}\n", kept.display());
            _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}

fn log_end(log: &PathBuf) -> String {
    let log = fs::read(log).unwrap_or_default();
    let end = &log[log.len().saturating_sub(LOG_SHOWN_BYTES)..];
    String::from_utf8_lossy(end).into_owned()
}
