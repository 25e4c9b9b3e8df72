//! Metrics of alarms and of what raises them, and of feature gates.

use prometheus::{IntGauge, IntGaugeVec};
use tenure_statemachine::{AlarmKind, MemberId};

use super::registrar::Registrar;

/// Metrics of alarms, of the disk's space, and of feature gates.
#[derive(Debug)]
pub struct AlarmMetrics {
    /// Bytes that are free on the file system of the data directory.
    pub disk_available_bytes: IntGauge,
    /// Free bytes below which the alarm is raised; zero when nothing is reserved.
    pub disk_reserve_bytes: IntGauge,
    raised: IntGaugeVec,
    features: IntGaugeVec,
}

impl AlarmMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        Self {
            disk_available_bytes: registrar.gauge(
                "tenure_disk_available_bytes",
                "Bytes that are free on the file system of the data directory.",
            ),
            disk_reserve_bytes: registrar.gauge(
                "tenure_disk_reserve_bytes",
                "Free bytes below which the NOSPACE alarm is raised; 0 when nothing is reserved.",
            ),
            raised: registrar.gauges(
                "etcd_debugging_server_alarms",
                &["server_id", "alarm_type"],
                "1 for each alarm that is raised, with the member that it names.",
            ),
            features: registrar.gauges(
                "etcd_server_feature_enabled",
                &["name", "stage"],
                "1 for each feature gate that is switched on.",
            ),
        }
    }

    /// Publishes the alarms that are raised.
    pub fn set_raised(&self, alarms: &[(MemberId, AlarmKind)]) {
        self.raised.reset();
        for (member, kind) in alarms {
            let member = member.to_string();
            let kind = match kind {
                AlarmKind::NoSpace => "NOSPACE",
                AlarmKind::Corrupt => "CORRUPT",
            };
            self.raised.with_label_values(&[&member, kind]).set(1);
        }
    }

    /// Publishes whether a feature gate is switched on.
    pub fn set_feature(&self, name: &str, stage: &str, is_on: bool) {
        let gauge = self.features.with_label_values(&[name, stage]);
        gauge.set(i64::from(is_on));
    }
}
