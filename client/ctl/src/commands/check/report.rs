//! Measurements of a check: number, rate and latency of writes, and errors.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Measurements of one check.
#[derive(Debug)]
pub(super) struct Report {
    started: Instant,
    latencies: Vec<Duration>,
    errors: BTreeMap<String, u64>,
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            latencies: Vec::new(),
            errors: BTreeMap::new(),
        }
    }

    /// Counts one write.
    pub(super) fn add(&mut self, took: Duration, error: Option<String>) {
        match error {
            None => self.latencies.push(took),
            Some(error) => *self.errors.entry(error).or_default() += 1,
        }
    }

    /// Errors and their counts.
    pub(super) fn errors(&self) -> &BTreeMap<String, u64> {
        &self.errors
    }

    /// Successful writes per second since the start.
    pub(super) fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.started.elapsed().as_secs_f64().max(f64::EPSILON)
    }

    /// Latency of the slowest write, in seconds.
    pub(super) fn slowest(&self) -> f64 {
        self.latencies
            .iter()
            .max()
            .map_or(0.0, Duration::as_secs_f64)
    }

    /// Standard deviation of the latency, in seconds.
    pub(super) fn deviation(&self) -> f64 {
        let count = self.latencies.len().max(1) as f64;
        let seconds = || self.latencies.iter().map(Duration::as_secs_f64);
        let mean = seconds().sum::<f64>() / count;
        (seconds().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slowest_and_deviation_come_from_successful_writes_only() {
        let mut report = Report::new();
        report.add(Duration::from_secs(2), None);
        report.add(Duration::from_secs(4), None);
        report.add(Duration::from_secs(9), Some("refused".to_owned()));
        assert!((report.slowest() - 4.0).abs() < 1e-9);
        assert!((report.deviation() - 1.0).abs() < 1e-9);
        assert_eq!(report.errors().get("refused"), Some(&1));
    }
}
