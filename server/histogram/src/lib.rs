//! Histograms of counts and durations, for openraft's run-time statistics.
//!
//! Takes the place of the package of the same name, which computes 23 MB of tables that nobody
//! reads; README.md says why, and when this may go. It is not a histogram for our own metrics.
//!
//! # Invariants
//! Recording allocates no more than the buckets up to the largest value seen: at most 2 KiB.

#![deny(missing_docs)]

mod bucket;
mod chart;
mod histogram;
mod percentiles;

pub use self::{
    chart::{AsciiChart, DetailedChart},
    histogram::Histogram,
    percentiles::PercentileStats,
};
