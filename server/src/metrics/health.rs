//! Results of the health pages and their checks.

use prometheus::{IntCounter, IntCounterVec, IntGaugeVec};

use super::registrar::Registrar;

/// Results of the health pages; updated by `admin`.
#[derive(Debug)]
pub struct HealthMetrics {
    /// Responses of `/health` that reported true.
    pub success: IntCounter,
    /// Responses of `/health` that reported false.
    pub failures: IntCounter,
    latest: IntGaugeVec,
    runs: IntCounterVec,
}

impl HealthMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        Self {
            success: registrar.counter(
                "etcd_server_health_success",
                "Answers of /health that said true.",
            ),
            failures: registrar.counter(
                "etcd_server_health_failures",
                "Answers of /health that said false.",
            ),
            latest: registrar.gauges(
                "etcd_server_healthcheck",
                &["type", "name"],
                "1 if the check passed when it last ran.",
            ),
            runs: registrar.counters(
                "etcd_server_healthchecks_total",
                &["type", "name", "status"],
                "Runs of each check, by outcome.",
            ),
        }
    }

    /// Records one run of a check of `/livez` or `/readyz`.
    pub(crate) fn checked(&self, page: &str, check: &str, passed: bool) {
        let status = if passed { "success" } else { "error" };
        self.latest
            .with_label_values(&[page, check])
            .set(i64::from(passed));
        self.runs.with_label_values(&[page, check, status]).inc();
    }
}
