//! The log entries that this member proposed, saw committed and applied.

use prometheus::{IntCounter, IntGauge};

use super::registrar::Registrar;

/// Progress of proposals.
#[derive(Debug)]
pub struct ProposalMetrics {
    /// Index of the last committed entry.
    pub committed: IntGauge,
    /// Index of the last applied entry.
    pub applied: IntGauge,
    /// Proposals that wait for their outcome.
    pub pending: IntGauge,
    /// Proposals that got none.
    pub failed: IntCounter,
}

impl ProposalMetrics {
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
