//! Several histograms drawn with letters, one below the other.

use std::fmt;

use crate::Histogram;

/// Width of the longest bar, in columns.
const BAR_MAX: u64 = 50;

/// Named histograms, to be drawn.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart {
    series: Vec<(String, Histogram)>,
}

/// A chart that draws each bucket on a line of its own.
#[derive(Clone, Debug)]
pub struct DetailedChart(AsciiChart);

impl AsciiChart {
    /// A chart of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { series: Vec::new() }
    }

    /// The chart with one more histogram, called `name`.
    #[must_use]
    pub fn add(mut self, name: impl Into<String>, histogram: Histogram) -> Self {
        self.series.push((name.into(), histogram));
        self
    }

    /// The chart with a line for each bucket that is not empty.
    #[must_use]
    pub const fn detailed(self) -> DetailedChart {
        DetailedChart(self)
    }
}

impl fmt::Display for DetailedChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, histogram) in &self.0.series {
            writeln!(f, "{name}: {} samples", histogram.total())?;
            let most = histogram.filled().map(|(_, count)| count).max();
            for (from, count) in histogram.filled() {
                let bar = bar(count, most.unwrap_or(1));
                writeln!(f, "{from:>20} {bar} {count}")?;
            }
        }
        Ok(())
    }
}

/// At least one mark, so that a rare value is not overlooked.
fn bar(count: u64, most: u64) -> String {
    let columns = u128::from(count) * u128::from(BAR_MAX) / u128::from(most.max(1));
    "#".repeat(usize::try_from(columns).unwrap_or(1).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_to_scale_and_a_rare_value_has_one() {
        let mut histogram = Histogram::new();
        histogram.record_n(1, 1000);
        histogram.record_n(2, 500);
        histogram.record(100);
        let chart = AsciiChart::new()
            .add("stage", histogram)
            .add("idle", Histogram::new());
        let text = chart.detailed().to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert_eq!(lines[0], "stage: 1501 samples");
        let marks = |line: &str| line.matches('#').count();
        assert_eq!(
            [lines[1], lines[2], lines[3]].map(marks),
            [50, 25, 1],
            "{text}"
        );
        assert!(lines[3].trim_start().starts_with("96 "), "{text}");
        assert_eq!(lines[4], "idle: 0 samples");
    }
}
