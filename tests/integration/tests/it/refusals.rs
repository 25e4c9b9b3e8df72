//! What a node refuses at its start, and how it says so.

use std::path::Path;

use tempfile::TempDir;
use tenure_testkit::{Cluster, Ran, STATE_MAX, Tool, free_port, tenured, wait_until};

/// The exit code of a configuration that cannot be used.
const EXIT_CONFIG: Option<i32> = Some(2);
/// The exit code of everything else.
const EXIT_FAILURE: Option<i32> = Some(1);

async fn start(arguments: &[&str]) -> Ran {
    Tool::new(tenured()).run(arguments).await
}

/// The flags of a node on its own, on free ports.
fn lone(data_dir: &Path) -> Vec<String> {
    let (client, peer) = (free_port(), free_port());
    let peer = format!("http://127.0.0.1:{peer}");
    [
        "--name=lone",
        &format!("--data-dir={}", data_dir.display()),
        &format!("--listen-client-urls=http://127.0.0.1:{client}"),
        &format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        &format!("--listen-peer-urls={peer}"),
        &format!("--initial-advertise-peer-urls={peer}"),
        &format!("--initial-cluster=lone={peer}"),
    ]
    .map(str::to_owned)
    .into()
}

#[tokio::test]
async fn a_bad_setting_ends_the_start_with_code_2_and_is_named() {
    let cases = [
        ("--no-such-flag=1", "--no-such-flag"),
        ("--heartbeat-interval=fast", "--heartbeat-interval"),
        ("--election-timeout=100", "--election-timeout"),
        ("--listen-client-urls=nowhere", "--listen-client-urls"),
        (
            "--listen-peer-urls=https://127.0.0.1:2380",
            "--listen-peer-urls",
        ),
        (
            "--initial-cluster=a=http://127.0.0.1:1",
            "--initial-cluster",
        ),
        ("--initial-cluster-state=old", "--initial-cluster-state"),
        ("--snapshot-count=-1", "--snapshot-count"),
        ("--auto-compaction-mode=never", "--auto-compaction-mode"),
        (
            "--auto-compaction-retention=soon",
            "--auto-compaction-retention",
        ),
        ("--log-level=loud", "--log-level"),
        ("--cert-file=/tmp/cert.pem", "--cert-file"),
        ("--unsafe-no-fsync", "--unsafe-no-fsync"),
        ("--config-file=/nonexistent/tenure.toml", "--config-file"),
    ];
    for (argument, named) in cases {
        let directory = TempDir::new().unwrap();
        let data = format!("--data-dir={}/data", directory.path().display());
        let ran = start(&[&data, argument]).await;
        assert_eq!(ran.code, EXIT_CONFIG, "{argument}: {ran:?}");
        assert!(
            ran.err.contains(named),
            "{argument} is not named: {}",
            ran.err
        );
        let data = directory.path().join("data");
        assert!(!data.exists(), "{argument}: a refused start left files");
    }
}

#[tokio::test]
async fn all_bad_settings_are_named_at_once() {
    let ran = start(&["--heartbeat-interval=x", "--log-level=y", "--nonsense=z"]).await;
    assert_eq!(ran.code, EXIT_CONFIG);
    for named in ["--heartbeat-interval", "--log-level", "--nonsense"] {
        assert!(ran.err.contains(named), "{named} is not named: {}", ran.err);
    }
}

#[tokio::test]
async fn a_data_directory_in_use_is_refused_by_its_name() {
    let cluster = Cluster::start(1).await;
    let data_dir = cluster.node(0).data_dir();
    let flags = lone(data_dir);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let ran = start(&flags).await;
    assert_eq!(ran.code, EXIT_FAILURE, "{ran:?}");
    let expected = format!(
        "data directory {} is in use by another process",
        data_dir.display()
    );
    assert!(ran.err.contains(&expected), "{}", ran.err);
    // And the one that uses it goes on.
    cluster.node(0).calls().put("k", "v").await.unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_refused_by_its_flag() {
    let cluster = Cluster::start(1).await;
    let directory = TempDir::new().unwrap();
    let taken = format!("--listen-client-urls=http://{}", cluster.node(0).address());
    let mut flags = lone(directory.path());
    flags.retain(|flag| !flag.starts_with("--listen-client-urls"));
    flags.push(taken);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let ran = start(&flags).await;
    assert_eq!(ran.code, EXIT_FAILURE, "{ran:?}");
    assert!(ran.err.contains("--listen-client-urls"), "{}", ran.err);
    assert!(ran.err.contains(cluster.node(0).address()), "{}", ran.err);
}

#[tokio::test]
async fn a_node_of_another_quorum_is_not_let_in() {
    // The same addresses, but one node was told another token: it belongs to another quorum, and
    // the two others do not form theirs without the third founder.
    let cluster = Cluster::builder(3)
        .node_flag(2, "--initial-cluster-token", "other")
        .spawn();
    let logs = || cluster.node(2).log() + &cluster.node(0).log() + &cluster.node(1).log();
    wait_until("somebody says why", STATE_MAX, async || {
        logs()
            .contains("cluster ID mismatch")
            .then_some(())
            .ok_or_else(logs)
    })
    .await;
    let mut clusters = Vec::new();
    for number in 0..3 {
        let calls = cluster.node(number).calls();
        let status = wait_until("it answers", STATE_MAX, async || calls.status().await).await;
        assert_eq!(status.leader, 0, "it follows: {status:?}");
        clusters.push(status.header.unwrap().cluster_id);
    }
    assert_eq!(clusters[0], clusters[1]);
    assert_ne!(clusters[0], clusters[2]);
}

#[tokio::test]
async fn a_data_directory_of_another_format_is_refused_by_its_name() {
    let mut cluster = Cluster::start(1).await;
    cluster.node_mut(0).terminate().await;
    let data_dir = cluster.node(0).data_dir().to_owned();
    std::fs::write(data_dir.join("identity"), "format = 9\n").unwrap();
    cluster.node_mut(0).start();
    let status = cluster.node_mut(0).wait_exit(STATE_MAX).await;
    assert_eq!(status.code(), EXIT_FAILURE);
    let expected = format!("data directory {} has an identity file", data_dir.display());
    let log = cluster.node(0).log();
    assert!(log.contains(&expected), "{log}");
    assert!(log.contains("format 9"), "{log}");
}
