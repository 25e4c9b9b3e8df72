//! Writes lines, and keeps account of those that could not be written.

use std::{fmt, io::Write};

use tracing::{error, info};

use super::line::{self, Line};
use crate::{clock::WallClock, metrics::AuthMetrics};

/// Where lines go, and whether the latest one got there.
pub(super) struct Writer {
    target: Box<dyn Write + Send>,
    failing: bool,
    metrics: AuthMetrics,
}

impl Writer {
    pub(super) fn to(target: Box<dyn Write + Send>, metrics: AuthMetrics) -> Self {
        Self {
            target,
            failing: false,
            metrics,
        }
    }

    /// Writes a line, before it one about `missing` lines if there are any; how many are missing
    /// after it.
    pub(super) fn write(&mut self, line: &Line, missing: u64, clock: &dyn WallClock) -> u64 {
        let mut text = String::new();
        if missing > 0 {
            text += &line::gap(clock.now(), missing);
        }
        text += &line.text();
        match self.target.write_all(text.as_bytes()) {
            Ok(()) => {
                self.metrics.audited.inc();
                if self.failing {
                    self.failing = false;
                    info!("the audit log is written again");
                }
                0
            }
            Err(error) => {
                self.metrics.audit_lost.inc();
                // Once, not for every line.
                if !self.failing {
                    self.failing = true;
                    error!(%error, "cannot write the audit log; lines are lost until it can");
                }
                missing + 1
            }
        }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Writer")
            .field("failing", &self.failing)
            .finish_non_exhaustive()
    }
}
