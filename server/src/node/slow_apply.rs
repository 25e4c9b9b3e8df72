//! Reports batches of entries that are slow to apply: they delay every write behind them.

use std::time::Duration;

use tracing::warn;

use crate::metrics::IntCounter;

/// Logs and counts slow batches.
#[derive(Debug)]
pub(super) struct SlowApply {
    /// Batches that take at most this long are not reported.
    pub(super) expected: Duration,
    /// Counts the slow batches.
    pub(super) count: IntCounter,
}

impl SlowApply {
    /// Records that a batch of `commands`, up to the entry at `index`, took this long.
    pub(super) fn observe(&self, index: u64, commands: usize, took: Duration) {
        if took <= self.expected {
            return;
        }
        self.count.inc();
        let expected = self.expected;
        warn!(
            ?took,
            ?expected,
            index,
            commands,
            "apply request took too long"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_takes_longer_than_expected_is_counted() {
        let expected = Duration::from_millis(100);
        let count = IntCounter::new("slow", "Slow batches.").unwrap();
        let slow = SlowApply { expected, count };
        slow.observe(1, 1, expected);
        assert_eq!(slow.count.get(), 0);
        slow.observe(2, 1, expected + Duration::from_millis(1));
        assert_eq!(slow.count.get(), 1);
    }
}
