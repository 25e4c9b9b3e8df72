//! Browsers: server-sent events, origins and host names.

use tenure_testkit::{Cluster, Http};

use super::found;

const PUT: &str = r#"{"key":"YQ==","value":"MQ=="}"#;

#[tokio::test]
async fn a_watch_is_a_source_of_events() {
    let cluster = Cluster::start(1).await;
    let address = cluster.node(0).address();
    let mut http = Http::connect(address).await.unwrap();
    let path = "/v3/watch?request=%7B%22create_request%22%3A%7B%22key%22%3A%22YQ%22%7D%7D";
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\n\r\n");
    http.send(request.as_bytes()).await.unwrap();
    let head = http.head().await.unwrap();
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-cache"));
    let created = http.chunk().await.unwrap().unwrap();
    assert!(created.starts_with("data: {\"header\":"), "{created}");
    assert!(created.ends_with("\"created\":true}\n\n"), "{created}");
    found(address, "/v3/kv/put", PUT).await;
    let event = http.chunk().await.unwrap().unwrap();
    assert!(event.contains("\"value\":\"MQ==\""), "{event}");

    let mut http = Http::connect(address).await.unwrap();
    let events = [("accept", "text/event-stream")];
    let refused = http
        .ask("GET", "/v3/watch?request=7", &events, b"")
        .await
        .unwrap();
    assert_eq!(refused.status, 400, "{}", refused.body);
    let refused = http.ask("GET", "/v3/kv/range", &events, b"").await.unwrap();
    assert_eq!(
        refused.status, 501,
        "only streams are events: {}",
        refused.body
    );
}

#[tokio::test]
async fn only_origins_that_are_listed_may_read_and_only_hosts_that_are_listed_are_served() {
    let builder = Cluster::builder(1).flag("--cors", "https://a.example");
    let cluster = builder
        .flag("--host-whitelist", "127.0.0.1,b.example")
        .start()
        .await;
    let address = cluster.node(0).address();
    let mut http = Http::connect(address).await.unwrap();
    let ask = async |http: &mut Http, method: &str, path: &str, origin: &str| {
        let answer = http
            .ask(method, path, &[("origin", origin)], b"{}")
            .await
            .unwrap();
        let allowed = answer
            .header("access-control-allow-origin")
            .map(str::to_owned);
        (answer.status, allowed)
    };
    let allowed = Some("https://a.example".to_owned());
    for (method, path) in [
        ("POST", "/v3/lease/leases"),
        ("GET", "/version"),
        ("OPTIONS", "/v3/x"),
    ] {
        let answer = ask(&mut http, method, path, "https://a.example").await;
        assert_eq!(answer, (200, allowed.clone()), "{path}");
    }
    let answer = ask(&mut http, "POST", "/v3/lease/leases", "https://c.example").await;
    assert_eq!(answer, (200, None));
    for path in ["/version", "/v3/kv/range", "/health"] {
        let mut http = Http::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: c.example\r\n\r\n");
        http.send(request.as_bytes()).await.unwrap();
        assert_eq!(http.head().await.unwrap().status, 421, "{path}");
    }
    // gRPC is not concerned.
    cluster.node(0).calls().put("a", "b").await.unwrap();
}

#[tokio::test]
async fn without_the_gateway_its_paths_are_not_there() {
    // A flag that is true or false has its value in the same word.
    let builder = Cluster::builder(1).flag("--enable-grpc-gateway=false", "--cors=");
    let cluster = builder.start().await;
    let mut http = Http::connect(cluster.node(0).address()).await.unwrap();
    let answer = http.post("/v3/kv/range", "{}").await.unwrap();
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (404, "404 page not found\n")
    );
}
