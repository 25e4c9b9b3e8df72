//! Progress of this member's proposals and of its log.

use prometheus::{IntCounter, IntGauge};

use super::registrar::Registrar;

/// Progress of proposals. Cloning it clones handles.
#[derive(Clone, Debug)]
pub struct ProposalMetrics {
    /// Index of the last committed entry.
    pub committed: IntGauge,
    /// Index of the last applied entry.
    pub applied: IntGauge,
    /// Proposals that wait for their outcome.
    pub pending: IntGauge,
    /// Proposals without an outcome.
    pub failed: IntCounter,
}

/// Guard of a pending proposal; dropped when its outcome is known, or when the caller stops
/// waiting.
#[derive(Debug)]
pub(crate) struct Pending(IntGauge);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ProposalMetrics {
    /// Counts a proposal as pending until the guard is dropped.
    pub(crate) fn begin(&self) -> Pending {
        self.pending.inc();
        Pending(self.pending.clone())
    }

    pub(super) fn new(registrar: &mut Registrar) -> Self {
        Self {
            committed: registrar.gauge(
                "etcd_server_proposals_committed_total",
                "Index of the last committed entry.",
            ),
            applied: registrar.gauge(
                "etcd_server_proposals_applied_total",
                "Index of the last applied entry.",
            ),
            pending: registrar.gauge(
                "etcd_server_proposals_pending",
                "Proposals waiting for their outcome.",
            ),
            failed: registrar.counter(
                "etcd_server_proposals_failed_total",
                "Proposals without an outcome.",
            ),
        }
    }
}
