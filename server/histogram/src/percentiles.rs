//! What a histogram comes to, as numbers to show.

use std::fmt;

/// Percentiles of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PercentileStats {
    /// How many values were counted.
    pub samples: u64,
    /// One value in a thousand is at most this.
    pub p0_1: u64,
    /// One in a hundred.
    pub p1: u64,
    /// One in twenty.
    pub p5: u64,
    /// One in ten.
    pub p10: u64,
    /// The median.
    pub p50: u64,
    /// All but one in ten are at most this.
    pub p90: u64,
    /// All but one in a hundred.
    pub p99: u64,
    /// All but one in a thousand.
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "[samples: {}, P0.1: {}, P1: {}, P5: {}, P10: {}, P50: {}, P90: {}, P99: {}, \
             P99.9: {}]",
            self.samples,
            self.p0_1,
            self.p1,
            self.p5,
            self.p10,
            self.p50,
            self.p90,
            self.p99,
            self.p99_9
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_percentile_is_shown_by_its_name() {
        let stats = PercentileStats {
            samples: 9,
            p0_1: 1,
            p1: 2,
            p5: 3,
            p10: 4,
            p50: 5,
            p90: 6,
            p99: 7,
            p99_9: 8,
        };
        assert_eq!(
            stats.to_string(),
            "[samples: 9, P0.1: 1, P1: 2, P5: 3, P10: 4, P50: 5, P90: 6, P99: 7, P99.9: 8]"
        );
    }
}
