//! The HTTP pages on the client port: probes, versions, and metrics that tell the truth.

use tenure_testkit::{
    Calls, Cluster, Http, Page, STATE_MAX, Watching, free_port, page, wait_until,
};

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
async fn variables_of_the_process_are_a_page_as_in_etcd() {
    let cluster = Cluster::start(1).await;
    let vars = cluster.node(0).page("/debug/vars").await;
    let vars: serde_json::Value = serde_json::from_str(&vars.body).unwrap();
    assert!(
        vars["file_descriptor_limit"].as_u64().unwrap() > 0,
        "{vars}"
    );
    assert_eq!(vars["cmdline"], serde_json::json!(["tenured"]));
}

#[tokio::test]
async fn http_and_gateway_may_have_addresses_of_their_own_apart_from_grpc() {
    let alone = format!("127.0.0.1:{}", free_port());
    let mut cluster = Cluster::builder(1)
        .flag("--listen-client-http-urls", &format!("http://{alone}"))
        .spawn();
    // Its own pages are at the other address.
    wait_until("it is ready", STATE_MAX, async || {
        let ready = page(&alone, "/readyz").await;
        match ready {
            Ok(page) if page.status == 200 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let grpc = cluster.node(0).address().to_owned();
    cluster.node(0).calls().put("a", "b").await.unwrap();
    let refused = page(&grpc, "/version").await.unwrap();
    assert_eq!(refused.status, 404);
    assert!(
        refused.body.contains("--listen-client-http-urls"),
        "{}",
        refused.body
    );
    let mut http = Http::connect(&alone).await.unwrap();
    let found = http
        .post("/v3/kv/range", r#"{"key":"YQ=="}"#)
        .await
        .unwrap();
    assert!(found.body.contains("\"Yg==\""), "{}", found.body);
    let refused = Calls::to(&alone).put("a", "c").await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented, "{refused}");
    cluster.node_mut(0).kill9();
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

/// What `etcd_network_peer_…` and the like are told by: the sum over all labels.
fn sum(page: &Page, name: &str) -> f64 {
    let labelled = format!("{name}{{");
    let lines = page.body.lines();
    let values = lines.filter(|line| line.starts_with(&labelled));
    let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum()
}

#[tokio::test]
async fn a_scrape_shows_what_was_done_before_it() {
    let cluster = Cluster::start(1).await;
    let node = cluster.node(0);
    for keys in 1..=20 {
        let revision = node.calls().put(&format!("k/{keys}"), "v").await.unwrap();
        let page = node.page("/metrics").await;
        assert_eq!(
            metric(&page, "etcd_debugging_mvcc_keys_total"),
            f64::from(keys)
        );
        let shown = metric(&page, "etcd_debugging_mvcc_current_revision");
        assert_eq!(shown, revision as f64);
    }
}

#[tokio::test]
async fn every_metric_of_requests_and_peers_moves_with_what_happens() {
    let mut cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let before = cluster.node(leader).page("/metrics").await;
    let calls = cluster.node(leader).calls();
    let _watch = Watching::prefix(&calls, "m/", 0).await.unwrap();
    for number in 0..10 {
        calls.put(&format!("m/{number}"), "v").await.unwrap();
        calls.get("m/0").await.unwrap();
    }
    let lease = calls.grant(60).await.unwrap();
    assert!(lease > 0);
    let moved = [
        "etcd_server_client_requests_total",
        "etcd_server_apply_duration_seconds_count",
        "etcd_server_range_duration_seconds_count",
        "etcd_server_request_duration_seconds_count",
        "etcd_network_peer_sent_bytes_total",
        "etcd_network_peer_received_bytes_total",
        "etcd_network_peer_round_trip_time_seconds_count",
    ];
    wait_until("the metrics have followed", STATE_MAX, async || {
        let after = cluster.node(leader).page("/metrics").await;
        let still = moved
            .into_iter()
            .find(|name| sum(&after, name) <= sum(&before, name));
        let written = "etcd_disk_wal_write_bytes_total";
        let sent = "etcd_debugging_mvcc_events_total";
        let still = still
            .or((metric(&after, written) <= metric(&before, written)).then_some(written))
            .or((metric(&after, sent) < 10.0).then_some(sent));
        still.map_or(Ok(()), |name| Err(format!("{name} stands still")))
    })
    .await;
    let page = cluster.node(leader).page("/metrics").await;
    assert_eq!(sum(&page, "etcd_network_known_peers"), 2.0);
    assert!(sum(&page, "etcd_network_active_peers") >= 2.0);
    assert!(metric(&page, "os_fd_used") > 0.0);
    let put = "etcd_server_request_duration_seconds_count{success=\"true\",type=\"put\"}";
    assert!(metric(&page, put) >= 10.0);

    let gone = cluster.others(leader)[0];
    cluster.node_mut(gone).kill9();
    wait_until("the loss of a peer is counted", STATE_MAX, async || {
        let page = cluster.node(leader).page("/metrics").await;
        (sum(&page, "etcd_network_peer_sent_failures_total") > 0.0)
            .then_some(())
            .ok_or("nothing failed")
    })
    .await;
    let other = cluster.others(leader)[1];
    cluster.node_mut(other).kill9();
    // Without a quorum nothing is read, and that is counted.
    let node = cluster.node(leader);
    drop(node.calls().get("m/0").await.unwrap_err());
    wait_until("the failed read is counted", STATE_MAX, async || {
        let page = node.page("/metrics").await;
        (metric(&page, "etcd_server_read_indexes_failed_total") > 0.0)
            .then_some(())
            .ok_or("no read has failed")
    })
    .await;
}
