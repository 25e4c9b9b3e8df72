//! The histogram: counts values, tells percentiles.

use std::marker::PhantomData;

use crate::{PercentileStats, bucket};

/// How often values were seen, in buckets that widen with the values.
///
/// The parameter stands for what the original keeps beside its windows; openraft names it, and
/// nothing of it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram<T = ()> {
    /// Counts by bucket, up to the last that is not empty: so equal counts are equal histograms.
    counts: Vec<u64>,
    total: u64,
    beside: PhantomData<T>,
}

impl<T> Histogram<T> {
    /// An empty histogram. Takes no memory until something is recorded.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            counts: Vec::new(),
            total: 0,
            beside: PhantomData,
        }
    }

    /// Counts `value` once.
    pub fn record(&mut self, value: u64) {
        self.record_n(value, 1);
    }

    /// Counts `value` as often as `times`. Counts end at the largest number and do not wrap.
    pub fn record_n(&mut self, value: u64, times: u64) {
        if times == 0 {
            return;
        }
        let index = bucket::index(value);
        if self.counts.len() <= index {
            self.counts.resize(index + 1, 0);
        }
        self.counts[index] = self.counts[index].saturating_add(times);
        self.total = self.total.saturating_add(times);
    }

    /// How many values were counted.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// The percentiles that openraft shows; all zero when nothing was counted.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats {
            samples: self.total,
            p0_1: self.at_permille(1),
            p1: self.at_permille(10),
            p5: self.at_permille(50),
            p10: self.at_permille(100),
            p50: self.at_permille(500),
            p90: self.at_permille(900),
            p99: self.at_permille(990),
            p99_9: self.at_permille(999),
        }
    }

    /// Each bucket that is not empty: its smallest value, and its count.
    pub(crate) fn filled(&self) -> impl Iterator<Item = (u64, u64)> {
        let all = self.counts.iter().enumerate();
        all.filter(|(_, count)| **count > 0)
            .map(|(index, count)| (bucket::bounds(index).0, *count))
    }

    /// The value at or below which `permille` thousandths of the values lie, as exact as a bucket.
    fn at_permille(&self, permille: u16) -> u64 {
        // In 128 bits, so that no number of values overflows.
        let rank = (u128::from(self.total) * u128::from(permille)).div_ceil(1000);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += u128::from(*count);
            if seen >= rank && seen > 0 {
                return bucket::middle(index);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_histogram_has_only_zeros() {
        let empty = Histogram::<()>::new();
        assert_eq!(empty.total(), 0);
        assert_eq!(empty.percentile_stats(), PercentileStats::default());
    }

    #[test]
    fn percentiles_of_small_values_are_exact() {
        let mut histogram = Histogram::<()>::new();
        histogram.record_n(2, 50);
        histogram.record_n(5, 49);
        histogram.record(7);
        let stats = histogram.percentile_stats();
        assert_eq!((stats.samples, histogram.total()), (100, 100));
        assert_eq!((stats.p0_1, stats.p50), (2, 2));
        assert_eq!((stats.p90, stats.p99, stats.p99_9), (5, 5, 7));
    }

    #[test]
    fn percentiles_of_many_values_are_within_an_eighth() {
        let mut histogram = Histogram::<()>::new();
        (1..=10_000).for_each(|value| histogram.record(value));
        let stats = histogram.percentile_stats();
        let known = [
            (stats.p0_1, 10),
            (stats.p1, 100),
            (stats.p5, 500),
            (stats.p10, 1_000),
            (stats.p50, 5_000),
            (stats.p90, 9_000),
            (stats.p99, 9_900),
            (stats.p99_9, 9_990),
        ];
        for (told, exact) in known {
            assert!(told.abs_diff(exact) <= exact / 8, "{told} for {exact}");
        }
    }

    #[test]
    fn the_largest_values_and_counts_neither_wrap_nor_panic() {
        let mut histogram = Histogram::<()>::new();
        histogram.record_n(u64::MAX, u64::MAX);
        histogram.record_n(u64::MAX, 1);
        histogram.record(0);
        assert_eq!(histogram.total(), u64::MAX);
        let stats = histogram.percentile_stats();
        assert!(stats.p50 > u64::MAX - (u64::MAX >> 3));
    }

    #[test]
    fn nothing_counted_changes_nothing() {
        let mut histogram = Histogram::<()>::new();
        histogram.record_n(u64::MAX, 0);
        assert_eq!(histogram, Histogram::new());
    }

    #[test]
    fn memory_ends_with_the_largest_bucket() {
        let mut histogram = Histogram::<()>::new();
        histogram.record(3);
        assert_eq!(histogram.counts.len(), 4);
        for power in 0..64 {
            histogram.record_n(1 << power, 1_000_000);
        }
        histogram.record(u64::MAX);
        assert_eq!(histogram.counts.len(), 252);
    }
}
