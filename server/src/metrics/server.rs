//! Metrics of this member as a whole: its role, its identity, and slow operations.

use prometheus::{IntCounter, IntGauge, IntGaugeVec};
use tenure_statemachine::MemberId;

use super::registrar::Registrar;

/// Metrics of this member as a whole.
#[derive(Debug)]
pub struct ServerMetrics {
    /// 1 while this member knows a leader.
    pub has_leader: IntGauge,
    /// 1 while this member leads.
    pub is_leader: IntGauge,
    /// 1 while this member is a learner.
    pub is_learner: IntGauge,
    /// Changes of leader observed by this member.
    pub leader_changes_seen: IntCounter,
    /// Entries whose application took longer than the warning limit.
    pub slow_apply: IntCounter,
    /// Read-index rounds that took too long.
    pub slow_read_indexes: IntCounter,
    /// Read-index rounds that failed.
    pub read_indexes_failed: IntCounter,
    /// Heartbeats that could not be sent in time.
    pub heartbeat_send_failures: IntCounter,
    /// Maximum size of the key space, in bytes.
    pub quota_backend_bytes: IntGauge,
    /// The feature level in force in this member's applied state.
    pub feature_level: IntGauge,
    /// 1 while a received snapshot is being installed.
    pub snapshot_apply_in_progress: IntGauge,
    id: IntGaugeVec,
    version: IntGaugeVec,
    cluster_version: IntGaugeVec,
}

impl ServerMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        let mut gauge = |name, help| registrar.gauge(name, help);
        let has_leader = gauge("etcd_server_has_leader", "1 while a leader is known.");
        let is_leader = gauge("etcd_server_is_leader", "1 while this member leads.");
        let is_learner = gauge(
            "etcd_server_is_learner",
            "1 while this member is a learner.",
        );
        let quota_backend_bytes = gauge(
            "etcd_server_quota_backend_bytes",
            "Bytes the key space may use.",
        );
        let feature_level = gauge(
            "tenure_feature_level",
            "The feature level in force: which rules all members keep to.",
        );
        let snapshot_apply_in_progress = gauge(
            "etcd_server_snapshot_apply_in_progress_total",
            "1 while a received snapshot is being installed.",
        );
        let mut gauges = |name, labels, help| registrar.gauges(name, labels, help);
        let id = gauges(
            "etcd_server_id",
            &["server_id"],
            "1 for this member's hexadecimal id.",
        );
        let version = gauges(
            "etcd_server_version",
            &["server_version"],
            "1 for the API version that this member serves.",
        );
        let cluster_version = gauges(
            "etcd_cluster_version",
            &["cluster_version"],
            "1 for the API version that the whole cluster serves.",
        );
        let mut counter = |name, help| registrar.counter(name, help);
        Self {
            leader_changes_seen: counter(
                "etcd_server_leader_changes_seen_total",
                "Changes of leader seen.",
            ),
            slow_apply: counter(
                "etcd_server_slow_apply_total",
                "Entries whose application took longer than the warning limit.",
            ),
            slow_read_indexes: counter(
                "etcd_server_slow_read_indexes_total",
                "Read-index rounds that took too long.",
            ),
            read_indexes_failed: counter(
                "etcd_server_read_indexes_failed_total",
                "Read-index rounds that failed.",
            ),
            heartbeat_send_failures: counter(
                "etcd_server_heartbeat_send_failures_total",
                "Heartbeats that could not be sent in time.",
            ),
            has_leader,
            is_leader,
            is_learner,
            quota_backend_bytes,
            feature_level,
            snapshot_apply_in_progress,
            id,
            version,
            cluster_version,
        }
    }

    /// Publishes this member's id.
    pub fn set_id(&self, id: MemberId) {
        self.id.reset();
        self.id.with_label_values(&[id.to_string()]).set(1);
    }

    /// Publishes the version that this member serves.
    pub fn set_version(&self, version: &str) {
        self.version.reset();
        self.version.with_label_values(&[version]).set(1);
    }

    /// Publishes the version that the cluster serves, as major and minor number.
    pub fn set_cluster_version(&self, version: &str) {
        self.cluster_version.reset();
        self.cluster_version.with_label_values(&[version]).set(1);
    }
}
