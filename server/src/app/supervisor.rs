//! Reports to the service manager: when the node is ready, that it lives, and when it stops.
//!
//! The protocol is systemd's, sd_notify(3); without its variables nothing is sent. The node is
//! ready when `/readyz` says so. The watchdog is fed by work, not by a timer: only after the state
//! was read and consensus answered. A disk that hangs has a limit of its own, so it does not count.

use std::{env, ffi::OsString, process, sync::Arc, time::Duration};

use tracing::{info, warn};

use crate::{
    admin::{self, Health, ProbeFuture},
    tasks,
    transport::Notices,
};

/// Pause between two looks at a node that is not ready.
const LOOK_PAUSE: Duration = Duration::from_millis(50);
/// Longest text of a status: a datagram must fit into the queue of the service manager.
const STATUS_BYTES_MAX: usize = 256;
/// Into how many parts the watchdog's time is divided. A sign of life and the pause before it take
/// one part each at most, so two late ones in a row are still in time.
const WATCHDOG_PARTS: u32 = 4;

/// What the service manager is told about.
pub(super) trait Signs: Send + Sync + 'static {
    /// What the pages report.
    fn health(&self) -> &dyn Health;
    /// Resolves once the node has shown that it works.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time.
    fn alive(&self) -> ProbeFuture<'_>;
}

/// The service manager, if there is one.
#[derive(Clone, Debug, Default)]
pub(super) struct Supervisor {
    notices: Option<Arc<Notices>>,
    /// Time within which the service manager expects a sign of life.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that started this process.
    pub(super) fn of_process() -> Self {
        Self::described_by(variable, process::id())
    }

    fn described_by(lookup: impl Fn(&str) -> Option<OsString>, pid: u32) -> Self {
        let Some(name) = lookup("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Self::default();
        };
        let notices = match Notices::open(&name) {
            Ok(notices) => notices,
            Err(error) => {
                warn!(socket = ?name, %error, "NOTIFY_SOCKET: the service manager is not notified");
                return Self::default();
            }
        };
        let number = |name| lookup(name)?.into_string().ok()?.parse::<u64>().ok();
        let of_another = number("WATCHDOG_PID").is_some_and(|other| other != u64::from(pid));
        Self {
            notices: Some(Arc::new(notices)),
            watchdog: number("WATCHDOG_USEC")
                .filter(|micros| *micros > 0 && !of_another)
                .map(Duration::from_micros),
        }
    }

    /// Tells that the process stops, and why.
    pub(super) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=stopping");
    }

    /// Tells when the node is ready, and from then on that it lives.
    pub(super) fn watch(&self, signs: impl Signs) {
        if self.notices.is_none() {
            return;
        }
        let supervisor = self.clone();
        tasks::spawn("supervisor", async move {
            supervisor.until_ready(&signs).await;
            info!("told the service manager that this node is ready");
            if let Some(watchdog) = supervisor.watchdog {
                supervisor.feed(watchdog / WATCHDOG_PARTS, &signs).await;
            }
        });
    }

    /// Tells why the node is not ready, until it is and the service manager was told.
    async fn until_ready(&self, signs: &impl Signs) {
        let mut told = String::new();
        loop {
            match admin::readiness(signs.health()).await {
                Ok(()) if self.tell("READY=1\nSTATUS=ready") => return,
                Ok(()) => {}
                Err(reason) => {
                    let status = status(&reason);
                    if status != told && self.tell(&status) {
                        told = status;
                    }
                }
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Sends a sign of life after each that the node gave in time.
    async fn feed(&self, part: Duration, signs: &impl Signs) {
        loop {
            match tokio::time::timeout(part, signs.alive()).await {
                Ok(Ok(())) => _ = self.tell("WATCHDOG=1"),
                Ok(Err(error)) => warn!(%error, "no sign of life for the service manager"),
                Err(_) => warn!(limit = ?part, "no sign of life for the service manager in time"),
            }
            tokio::time::sleep(part).await;
        }
    }

    /// Whether the notice was sent.
    fn tell(&self, assignments: &str) -> bool {
        let Some(notices) = &self.notices else {
            return false;
        };
        match notices.send(assignments) {
            Ok(()) => true,
            Err(error) => {
                warn!(%error, "a notice to the service manager was not sent");
                false
            }
        }
    }
}

/// A variable of this process.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}

/// The assignment of a status, in one line.
fn status(reason: &str) -> String {
    let mut line: String = reason.trim().replace('\n', "; ");
    let mut end = line.len().min(STATUS_BYTES_MAX);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    format!("STATUS=not ready: {line}")
}

#[cfg(test)]
mod tests;
