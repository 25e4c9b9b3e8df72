//! Metrics of the key space, its watchers, its leases, and the disk.

use prometheus::{Histogram, IntCounter, IntGauge};

use super::registrar::{Registrar, doubling};

/// First bound and number of bounds of durable writes: 1 ms to 8 s, as in etcd.
const DISK_BUCKETS: (f64, usize) = (0.001, 14);

/// Durations of durable writes, and sizes on disk.
#[derive(Clone, Debug)]
pub struct DiskMetrics {
    /// Seconds to make the log durable.
    pub wal_fsync_duration: Histogram,
    /// Seconds to write a batch of applied entries.
    pub backend_commit_duration: Histogram,
    /// Bytes that the log takes on disk.
    pub log_bytes: IntGauge,
    /// Entries in the log.
    pub log_entries: IntGauge,
    /// Bytes in flight to the log's disk.
    pub log_unsynced_bytes: IntGauge,
    /// Bytes of the newest snapshot's files, including those shared with the state.
    pub snapshot_bytes: IntGauge,
    /// Bytes of commands in the log's entries, counted when applied.
    pub wal_write_bytes: IntCounter,
}

impl DiskMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        let (start, count) = DISK_BUCKETS;
        Self {
            wal_fsync_duration: registrar.histogram(
                "etcd_disk_wal_fsync_duration_seconds",
                doubling(start, count),
                "Seconds that making the log durable took.",
            ),
            backend_commit_duration: registrar.histogram(
                "etcd_disk_backend_commit_duration_seconds",
                doubling(start, count),
                "Seconds that writing a batch of applied entries took.",
            ),
            wal_write_bytes: registrar.counter(
                "etcd_disk_wal_write_bytes_total",
                "Bytes of commands in the log's entries, counted when they are applied.",
            ),
            log_bytes: registrar.gauge("tenure_log_bytes", "Bytes that the log takes on disk."),
            log_entries: registrar.gauge("tenure_log_entries", "Entries in the log."),
            log_unsynced_bytes: registrar.gauge(
                "tenure_log_unsynced_bytes",
                "Bytes on their way to the log's disk. More is not taken beyond 32 MiB.",
            ),
            snapshot_bytes: registrar.gauge(
                "tenure_snapshot_bytes",
                "Bytes of the newest snapshot's files, most of which the state shares.",
            ),
        }
    }
}

/// The key space and its watchers.
#[derive(Debug)]
pub struct MvccMetrics {
    /// Bytes used, including history that compaction has not removed yet.
    pub db_total_size: IntGauge,
    /// Bytes used by data that can still be read.
    pub db_total_size_in_use: IntGauge,
    /// Puts applied.
    pub put: IntCounter,
    /// Ranges served.
    pub range: IntCounter,
    /// Deletes applied.
    pub delete: IntCounter,
    /// Transactions applied.
    pub txn: IntCounter,
    /// Current number of keys.
    pub keys: IntGauge,
    /// Revision of the latest change.
    pub current_revision: IntGauge,
    /// Revision below which history is compacted.
    pub compact_revision: IntGauge,
    /// Current number of watchers.
    pub watcher: IntGauge,
    /// Watchers that read history because they fell behind.
    pub slow_watcher: IntGauge,
    /// Current number of watch streams.
    pub watch_stream: IntGauge,
    /// Events sent to watchers.
    pub events: IntCounter,
    /// Events waiting to be sent.
    pub pending_events: IntGauge,
}

impl MvccMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        let mut counter = |name, help| registrar.counter(name, help);
        let put = counter("etcd_mvcc_put_total", "Puts applied.");
        let range = counter("etcd_mvcc_range_total", "Ranges served.");
        let delete = counter("etcd_mvcc_delete_total", "Deletes applied.");
        let txn = counter("etcd_mvcc_txn_total", "Transactions applied.");
        let events = counter(
            "etcd_debugging_mvcc_events_total",
            "Events sent to watchers.",
        );
        let mut gauge = |name, help| registrar.gauge(name, help);
        Self {
            db_total_size: gauge(
                "etcd_mvcc_db_total_size_in_bytes",
                "Bytes used, with history that compaction has not yet removed.",
            ),
            db_total_size_in_use: gauge(
                "etcd_mvcc_db_total_size_in_use_in_bytes",
                "Bytes used, of which nothing could be freed now.",
            ),
            keys: gauge("etcd_debugging_mvcc_keys_total", "Keys at present."),
            current_revision: gauge(
                "etcd_debugging_mvcc_current_revision",
                "Revision of the latest change.",
            ),
            compact_revision: gauge(
                "etcd_debugging_mvcc_compact_revision",
                "Revision below which history is gone.",
            ),
            watcher: gauge("etcd_debugging_mvcc_watcher_total", "Watchers at present."),
            slow_watcher: gauge(
                "etcd_debugging_mvcc_slow_watcher_total",
                "Watchers that read history because they fell behind.",
            ),
            watch_stream: gauge(
                "etcd_debugging_mvcc_watch_stream_total",
                "Watch streams at present.",
            ),
            pending_events: gauge(
                "etcd_debugging_mvcc_pending_events_total",
                "Events that wait to be sent.",
            ),
            put,
            range,
            delete,
            txn,
            events,
        }
    }
}

/// Counters of leases.
#[derive(Debug)]
pub struct LeaseMetrics {
    /// Leases granted.
    pub granted: IntCounter,
    /// Renewals applied.
    pub renewed: IntCounter,
    /// Leases revoked by a client.
    pub revoked: IntCounter,
    /// Leases that expired.
    pub expired: IntCounter,
}

impl LeaseMetrics {
    pub(super) fn new(registrar: &mut Registrar) -> Self {
        let mut counter = |name, help| registrar.counter(name, help);
        Self {
            granted: counter(
                "etcd_debugging_lease_granted_total",
                "Leases granted by themselves, not with a lock or the like.",
            ),
            renewed: counter(
                "etcd_debugging_lease_renewed_total",
                "Lease renewals applied.",
            ),
            revoked: counter(
                "etcd_debugging_lease_revoked_total",
                "Leases revoked by clients.",
            ),
            expired: counter(
                "etcd_debugging_server_lease_expired_total",
                "Leases that ran out.",
            ),
        }
    }
}
