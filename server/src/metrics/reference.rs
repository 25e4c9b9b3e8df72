//! Generates the metrics document from the registered metrics, and tests that it is current.
//!
//! Run the tests with `TENURE_REWRITE_DOCS=1` in the environment to regenerate it.

use std::{env, fs, path::PathBuf};

use super::{Metrics, described};
use crate::config::MetricsLevel;

/// Metrics that dashboards and alerts made for etcd query.
const RELIED_ON: [&str; 37] = [
    "etcd_server_client_requests_total",
    "etcd_server_apply_duration_seconds",
    "etcd_server_range_duration_seconds",
    "etcd_server_request_duration_seconds",
    "etcd_network_known_peers",
    "etcd_network_active_peers",
    "etcd_network_peer_sent_failures_total",
    "etcd_disk_wal_write_bytes_total",
    "etcd_server_quota_backend_bytes",
    "os_fd_used",
    "os_fd_limit",
    "process_open_fds",
    "process_max_fds",
    "etcd_server_heartbeat_send_failures_total",
    "etcd_server_read_indexes_failed_total",
    "etcd_server_slow_read_indexes_total",
    "etcd_server_snapshot_apply_in_progress_total",
    "etcd_debugging_mvcc_pending_events_total",
    "etcd_server_has_leader",
    "etcd_server_leader_changes_seen_total",
    "grpc_server_handled_total",
    "grpc_server_started_total",
    "grpc_server_handling_seconds",
    "etcd_network_peer_round_trip_time_seconds",
    "etcd_network_peer_sent_bytes_total",
    "etcd_network_peer_received_bytes_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_applied_total",
    "etcd_server_proposals_failed_total",
    "etcd_server_proposals_pending",
    "etcd_disk_wal_fsync_duration_seconds",
    "etcd_disk_backend_commit_duration_seconds",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "process_resident_memory_bytes",
];

fn markdown() -> String {
    let mut text = String::from(
        "# Metrics of tenured\n\n\
         Served as text at `/metrics` on the client port and on `--listen-metrics-urls`. The\n\
         names are etcd's, so dashboards and alerts made for etcd work unchanged; what etcd\n\
         has no name for begins with `tenure_`. Units are in the name; a name without one\n\
         counts.\n\n\
         | name | type | labels | meaning |\n|---|---|---|---|\n",
    );
    let mut described = described();
    described.sort_by_key(|metric| metric.name);
    for metric in described {
        let labels: Vec<String> = metric.labels.iter().map(|it| format!("`{it}`")).collect();
        let (name, kind, help) = (metric.name, metric.kind, metric.help);
        text.push_str(&format!(
            "| `{name}` | {kind} | {} | {help} |\n",
            labels.join(", ")
        ));
    }
    text
}

#[test]
fn the_document_lists_exactly_what_is_registered() {
    // Tests run in the directory of their package.
    let path = PathBuf::from("../docs/metrics.md");
    if env::var_os("TENURE_REWRITE_DOCS").is_some() {
        fs::write(&path, markdown()).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let fresh = found == markdown();
    assert!(
        fresh,
        "docs/metrics.md is stale; run this test with TENURE_REWRITE_DOCS=1"
    );
}

#[test]
fn everything_that_dashboards_for_etcd_rely_on_is_there() {
    let described = described();
    for name in RELIED_ON {
        assert!(described.iter().any(|it| it.name == name), "{name}");
    }
    assert!(described.iter().all(|it| it.help.ends_with('.')));
}

#[test]
fn the_text_has_each_name_as_it_was_given() {
    let metrics = Metrics::new(MetricsLevel::Basic);
    metrics.server.has_leader.set(1);
    metrics.proposals.committed.set(7);
    metrics.mvcc.put.inc_by(3);
    metrics.server.set_id(tenure_statemachine::MemberId(0xab));
    metrics.server.set_version("3.6.0");
    metrics.server.set_cluster_version("3.5");
    metrics.server.set_cluster_version("3.6");
    let id = tenure_statemachine::MemberId;
    let peer = metrics.network.peer(id(0xab), id(0xcd));
    peer.sent_bytes.inc_by(9);
    peer.round_trip_time.observe(0.001);
    metrics.disk.wal_fsync_duration.observe(0.003);
    let text = String::from_utf8(metrics.render()).unwrap();
    for line in [
        "# TYPE etcd_server_proposals_committed_total gauge",
        "etcd_server_proposals_committed_total 7",
        "etcd_server_has_leader 1",
        "etcd_mvcc_put_total 3",
        "etcd_server_id{server_id=\"ab\"} 1",
        "etcd_server_version{server_version=\"3.6.0\"} 1",
        "etcd_cluster_version{cluster_version=\"3.6\"} 1",
        "etcd_network_peer_sent_bytes_total{To=\"cd\"} 9",
        "etcd_network_peer_round_trip_time_seconds_bucket{To=\"cd\",le=\"0.0008\"} 0",
        "etcd_network_peer_round_trip_time_seconds_bucket{To=\"cd\",le=\"0.0016\"} 1",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.002\"} 0",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.004\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("_total_total"));
    let before = "cluster_version=\"3.5\"";
    assert!(!text.contains(before), "only the present version is told");
    assert!(
        !text.contains("grpc_server_handling_seconds"),
        "only when extensive"
    );
}
