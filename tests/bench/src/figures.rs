//! The figures of a cell: of one round, and the median of all.

use serde::Serialize;

/// What one round, or the median of several, came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// CPU seconds of the three servers for 1000 operations.
    pub(crate) server_cpu_s_per_1000: f64,
    /// Resident memory of the servers after the round: all three together.
    pub(crate) server_rss_sum_mib: f64,
    /// The largest of the three.
    pub(crate) server_rss_max_mib: f64,
    /// Cores that the load generator itself kept busy. Near one, it is the limit.
    pub(crate) generator_cores: f64,
}

impl Figures {
    /// The median of each figure by itself.
    pub(crate) fn median(rounds: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(rounds.iter().map(figure).collect());
        Self {
            per_second: of(|f| f.per_second),
            p50_ms: of(|f| f.p50_ms),
            p99_ms: of(|f| f.p99_ms),
            server_cpu_s_per_1000: of(|f| f.server_cpu_s_per_1000),
            server_rss_sum_mib: of(|f| f.server_rss_sum_mib),
            server_rss_max_mib: of(|f| f.server_rss_max_mib),
            generator_cores: of(|f| f.generator_cores),
        }
    }

    /// Each figure divided by the other's.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self {
            per_second: self.per_second / other.per_second,
            p50_ms: self.p50_ms / other.p50_ms,
            p99_ms: self.p99_ms / other.p99_ms,
            server_cpu_s_per_1000: self.server_cpu_s_per_1000 / other.server_cpu_s_per_1000,
            server_rss_sum_mib: self.server_rss_sum_mib / other.server_rss_sum_mib,
            server_rss_max_mib: self.server_rss_max_mib / other.server_rss_max_mib,
            generator_cores: self.generator_cores / other.generator_cores,
        }
    }
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_ignores_one_odd_round() {
        assert_eq!(median(vec![10.0, 900.0, 11.0]), 11.0);
        assert_eq!(median(vec![4.0, 2.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }
}
