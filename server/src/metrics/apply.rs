//! Durations of applying commands, by kind of command.
//!
//! Commands are applied in batches; each is observed with its share of the batch's duration.

use std::time::Duration;

use prometheus::Histogram;
use tenure_statemachine::{Outcome, Reply};

use super::{
    registrar::{Registrar, doubling},
    requests::REQUEST_BUCKETS,
};

/// Histograms of the time that commands take to apply.
#[derive(Debug)]
pub struct ApplyMetrics {
    put: Histogram,
    delete_range: Histogram,
    txn: Histogram,
    compaction: Histogram,
    lease_grant: Histogram,
    lease_revoke: Histogram,
    alarm: Histogram,
    /// Commands without an equivalent operation in etcd.
    other: Histogram,
    refused: Histogram,
}

impl ApplyMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        let (start, count) = REQUEST_BUCKETS;
        let all = registrar.histograms(
            "etcd_server_apply_duration_seconds",
            &["version", "op", "success"],
            doubling(start, count),
            "Seconds that applying a command took, as its share of a batch.",
        );
        let of = |operation| all.with_label_values(&["v3", operation, "true"]);
        Self {
            put: of("Put"),
            delete_range: of("DeleteRange"),
            txn: of("Txn"),
            compaction: of("Compaction"),
            lease_grant: of("LeaseGrant"),
            lease_revoke: of("LeaseRevoke"),
            alarm: of("Alarm"),
            other: of("Other"),
            refused: all.with_label_values(&["v3", "Refused", "false"]),
        }
    }

    /// Observes the apply duration of a command with this outcome.
    pub fn observe(&self, outcome: &Outcome, took: Duration) {
        let of_kind = match &outcome.reply {
            Ok(Reply::Put(_)) => &self.put,
            Ok(Reply::DeleteRange(_)) => &self.delete_range,
            Ok(Reply::Txn(_)) => &self.txn,
            Ok(Reply::Compact) => &self.compaction,
            Ok(Reply::LeaseGrant(..)) => &self.lease_grant,
            Ok(Reply::LeaseRevoke) => &self.lease_revoke,
            Ok(Reply::Alarm(_)) => &self.alarm,
            Ok(_) => &self.other,
            Err(_) => &self.refused,
        };
        of_kind.observe(took.as_secs_f64());
    }
}
