//! What openraft calls of the package `base2histogram`, and does nothing.
//!
//! openraft records run-time statistics that can be read only with its feature `runtime-stats`,
//! which is off here. The package of this name pays 23 MB for them in every process; README.md says
//! why, and when this may go. It is not a histogram for metrics of our own.
//!
//! # Invariants
//! Nothing is allocated, and every histogram is empty.

#![deny(missing_docs)]

use std::{fmt, marker::PhantomData};

/// A histogram that stays empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    /// An empty histogram.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }

    /// Drops a value.
    pub const fn record(&mut self, _value: u64) {}

    /// Drops a value that was seen `_times` times.
    pub const fn record_n(&mut self, _value: u64, _times: u64) {}

    /// The percentiles of no values.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

/// Percentiles of an empty histogram: all are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named for its percentile")]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[not recorded]")
    }
}

/// A chart of empty histograms.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsciiChart;

impl AsciiChart {
    /// A chart of nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }

    /// The same chart.
    #[must_use]
    pub fn add(self, _name: impl Into<String>, _histogram: Histogram) -> Self {
        self
    }

    /// The same chart.
    #[must_use]
    pub const fn detailed(self) -> Self {
        self
    }
}

impl fmt::Display for AsciiChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[not recorded]")
    }
}
