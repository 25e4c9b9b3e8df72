//! Requests of clients as etcd's server counts and times them, in addition to the gRPC counters.
//!
//! Durations run from the arrival of a call to its answer, excluding the time in which a slow
//! client reads. Invariant: values that clients state cannot grow the table beyond a bound.

use std::{collections::HashMap, time::Duration};

use http::HeaderValue;
use parking_lot::RwLock;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::registrar::{Registrar, doubling};

/// First bound and number of bounds for requests: 0.1 ms to 52 s, as in etcd.
pub(super) const REQUEST_BUCKETS: (f64, usize) = (0.0001, 20);
/// Client versions counted separately; more than a fleet has at once. The rest is "other".
const VERSIONS_MAX: usize = 32;
/// Maximum length of a valid version.
const VERSION_LEN_MAX: usize = 32;

/// The methods that are timed, and their label values in the metric.
const TIMED: [(&str, &str); 7] = [
    ("/etcdserverpb.KV/Range", "range"),
    ("/etcdserverpb.KV/Put", "put"),
    ("/etcdserverpb.KV/DeleteRange", "deleterange"),
    ("/etcdserverpb.KV/Txn", "txn"),
    ("/etcdserverpb.KV/Compact", "compaction"),
    ("/etcdserverpb.Lease/LeaseGrant", "leasegrant"),
    ("/etcdserverpb.Lease/LeaseRevoke", "leaserevoke"),
];

/// Counters and durations of client requests.
#[derive(Debug)]
pub(super) struct RequestMetrics {
    clients: IntCounterVec,
    unknown: ByKind,
    versions: RwLock<HashMap<HeaderValue, ByKind>>,
    durations: HistogramVec,
    ranges: HistogramVec,
}

/// A counter for unary calls and one for streams.
#[derive(Clone, Debug)]
struct ByKind {
    unary: IntCounter,
    stream: IntCounter,
}

impl ByKind {
    fn of(clients: &IntCounterVec, version: &str) -> Self {
        Self {
            unary: clients.with_label_values(&["unary", version]),
            stream: clients.with_label_values(&["stream", version]),
        }
    }

    fn count(&self, is_unary: bool) {
        if is_unary {
            self.unary.inc();
        } else {
            self.stream.inc();
        }
    }
}

impl RequestMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        let (start, count) = REQUEST_BUCKETS;
        let clients = registrar.counters(
            "etcd_server_client_requests_total",
            &["type", "client_api_version"],
            "Calls begun, by the API version that the client names.",
        );
        Self {
            unknown: ByKind::of(&clients, "unknown"),
            clients,
            versions: RwLock::default(),
            durations: registrar.histograms(
                "etcd_server_request_duration_seconds",
                &["type", "success"],
                doubling(start, count),
                "Seconds until a request was answered.",
            ),
            ranges: registrar.histograms(
                "etcd_server_range_duration_seconds",
                &["success"],
                doubling(start, count),
                "Seconds until a range was answered.",
            ),
        }
    }

    /// Counts a call by the version that its client states, if any.
    pub(super) fn began(&self, is_unary: bool, version: Option<&HeaderValue>) {
        let Some(version) = version else {
            return self.unknown.count(is_unary);
        };
        if let Some(known) = self.versions.read().get(version) {
            return known.count(is_unary);
        }
        self.learn(version).count(is_unary);
    }

    fn learn(&self, version: &HeaderValue) -> ByKind {
        let is_digit = |letter: char| letter.is_ascii_digit() || letter == '.';
        let text = version.to_str().unwrap_or_default();
        // The part after the number is chosen by the builder of the client.
        let number = text.split(['-', '+']).next().unwrap_or_default();
        let is_version = !number.is_empty() && number.chars().all(is_digit);
        let mut versions = self.versions.write();
        if !is_version || text.len() > VERSION_LEN_MAX || versions.len() >= VERSIONS_MAX {
            return ByKind::of(&self.clients, "other");
        }
        let found = versions.entry(version.clone());
        let found = found.or_insert_with(|| ByKind::of(&self.clients, text));
        found.clone()
    }

    /// Returns the timer of a method, if its calls are timed.
    pub(super) fn timer(&self, path: &str) -> Option<RequestTimer> {
        let (_, kind) = TIMED.iter().find(|(timed, _)| *timed == path)?;
        let of = |success| self.durations.with_label_values(&[*kind, success]);
        let range = |success| self.ranges.with_label_values(&[success]);
        Some(RequestTimer {
            succeeded: of("true"),
            failed: of("false"),
            range: (*kind == "range").then(|| [range("true"), range("false")]),
        })
    }
}

/// Observes the durations of one method's calls.
#[derive(Debug)]
pub(super) struct RequestTimer {
    succeeded: Histogram,
    failed: Histogram,
    range: Option<[Histogram; 2]>,
}

impl RequestTimer {
    pub(super) fn observe(&self, took: Duration, success: bool) {
        let took = took.as_secs_f64();
        let request = if success {
            &self.succeeded
        } else {
            &self.failed
        };
        request.observe(took);
        if let Some([succeeded, failed]) = &self.range {
            let range = if success { succeeded } else { failed };
            range.observe(took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_apart_and_strangers_do_not_grow_the_table() {
        let metrics = RequestMetrics::new(&mut Registrar::default());
        let began = |version: &str| {
            metrics.began(true, Some(&HeaderValue::from_str(version).unwrap()));
        };
        metrics.began(false, None);
        began("3.6.0");
        began("3.6.0");
        began("3.7.0-alpha.1");
        for stranger in 0..100 {
            began(&format!("no version {stranger}"));
            began(&format!("3.4.{stranger}"));
        }
        let count = |kind, version| metrics.clients.with_label_values(&[kind, version]).get();
        assert_eq!(count("stream", "unknown"), 1);
        assert_eq!(count("unary", "3.6.0"), 2);
        assert_eq!(count("unary", "3.7.0-alpha.1"), 1);
        assert_eq!(
            count("unary", "other"),
            100 + 100 - (VERSIONS_MAX as u64 - 2)
        );
    }
}
