//! Streams over JSON: a line in a chunk of its own for each message, ends, and many messages in a
//! request.

use tenure_testkit::{Cluster, Http, STATE_MAX, wait_until};

use super::{found, json};

/// The request for a watch of the key `a`.
const WATCH: &str = r#"{"create_request":{"key":"YQ==","filters":[]}}"#;
const PUT: &str = r#"{"key":"YQ==","value":"MQ=="}"#;

/// The next chunk, which must be one line that is JSON.
async fn line(http: &mut Http) -> serde_json::Value {
    let chunk = http.chunk().await.unwrap().expect("the stream goes on");
    assert_eq!(chunk.matches('\n').count(), 1, "{chunk:?}");
    assert!(chunk.ends_with('\n'), "{chunk:?}");
    json(&chunk)
}

/// Opens a watch whose request has ended, and reads the line that says so.
async fn watch(address: &str) -> Http {
    let mut http = Http::connect(address).await.unwrap();
    let length = WATCH.len();
    let request = format!("POST /v3/watch HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n");
    http.send(format!("{request}{WATCH}").as_bytes())
        .await
        .unwrap();
    let head = http.head().await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    assert_eq!(head.header("content-type"), Some("application/json"));
    let created = line(&mut http).await;
    assert_eq!(created["result"]["created"], true, "{created}");
    http
}

#[tokio::test]
async fn each_event_of_a_watch_is_a_chunk_and_a_line() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    let mut watch = watch(address).await;
    for version in ["1", "2", "3"] {
        found(address, "/v3/kv/put", PUT).await;
        let event = line(&mut watch).await;
        let event = &event["result"]["events"][0];
        assert_eq!(event["kv"]["version"], version);
        assert!(event["type"].is_null(), "a put is the default: {event}");
    }
    found(address, "/v3/kv/deleterange", PUT).await;
    let event = line(&mut watch).await;
    assert_eq!(event["result"]["events"][0]["type"], "DELETE");
}

#[tokio::test]
async fn requests_of_a_stream_may_follow_while_it_is_answered() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    let mut http = Http::connect(address).await.unwrap();
    http.begin("POST", "/v3/watch", &[]).await.unwrap();
    // Cut within an object, and two objects at once.
    http.send_chunk(&WATCH[..20]).await.unwrap();
    http.send_chunk(&format!("{}{WATCH}", &WATCH[20..]))
        .await
        .unwrap();
    assert_eq!(http.head().await.unwrap().status, 200);
    for _ in 0..2 {
        assert_eq!(line(&mut http).await["result"]["created"], true);
    }
    http.send_chunk(r#"{"cancel_request":{"watch_id":"1"}}"#)
        .await
        .unwrap();
    assert_eq!(line(&mut http).await["result"]["canceled"], true);
    http.send_chunk(r#"{"cancel_request":{"watch_id":7}"#)
        .await
        .unwrap();
    http.send_chunk("x}").await.unwrap();
    let failed = line(&mut http).await;
    assert_eq!(failed["error"]["grpc_code"], 3, "{failed}");
    assert_eq!(failed["error"]["http_status"], "Bad Request", "{failed}");
    assert_eq!(http.chunk().await.unwrap(), None, "the stream ends");
}

#[tokio::test]
async fn renewals_are_answered_one_by_one_and_then_the_stream_ends() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    found(address, "/v3/lease/grant", r#"{"ID":"7","TTL":"60"}"#).await;
    let mut http = Http::connect(address).await.unwrap();
    let answer = http
        .post("/v3/lease/keepalive", r#"{"ID":7}{"ID":"8"}"#)
        .await
        .unwrap();
    let lines: Vec<_> = answer.body.lines().map(json).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["result"]["TTL"], "60");
    assert_eq!(lines[1]["result"]["ID"], "8");
    assert!(lines[1]["result"]["TTL"].is_null());
    let answer = http.post("/v3/lease/keepalive", "").await.unwrap();
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, ""),
        "nothing to answer"
    );
}

#[tokio::test]
async fn a_stream_that_fails_at_once_has_the_status_of_its_failure() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    for (path, body, status) in [
        ("/v3/watch", "{\"create_request\":7}", 400),
        ("/v3/watch", "x", 400),
        ("/v1/lock/acquire", "{}", 400),
        ("/v1/lock/watch-tokens", r#"{"names":[7]}"#, 400),
    ] {
        let mut http = Http::connect(address).await.unwrap();
        let answer = http.post(path, body).await.unwrap();
        assert_eq!(answer.status, status, "{path} {body}: {}", answer.body);
        let told = json(&answer.body);
        assert_eq!(told["error"]["http_code"], status, "{told}");
    }
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_calls() {
    let cluster = Cluster::start(1).await;
    let node = cluster.node(0);
    let watchers = async |expected: f64| {
        wait_until("the watchers have followed", STATE_MAX, async || {
            let page = node.page("/metrics").await;
            let watchers = page.metric("etcd_debugging_mvcc_watcher_total");
            (watchers == Some(expected))
                .then_some(())
                .ok_or_else(|| format!("{watchers:?}"))
        })
        .await;
    };
    let open = [watch(node.address()).await, watch(node.address()).await];
    watchers(2.0).await;
    drop(open);
    watchers(0.0).await;
}

#[tokio::test]
async fn a_call_over_json_is_counted_like_one_over_grpc() {
    let cluster = Cluster::start(1).await;
    let node = cluster.node(0);
    for _ in 0..5 {
        found(node.address(), "/v3/kv/put", PUT).await;
    }
    let labels =
        r#"{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"}"#;
    let name = format!("grpc_server_handled_total{labels}");
    assert_eq!(node.page("/metrics").await.metric(&name), Some(5.0));
}
