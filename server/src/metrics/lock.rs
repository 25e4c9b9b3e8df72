//! Metrics of locks and elections. etcd has none for them.

use prometheus::{IntCounter, IntGauge};

use super::registrar::Registrar;

/// Metrics of locks and elections. Cloning it clones handles.
#[derive(Clone, Debug)]
pub struct LockMetrics {
    /// Calls on this node that wait for a claim.
    pub waiters: IntGauge,
    /// Notifications of a waiting call about its claim.
    pub wakeups: IntCounter,
    /// Claims granted.
    pub grants: IntCounter,
}

impl LockMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        Self {
            waiters: registrar.gauge(
                "tenure_lock_waiters",
                "Calls that wait here for a lock or an election.",
            ),
            wakeups: registrar.counter(
                "tenure_lock_wakeups_total",
                "Times that a waiting call was told of its claim; about one for each hand-over.",
            ),
            grants: registrar.counter(
                "tenure_lock_grants_total",
                "Claims on locks and elections that began to hold.",
            ),
        }
    }
}
