//! The HTTP pages on the client port: probes, versions, and metrics that tell the truth.

use tenure_testkit::{Cluster, Page, STATE_MAX, Watching, page, wait_until};

#[tokio::test]
async fn probes_and_versions_are_served_on_the_client_port_of_every_node() {
    let cluster = Cluster::start(3).await;
    for node in cluster.nodes() {
        let health = node.page("/health").await;
        assert_eq!(health.status, 200);
        assert_eq!(health.body, r#"{"health":"true","reason":""}"#);
        let health = node.page("/health?serializable=true").await;
        assert_eq!(health.status, 200);
        for path in ["/livez", "/readyz"] {
            let page = node.page(path).await;
            assert_eq!((page.status, page.body.as_str()), (200, "ok\n"), "{path}");
        }
        let verbose = node.page("/readyz?verbose").await.body;
        assert!(verbose.contains("[+]linearizable_read ok\n"), "{verbose}");
        let version = node.page("/version").await;
        let version: serde_json::Value = serde_json::from_str(&version.body).unwrap();
        let status = node.calls().status().await.unwrap();
        assert_eq!(version["etcdserver"], status.version.as_str());
        assert_eq!(node.page("/nothing").await.status, 404);
    }
}

#[tokio::test]
async fn a_node_without_its_quorum_is_alive_but_neither_healthy_nor_ready() {
    let mut cluster = Cluster::start(3).await;
    cluster.node_mut(0).kill9();
    cluster.node_mut(1).kill9();
    let alone = cluster.node(2);
    let ready = wait_until("the node is not ready", STATE_MAX, async || {
        let page = page(alone.address(), "/readyz")
            .await
            .map_err(|e| e.to_string())?;
        (page.status == 503)
            .then_some(page)
            .ok_or_else(|| "it is".to_owned())
    })
    .await;
    assert!(
        ready.body.contains("[-]linearizable_read failed"),
        "{}",
        ready.body
    );
    assert_eq!(alone.page("/livez").await.status, 200);
    let health = wait_until("the node is not healthy", STATE_MAX, async || {
        let page = page(alone.address(), "/health")
            .await
            .map_err(|e| e.to_string())?;
        (page.status == 503)
            .then_some(page)
            .ok_or_else(|| "it is".to_owned())
    })
    .await;
    assert!(
        health.body.contains(r#""health":"false""#),
        "{}",
        health.body
    );
    wait_until("the metrics say so", STATE_MAX, async || {
        let has_leader = alone
            .page("/metrics")
            .await
            .metric("etcd_server_has_leader");
        (has_leader == Some(0.0))
            .then_some(())
            .ok_or("there is a leader")
    })
    .await;
}

fn metric(page: &Page, name: &str) -> f64 {
    let value = page.metric(name);
    value.unwrap_or_else(|| panic!("{name} is not on the metrics page"))
}

#[tokio::test]
async fn metrics_bear_etcds_names_and_follow_what_happens() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    for node in cluster.nodes() {
        let before = node.page("/metrics").await;
        assert!(before.head.contains("text/plain"), "{}", before.head);
        let calls = node.calls();
        for number in 0..25 {
            calls.put(&format!("m/{number}"), "v").await.unwrap();
        }
        let after = wait_until("the metrics have followed", STATE_MAX, async || {
            let after = node.page("/metrics").await;
            let grown = |name| metric(&after, name) - metric(&before, name);
            let committed = grown("etcd_server_proposals_committed_total");
            let applied = grown("etcd_server_proposals_applied_total");
            // Entries that are no puts count, too: what the members say of themselves.
            let keys = metric(&after, "etcd_debugging_mvcc_keys_total");
            (committed >= 25.0 && applied >= 25.0 && keys == 25.0)
                .then_some(after.clone())
                .ok_or_else(|| format!("{committed} committed, {applied} applied, {keys} keys"))
        })
        .await;
        assert_eq!(metric(&after, "etcd_server_has_leader"), 1.0);
        let leads = node.name() == cluster.node(leader).name();
        let is_leader = metric(&after, "etcd_server_is_leader");
        assert_eq!(is_leader, f64::from(u8::from(leads)), "{}", node.name());
        for name in [
            "etcd_mvcc_put_total",
            "etcd_disk_wal_fsync_duration_seconds_count",
            "etcd_disk_backend_commit_duration_seconds_count",
        ] {
            assert!(
                metric(&after, name) > metric(&before, name),
                "{name} did not grow at {}",
                node.name()
            );
        }
        for name in [
            "etcd_server_proposals_pending",
            "etcd_server_proposals_failed_total",
            "etcd_server_leader_changes_seen_total",
            "etcd_server_quota_backend_bytes",
            "etcd_mvcc_db_total_size_in_bytes",
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "process_resident_memory_bytes",
            "process_open_fds",
        ] {
            assert!(metric(&after, name) >= 0.0, "{name}");
        }
        let revision = metric(&after, "etcd_debugging_mvcc_current_revision");
        let status = calls.status().await.unwrap();
        assert!(revision <= status.header.unwrap().revision as f64);
        assert!(revision > 25.0);
    }
}

#[tokio::test]
async fn metrics_count_watchers_and_leases() {
    let cluster = Cluster::start(1).await;
    let node = cluster.node(0);
    let calls = node.calls();
    let watch = Watching::prefix(&calls, "w/", 0).await.unwrap();
    let lease = calls.grant(60).await.unwrap();
    calls.renew(lease).await.unwrap();
    let followed = |watchers: f64, granted: f64, renewed: f64| async move {
        wait_until("the metrics have followed", STATE_MAX, async || {
            let page = node.page("/metrics").await;
            let now = [
                metric(&page, "etcd_debugging_mvcc_watcher_total"),
                metric(&page, "etcd_debugging_mvcc_watch_stream_total"),
                metric(&page, "etcd_debugging_lease_granted_total"),
                metric(&page, "etcd_debugging_lease_renewed_total"),
            ];
            (now == [watchers, watchers, granted, renewed])
                .then_some(())
                .ok_or_else(|| format!("{now:?}"))
        })
        .await;
    };
    followed(1.0, 1.0, 1.0).await;
    drop(watch);
    followed(0.0, 1.0, 1.0).await;
}
