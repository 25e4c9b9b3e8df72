//! Latencies, each kept, so that a percentile is one that was measured, not a bucket's edge.

use std::time::Duration;

/// Latencies of one round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latencies {
    /// Microseconds; an hour fits.
    micros: Vec<u32>,
}

impl Latencies {
    pub(crate) fn add(&mut self, latency: Duration) {
        self.micros
            .push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    pub(crate) fn merge(&mut self, mut other: Self) {
        self.micros.append(&mut other.micros);
    }

    pub(crate) const fn len(&self) -> usize {
        self.micros.len()
    }

    /// Milliseconds that the given shares of all latencies do not exceed.
    pub(crate) fn percentiles_ms<const N: usize>(mut self, shares: [f64; N]) -> [f64; N] {
        self.micros.sort_unstable();
        shares.map(|share| nearest_rank(&self.micros, share).map_or(f64::NAN, |us| us / 1000.0))
    }
}

fn nearest_rank(sorted: &[u32], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted
        .get(rank.clamp(1, sorted.len().max(1)) - 1)
        .map(|&us| f64::from(us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_values_that_were_added() {
        let mut all = Latencies::default();
        for ms in (1..=100).rev() {
            let mut one = Latencies::default();
            one.add(Duration::from_millis(ms));
            all.merge(one);
        }
        assert_eq!(all.len(), 100);
        assert_eq!(
            all.percentiles_ms([0.0, 0.5, 0.99, 1.0]),
            [1.0, 50.0, 99.0, 100.0]
        );
    }

    #[test]
    fn no_latency_has_no_percentile() {
        assert!(Latencies::default().percentiles_ms([0.5])[0].is_nan());
    }
}
