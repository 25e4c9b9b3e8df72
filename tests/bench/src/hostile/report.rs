//! One line for each attack and system.

use std::{fmt, time::Duration};

use super::{attack::Attack, honest::Wait};
use crate::cluster::System;

/// Names of the columns.
pub(super) const HEADING: &str = "\
attack    system  longest wait  failed calls  alive  elections  peak MiB          what came of it";
/// A wait that is no fault, however short etcd's was.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// What an attack did.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) attack: Attack,
    pub(super) system: System,
    pub(super) answer: String,
    pub(super) took: Duration,
    pub(super) waits: Vec<Wait>,
    pub(super) nodes: usize,
    pub(super) alive: usize,
    pub(super) elections: Option<u64>,
    pub(super) peak_bytes: Vec<u64>,
}

impl Row {
    /// Whether every node lives, and the lead stayed where it was.
    pub(super) fn held(&self) -> bool {
        self.alive == self.nodes && self.elections == Some(0)
    }

    /// The longest that an honest client waited.
    pub(super) fn longest_wait(&self) -> Duration {
        let longest = self.waits.iter().map(|wait| wait.longest).max();
        longest.unwrap_or_default()
    }

    /// Whether honest clients waited longer than beside `other`, and noticeably.
    pub(super) fn waited_longer(&self, other: &Self) -> bool {
        self.longest_wait() > other.longest_wait().max(WAIT_MAX)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed: usize = self.waits.iter().map(|wait| wait.failed).sum();
        let done: usize = self.waits.iter().map(|wait| wait.done).sum();
        let elections = self.elections.map(|count| count.to_string());
        let peaks: Vec<_> = self.peak_bytes.iter().map(|it| it >> 20).collect();
        let peaks: Vec<_> = peaks.iter().map(u64::to_string).collect();
        write!(
            f,
            "{:<9} {:<7} {:>8} ms {:>13} {:>6} {:>10}  {:<16}  {} ({:.1} s)",
            self.attack.name(),
            self.system,
            self.longest_wait().as_millis(),
            format!("{failed} of {}", failed + done),
            format!("{} of {}", self.alive, self.nodes),
            elections.as_deref().unwrap_or("unknown"),
            peaks.join(" "),
            self.answer,
            self.took.as_secs_f64(),
        )
    }
}
