//! Creates and registers metrics, and keeps their descriptions for the documentation.
//!
//! Invariant: a name is registered once; a second registration is a bug and panics.

use prometheus::{
    Counter, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, core::Collector, exponential_buckets,
};

/// Description of a metric in the documentation.
#[derive(Debug, Clone)]
pub struct Described {
    /// Name in a scrape.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    /// The help text.
    pub help: &'static str,
}

/// The registry under construction.
#[derive(Debug, Default)]
pub(super) struct Registrar {
    registry: Registry,
    described: Vec<Described>,
}

/// The invariant that makes creating a metric infallible.
const SOUND: &str = "invariant: names, labels and buckets are constants that a test walks";

impl Registrar {
    /// Returns the registry with everything registered so far.
    pub(super) fn registry(&self) -> Registry {
        self.registry.clone()
    }

    /// Returns the descriptions of everything registered so far.
    pub(super) fn into_described(self) -> Vec<Described> {
        self.described
    }

    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> IntCounter {
        self.add(
            name,
            "counter",
            &[],
            help,
            IntCounter::new(name, help).expect(SOUND),
        )
    }

    pub(super) fn float_counter(&mut self, name: &'static str, help: &'static str) -> Counter {
        self.add(
            name,
            "counter",
            &[],
            help,
            Counter::new(name, help).expect(SOUND),
        )
    }

    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> IntGauge {
        self.add(
            name,
            "gauge",
            &[],
            help,
            IntGauge::new(name, help).expect(SOUND),
        )
    }

    pub(super) fn float_gauge(&mut self, name: &'static str, help: &'static str) -> Gauge {
        self.add(
            name,
            "gauge",
            &[],
            help,
            Gauge::new(name, help).expect(SOUND),
        )
    }

    pub(super) fn counters(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> IntCounterVec {
        let made = IntCounterVec::new(Opts::new(name, help), labels).expect(SOUND);
        self.add(name, "counter", labels, help, made)
    }

    pub(super) fn gauges(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> IntGaugeVec {
        let made = IntGaugeVec::new(Opts::new(name, help), labels).expect(SOUND);
        self.add(name, "gauge", labels, help, made)
    }

    pub(super) fn histogram(
        &mut self,
        name: &'static str,
        buckets: Vec<f64>,
        help: &'static str,
    ) -> Histogram {
        let options = HistogramOpts::new(name, help).buckets(buckets);
        let made = Histogram::with_opts(options).expect(SOUND);
        self.add(name, "histogram", &[], help, made)
    }

    pub(super) fn histograms(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str],
        buckets: Vec<f64>,
        help: &'static str,
    ) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(buckets);
        let made = HistogramVec::new(options, labels).expect(SOUND);
        self.add(name, "histogram", labels, help, made)
    }

    fn add<M: Collector + Clone + 'static>(
        &mut self,
        name: &'static str,
        kind: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
        metric: M,
    ) -> M {
        self.registry
            .register(Box::new(metric.clone()))
            .expect(SOUND);
        self.described.push(Described {
            name,
            kind,
            labels,
            help,
        });
        metric
    }
}

/// Returns `count` bucket bounds that double from `start`.
pub(super) fn doubling(start: f64, count: usize) -> Vec<f64> {
    exponential_buckets(start, 2.0, count).expect(SOUND)
}
