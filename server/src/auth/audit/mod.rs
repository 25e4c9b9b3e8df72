//! The audit log: one JSON line for each administrative act, done or refused.
//!
//! A line says who did what, from where, and how it ended. It never holds a password or a token,
//! because none can be put into a [`Record`]; names are cut to a bounded length.
//!
//! Acts do not wait for the log. Lines go through a bounded queue to a thread of their own; when it
//! is full, because the disk hangs, or when a write fails, lines are lost. What is lost is counted,
//! in a metric and in the next line that is written, so a gap shows. Refusing acts instead would
//! let a full disk keep an operator from disabling a user.
//!
//! Lines are handed to the operating system at once but not synced: they survive the end of the
//! process, not that of the machine.

mod file;
mod line;
mod writer;

use std::{
    borrow::Cow,
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::mpsc;

use self::{
    line::{Line, shown},
    writer::Writer,
};
use crate::{clock::WallClock, config::AuditTarget, metrics::AuthMetrics, tasks};

/// Lines that wait for the disk: minutes of administration by hand, and seconds by a script.
const WAITING_MAX: usize = 4096;

/// One administrative act.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The name of the user, if the caller has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// The address of the caller; none on a local socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<SocketAddr>,
    /// The common name in the client certificate of the caller, if it showed one.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    /// The method, such as `Auth/UserAdd`.
    action: Cow<'static, str>,
    /// What it was about: names of users, roles and members, key ranges.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "line::pairs")]
    details: Vec<(&'static str, String)>,
    #[serde(flatten)]
    result: AuditResult,
}

/// How an act ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "result", content = "reason", rename_all = "lowercase")]
pub enum AuditResult {
    /// It is done.
    Done,
    /// It was refused, for this reason.
    Refused(&'static str),
    /// It failed for this reason; it may have been done all the same.
    Failed(&'static str),
}

impl Record {
    /// An act of an unknown caller.
    #[must_use]
    pub fn new(action: impl Into<Cow<'static, str>>, result: AuditResult) -> Self {
        Self {
            user: None,
            peer: None,
            certificate: None,
            action: action.into(),
            details: Vec::new(),
            result,
        }
    }

    /// Says how it ended.
    #[must_use]
    pub fn ending(mut self, result: AuditResult) -> Self {
        self.result = result;
        self
    }

    /// Names the caller.
    #[must_use]
    pub fn by(mut self, user: &str) -> Self {
        self.user = Some(shown(user));
        self
    }

    /// Says where the call came from.
    #[must_use]
    pub fn calling_from(mut self, peer: Option<SocketAddr>, certificate: Option<&str>) -> Self {
        self.peer = peer;
        self.certificate = certificate.map(shown);
        self
    }

    /// Adds what the act was about. Must be no secret.
    #[must_use]
    pub fn about(mut self, name: &'static str, value: &str) -> Self {
        self.details.push((name, shown(value)));
        self
    }
}

/// The audit log of this member. Clones write to the same one.
#[derive(Debug, Clone)]
pub struct AuditLog(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    /// `None` once it is closed.
    queue: Mutex<Option<mpsc::Sender<Line>>>,
    lost: Arc<AtomicU64>,
    wall_clock: Arc<dyn WallClock>,
    metrics: AuthMetrics,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl AuditLog {
    /// Opens the log and starts its thread.
    ///
    /// # Errors
    /// The file cannot be opened, or there can be no thread. The node must not start: it would do
    /// unwatched what was asked to be watched.
    pub fn open(
        target: &AuditTarget,
        wall_clock: Arc<dyn WallClock>,
        metrics: AuthMetrics,
    ) -> io::Result<Self> {
        let writer = match target {
            AuditTarget::Off => return Ok(Self(None)),
            AuditTarget::Stderr => Writer::to(Box::new(io::stderr()), metrics.clone()),
            AuditTarget::File { path, bytes_max } => {
                let file = file::AuditFile::open(path.clone(), *bytes_max)?;
                Writer::to(Box::new(file), metrics.clone())
            }
        };
        Self::with(writer, wall_clock, metrics)
    }

    fn with(
        mut writer: Writer,
        wall_clock: Arc<dyn WallClock>,
        metrics: AuthMetrics,
    ) -> io::Result<Self> {
        let (queue, mut lines) = mpsc::channel::<Line>(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let (lost_by_all, clock) = (Arc::clone(&lost), Arc::clone(&wall_clock));
        let thread = tasks::spawn_thread("audit", move || {
            while let Some(line) = lines.blocking_recv() {
                let missing = lost_by_all.swap(0, Ordering::Relaxed);
                let still_missing = writer.write(&line, missing, &*clock);
                lost_by_all.fetch_add(still_missing, Ordering::Relaxed);
            }
        })?;
        Ok(Self(Some(Arc::new(Open {
            queue: Mutex::new(Some(queue)),
            lost,
            wall_clock,
            metrics,
            thread: Mutex::new(Some(thread)),
        }))))
    }

    /// Writes a record, stamped with the time of the calendar. Never waits.
    pub fn record(&self, record: Record) {
        let Self(Some(open)) = self else {
            return;
        };
        let line = Line::new(open.wall_clock.now(), record);
        let queue = open.queue.lock();
        let sent = queue
            .as_ref()
            .is_some_and(|queue| queue.try_send(line).is_ok());
        if !sent {
            open.lost.fetch_add(1, Ordering::Relaxed);
            open.metrics.audit_lost.inc();
        }
    }

    /// Writes what waits and ends the thread. Blocks as long as the disk does; later records are
    /// lost.
    pub fn close(&self) {
        let Self(Some(open)) = self else {
            return;
        };
        // Its thread ends with the sender.
        drop(open.queue.lock().take());
        let thread = open.thread.lock().take();
        if let Some(thread) = thread {
            // A panic of the thread has ended the process.
            _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests;
