//! Notices when applying a batch of entries takes long: every write behind it waits that long too.

use std::time::Duration;

use tracing::warn;

use crate::metrics::IntCounter;

/// Warns of slow batches and counts them.
#[derive(Debug)]
pub(super) struct SlowApply {
    /// Batches that take no longer are not worth a line.
    pub(super) expected: Duration,
    /// Counts the others.
    pub(super) count: IntCounter,
}

impl SlowApply {
    /// A batch up to the entry at `index`, with so many commands, took so long.
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
