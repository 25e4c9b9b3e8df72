//! When a compaction is due and at which revision: arithmetic without clock or node.
//!
//! The intervals are etcd's, so that a retention means the same on both servers.
//!
//! Invariant: no returned revision is younger, or nearer to the latest, than the retention allows.

use std::{collections::VecDeque, time::Duration};

use tenure_statemachine::Revision;

use crate::config::AutoCompaction;

/// Time between two compactions by number.
const COUNT_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Longest time between two compactions by age: under a longer retention, each still removes little
/// enough to go unnoticed.
const AGE_INTERVAL_MAX: Duration = Duration::from_secs(60 * 60);

/// Samples per interval, so that little more than the retention is kept.
const SAMPLES_PER_INTERVAL: u32 = 10;

/// Shortest time between two samples: timers have a resolution of a few milliseconds, and a task
/// that wakes more often takes CPU time from requests.
const SAMPLE_INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Bound on the samples kept: enough for a year of ten samples an hour. A longer retention is
/// sampled at longer intervals.
const SAMPLES_MAX: u32 = 100_000;

/// The configured rule for compactions.
#[derive(Debug)]
pub(super) enum Rule {
    Age(Age),
    Count(Count),
}

impl Rule {
    /// The rule for a setting; `None` when automatic compaction is off.
    pub(super) fn of(setting: AutoCompaction) -> Option<Self> {
        match setting {
            AutoCompaction::Off => None,
            AutoCompaction::Periodic(retention) => Some(Self::Age(Age::new(retention))),
            AutoCompaction::Revision(retention) => Some(Self::Count(Count {
                retention,
                compacted: None,
            })),
        }
    }

    /// Time between two checks, and before a retry after a failure.
    pub(super) const fn interval(&self) -> Duration {
        match self {
            Self::Age(age) => age.interval,
            Self::Count(_) => COUNT_INTERVAL,
        }
    }

    /// Records `latest` as the latest revision at `now` or before, at the beginning of each
    /// interval.
    pub(super) fn sample(&mut self, latest: Revision, now: Duration) {
        if let Self::Age(age) = self {
            age.sample(latest, now);
        }
    }

    /// The revision to compact at, if a compaction is due.
    pub(super) fn due(&self, now: Duration, latest: Revision) -> Option<Revision> {
        match self {
            Self::Age(age) => age.due(now),
            Self::Count(count) => count.due(latest),
        }
    }

    /// Records that history was compacted up to `revision`.
    pub(super) const fn compacted(&mut self, revision: Revision, now: Duration) {
        match self {
            Self::Age(age) => {
                age.compacted = Some(revision);
                age.next = now.saturating_add(age.pace);
            }
            Self::Count(count) => count.compacted = Some(revision),
        }
    }

    /// The name of the rule in the configuration.
    pub(super) const fn mode(&self) -> &'static str {
        match self {
            Self::Age(_) => "periodic",
            Self::Count(_) => "revision",
        }
    }

    /// The retention, formatted for logs.
    pub(super) fn retention(&self) -> String {
        match self {
            Self::Age(age) => format!("{:?}", age.retention),
            Self::Count(count) => count.retention.to_string(),
        }
    }
}

/// Compacts changes that were overwritten longer ago than the retention.
#[derive(Debug)]
pub(super) struct Age {
    retention: Duration,
    /// Time between two samples.
    interval: Duration,
    /// Time between two compactions.
    pace: Duration,
    /// Latest revisions with the time of each sample, oldest first.
    samples: VecDeque<(Duration, Revision)>,
    /// Enough that the first is as old as the retention one interval after the last.
    samples_max: usize,
    /// Earliest time of the next compaction.
    next: Duration,
    compacted: Option<Revision>,
}

impl Age {
    fn new(retention: Duration) -> Self {
        let pace = retention.min(AGE_INTERVAL_MAX);
        let interval = (pace / SAMPLES_PER_INTERVAL)
            .max(retention / SAMPLES_MAX)
            .max(SAMPLE_INTERVAL_MIN);
        // One more than the number of intervals that span the retention.
        let samples_max = retention.as_nanos().div_ceil(interval.as_nanos()) + 1;
        Self {
            retention,
            interval,
            pace,
            samples: VecDeque::new(),
            samples_max: usize::try_from(samples_max)
                .expect("invariant: the interval is no less than its part of the retention"),
            next: Duration::ZERO,
            compacted: None,
        }
    }

    fn sample(&mut self, latest: Revision, now: Duration) {
        self.samples.push_back((now, latest));
        if self.samples.len() > self.samples_max {
            self.samples.pop_front();
        }
    }

    fn due(&self, now: Duration) -> Option<Revision> {
        let (at, oldest) = self.samples.front().copied()?;
        let old = now.saturating_sub(at) >= self.retention;
        (old && now >= self.next && self.compacted != Some(oldest)).then_some(oldest)
    }
}

/// Keeps a number of latest revisions and compacts the rest.
#[derive(Debug)]
pub(super) struct Count {
    /// Number of revisions to keep; positive.
    retention: i64,
    compacted: Option<Revision>,
}

impl Count {
    fn due(&self, latest: Revision) -> Option<Revision> {
        let revision = Revision(latest.0.saturating_sub(self.retention));
        (revision.0 > 0 && self.compacted != Some(revision)).then_some(revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_retention_makes_it_busy_or_large() {
        for retention in [
            Duration::from_nanos(1),
            Duration::from_secs(7),
            Duration::MAX,
        ] {
            let age = Age::new(retention);
            assert!(age.interval >= SAMPLE_INTERVAL_MIN, "{age:?}");
            assert!(age.samples_max <= SAMPLES_MAX as usize + 2, "{age:?}");
        }
    }

    #[test]
    fn the_times_are_those_of_etcd() {
        let times = |seconds| {
            let age = Age::new(Duration::from_secs(seconds));
            (
                age.interval.as_millis(),
                age.pace.as_secs(),
                age.samples_max,
            )
        };
        assert_eq!(times(5), (500, 5, 11));
        assert_eq!(times(59 * 60), (354_000, 59 * 60, 11));
        assert_eq!(times(24 * 3600), (360_000, 3600, 241));
    }
}
