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
    /// Each figure by itself.
    fn each(of: impl Fn(fn(&Self) -> f64) -> f64) -> Self {
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

    /// The median of each figure by itself.
    pub(crate) fn median(rounds: &[Self]) -> Self {
        Self::each(|figure| median(rounds.iter().map(figure).collect()))
    }

    /// The geometric mean of the ratios of rounds that were measured in pairs.
    pub(crate) fn paired(rounds: &[Self], others: &[Self]) -> Self {
        let pairs = || rounds.iter().zip(others);
        Self::each(|figure| geometric_mean(pairs().map(|(own, other)| figure(own) / figure(other))))
    }

    /// Each figure divided by the other's.
    pub(crate) fn over(&self, other: &Self) -> Self {
        Self::each(|figure| figure(self) / figure(other))
    }
}

fn geometric_mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| {
        (sum + value.ln(), count + 1.0)
    });
    f64::exp(sum / count)
}

/// How far a geometric mean of so many ratios may be off: its standard error, as a part of it.
/// Nothing when there are too few ratios to tell.
pub(crate) fn standard_error(ratios: &[f64]) -> Option<f64> {
    if ratios.len() < 2 {
        return None;
    }
    let logarithms: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
    let count = logarithms.iter().map(|_| 1.0).sum::<f64>();
    let mean = logarithms.iter().sum::<f64>() / count;
    let squares: f64 = logarithms.iter().map(|it| (it - mean).powi(2)).sum();
    Some((squares / (count - 1.0) / count).sqrt())
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
    fn a_ratio_and_its_inverse_make_one() {
        assert!((geometric_mean([4.0, 0.25].into_iter()) - 1.0).abs() < 1e-9);
        assert!(geometric_mean(std::iter::empty()).is_nan());
    }

    #[test]
    fn equal_ratios_have_no_error_and_one_ratio_tells_none() {
        assert_eq!(standard_error(&[2.0, 2.0, 2.0]), Some(0.0));
        assert_eq!(standard_error(&[2.0]), None);
        // Logarithms of 1 and -1: a deviation of sqrt(2) over sqrt(2) rounds.
        let error = standard_error(&[1.0_f64.exp(), (-1.0_f64).exp()]).unwrap();
        assert!((error - 1.0).abs() < 1e-9, "{error}");
    }

    #[test]
    fn the_median_ignores_one_odd_round() {
        assert_eq!(median(vec![10.0, 900.0, 11.0]), 11.0);
        assert_eq!(median(vec![4.0, 2.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }
}
