//! Certificates in force, and connections that their port turned away.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec};

use super::registrar::Registrar;

/// Metrics of TLS and of the cluster secret. Cloning it clones handles.
#[derive(Clone, Debug)]
pub struct TlsMetrics {
    expiry: IntGaugeVec,
    reloads: IntCounterVec,
    refused: IntCounterVec,
    /// Handshakes in progress.
    pub handshakes: IntGauge,
}

impl TlsMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        Self {
            expiry: registrar.gauges(
                "tenure_tls_certificate_expiry_seconds",
                &["port", "of"],
                "When a certificate in force expires, in seconds since 1970; of several the first.",
            ),
            reloads: registrar.counters(
                "tenure_tls_reloads_total",
                &["port", "of", "result"],
                "Files of TLS that changed, and were loaded or failed.",
            ),
            refused: registrar.counters(
                "tenure_tls_handshakes_failed_total",
                &["port", "reason"],
                "Connections that were closed before they were served, by reason.",
            ),
            handshakes: registrar.gauge(
                "tenure_tls_handshakes",
                "Connections that have not finished their handshake.",
            ),
        }
    }

    /// Records when what `of` names expires on a port.
    pub fn set_expiry(&self, port: &str, of: &str, at: i64) {
        self.expiry.with_label_values(&[port, of]).set(at);
    }

    /// Counts files that changed.
    pub fn reloaded(&self, port: &str, of: &str, is_loaded: bool) {
        let result = if is_loaded { "loaded" } else { "failed" };
        self.reloads.with_label_values(&[port, of, result]).inc();
    }

    /// Counts a connection that was closed. Rare beside a handshake, so it may look up the counter.
    pub fn refused(&self, port: &str, reason: &str) {
        self.refused.with_label_values(&[port, reason]).inc();
    }
}
