//! Bodies that are meant to harm: each is refused, and the node serves the next request.

use std::{fs, io::Write as _};

use flate2::{Compression, write::GzEncoder};
use futures::future::join_all;
use tenure_testkit::{Cluster, Http, Node, STATE_MAX, wait_until};

use super::{found, json};

const PUT: &str = r#"{"key":"YQ==","value":"MQ=="}"#;
const WATCH: &str = r#"{"create_request":{"key":"YQ=="}}"#;
/// What a body may cost in memory beside the node's own, whatever its length.
const BODY_COST_MAX: usize = 64 << 20;
/// Bytes of a piece that is sent at once.
const PIECE_BYTES: usize = 64 << 10;
/// Watches that are open at once, each on a connection of its own.
const WATCHES: usize = 1000;

/// Most bytes of memory that the process of a node has had.
fn peak_bytes(node: &Node) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    let kibibytes = line.split_whitespace().nth(1).unwrap();
    kibibytes.parse::<usize>().unwrap() * 1024
}

/// Sends a body of this length, which begins with `begin` and goes on with `unit`, and returns the
/// text of the refusal.
async fn refusal(address: &str, headers: &str, begin: &[u8], unit: &[u8], length: usize) -> String {
    let mut http = Http::connect(address).await.unwrap();
    let head = format!("POST /v3/kv/put HTTP/1.1\r\nhost: x\r\n{headers}");
    let head = format!("{head}content-length: {length}\r\n\r\n");
    http.send(head.as_bytes()).await.unwrap();
    http.send(begin).await.unwrap();
    let piece = unit.repeat(PIECE_BYTES / unit.len());
    let mut left = length - begin.len();
    while left > 0 {
        let piece = &piece[..left.min(piece.len())];
        if http.send(piece).await.is_err() {
            // The response was sent before the body's end, and the connection closed.
            break;
        }
        left -= piece.len();
    }
    let answer = http.answer().await.unwrap();
    assert_eq!(answer.status, 400, "{}", answer.body);
    json(&answer.body)["error"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn bodies_that_are_too_deep_or_too_large_are_refused_and_cost_little() {
    let cluster = Cluster::start(1).await;
    let node = cluster.node(0);
    found(node.address(), "/v3/kv/put", PUT).await;
    let before = peak_bytes(node);
    for unit in [&b"{\"a\":"[..], b"{\"a\":["] {
        let text = refusal(node.address(), "", b"", unit, 1 << 20).await;
        assert!(text.ends_with("nested more than 120 deep"), "{text}");
    }
    let text = refusal(node.address(), "", b"{\"key\":\"", b"A", 100 << 20).await;
    assert_eq!(text, "etcdserver: request is too large");
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(b"{\"key\":\"").unwrap();
    bomb.write_all(&vec![b'A'; 200 << 20]).unwrap();
    let bomb = bomb.finish().unwrap();
    let gzip = "content-encoding: gzip\r\n";
    let text = refusal(node.address(), gzip, &bomb, b"x", bomb.len()).await;
    assert_eq!(text, "etcdserver: request is too large");
    let cost = peak_bytes(node) - before;
    assert!(cost < BODY_COST_MAX, "{cost}");
    found(node.address(), "/v3/kv/put", PUT).await;
}

#[tokio::test]
async fn a_value_beyond_the_limit_is_refused_as_by_grpc() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    for (bytes, text) in [
        (1_600_000, "etcdserver: request is too large"),
        (2_400_000, "grpc: received message larger than max"),
        (9_000_000, "etcdserver: request is too large"),
    ] {
        let value = "A".repeat(bytes / 3 * 4);
        let mut http = Http::connect(address).await.unwrap();
        let put = format!(r#"{{"key":"YQ==","value":"{value}"}}"#);
        let answer = http.post("/v3/kv/put", &put).await.unwrap();
        assert!(answer.body.contains(text), "{bytes}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_waited_for_only_so_long() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    let late = async |path: &str| {
        let mut http = Http::connect(address).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n");
        http.send(format!("{head}{{\"key\":").as_bytes())
            .await
            .unwrap();
        let answer = http.answer().await.unwrap();
        assert_eq!(answer.status, 504, "{path}: {}", answer.body);
        assert!(
            answer
                .body
                .contains("the request was not sent whole in time")
        );
    };
    join_all(["/v3/kv/put", "/v3/watch", "/v3/lease/keepalive"].map(late)).await;
    // One that breaks off instead.
    let mut http = Http::connect(address).await.unwrap();
    http.begin("POST", "/v3/kv/put", &[]).await.unwrap();
    http.send_chunk(r#"{"key":"#).await.unwrap();
    drop(http);
    found(address, "/v3/kv/put", PUT).await;
}

#[tokio::test]
async fn a_thousand_watches_are_served_at_once() {
    let cluster = Cluster::start(1).await;
    let node = cluster.node(0);
    let open = async || {
        let mut http = Http::connect(node.address()).await.unwrap();
        let length = WATCH.len();
        let head =
            format!("POST /v3/watch HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        http.send(format!("{head}{WATCH}").as_bytes())
            .await
            .unwrap();
        assert_eq!(http.head().await.unwrap().status, 200);
        assert!(
            http.chunk()
                .await
                .unwrap()
                .unwrap()
                .contains("\"created\":true")
        );
        http
    };
    let mut watches = Vec::new();
    for _ in 0..WATCHES / 50 {
        watches.extend(join_all((0..50).map(|_| open())).await);
    }
    found(node.address(), "/v3/kv/put", PUT).await;
    for watch in &mut watches {
        let event = watch.chunk().await.unwrap().unwrap();
        assert!(event.contains("\"value\":\"MQ==\""), "{event}");
    }
    drop(watches);
    wait_until("the watchers are gone", STATE_MAX, async || {
        let page = node.page("/metrics").await;
        let watchers = page.metric("etcd_debugging_mvcc_watcher_total");
        (watchers == Some(0.0))
            .then_some(())
            .ok_or_else(|| format!("{watchers:?}"))
    })
    .await;
}

#[tokio::test]
async fn a_watch_that_is_not_read_hurts_itself_alone() {
    let cluster = Cluster::start(1).await;
    let node = cluster.node(0);
    let mut unread = Http::connect(node.address()).await.unwrap();
    let mut read = Http::connect(node.address()).await.unwrap();
    for http in [&mut unread, &mut read] {
        let length = WATCH.len();
        let head =
            format!("POST /v3/watch HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
        http.send(format!("{head}{WATCH}").as_bytes())
            .await
            .unwrap();
        assert_eq!(http.head().await.unwrap().status, 200);
        http.chunk().await.unwrap().unwrap();
    }
    let before = peak_bytes(node);
    let value = "A".repeat(1 << 20);
    let put = format!(r#"{{"key":"YQ==","value":"{value}"}}"#);
    for version in 1..=100 {
        found(node.address(), "/v3/kv/put", &put).await;
        let mut line = String::new();
        while !line.ends_with('\n') {
            line.push_str(&read.chunk().await.unwrap().unwrap());
        }
        let event = json(&line);
        assert_eq!(
            event["result"]["events"][0]["kv"]["version"],
            version.to_string()
        );
    }
    let cost = peak_bytes(node) - before;
    println!("a hundred events of 768 KiB for one that reads and one that does not: {cost} bytes");
    assert!(cost < 300 << 20, "{cost}");
}
