//! Clients over TLS: etcd's own tool, curl, tenurectl and the crate; what each is told when it is
//! refused; connections that say nothing.

use std::time::{Duration, Instant};

use tenure::TlsFailure;
use tenure_testkit::{Leaf, Pki, STATE_MAX, Tool, free_port, tenurectl, wait_until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{client, curl, metric, node, options, tool};

#[tokio::test]
async fn etcdctl_curl_tenurectl_and_the_crate_use_a_node_over_tls() {
    let pki = Pki::new();
    let cluster = node(&pki, true).start().await;
    let pair = pki.issue("client", &Leaf::client("ada"));
    let options = options(&pki, Some(&pair));
    let port = cluster
        .node(0)
        .secure_address()
        .rsplit_once(':')
        .unwrap()
        .1
        .to_owned();
    for endpoint in [
        format!("https://127.0.0.1:{port}"),
        format!("localhost:{port}"),
    ] {
        let ours = tool(Tool::new(tenurectl()), &options).with(&["--endpoints", &endpoint]);
        assert_eq!(ours.run(&["put", "k", "ours"]).await.ok(), "OK\n");
        if let Some(etcdctl) = Tool::etcdctl(std::slice::from_ref(&endpoint)) {
            let etcdctl = tool(etcdctl, &options);
            assert_eq!(etcdctl.run(&["get", "k"]).await.ok(), "k\nours\n");
            assert_eq!(etcdctl.run(&["put", "k", "etcd's"]).await.ok(), "OK\n");
        }
        let crate_client = client(&pki, &endpoint, Some(&pair)).await;
        crate_client.put("k", "the crate's").await.unwrap();
        assert_eq!(ours.run(&["get", "k"]).await.ok(), "k\nthe crate's\n");
    }
    let [certificate, key] = pair.words();
    let authority = pki.authority().display().to_string();
    for (version, page) in [("--http1.1", "/health"), ("--http2", "/version")] {
        let url = format!("https://localhost:{port}{page}");
        let ran = curl(&[
            version,
            "--cacert",
            &authority,
            "--cert",
            &certificate,
            "--key",
            &key,
            &url,
        ])
        .await;
        if let Some(ran) = ran {
            assert!(ran.ok().contains('{'), "{page}");
        }
    }
    let body = r#"{"key":"aw=="}"#;
    let url = format!("https://localhost:{port}/v3/kv/range");
    let arguments = [
        "--cacert",
        &authority,
        "--cert",
        &certificate,
        "--key",
        &key,
        "--data",
        body,
        &url,
    ];
    if let Some(ran) = curl(&arguments).await {
        assert!(ran.ok().contains("\"kvs\""), "the gateway is served, too");
    }
}

#[tokio::test]
async fn options_of_tls_may_stand_in_variables() {
    let pki = Pki::new();
    let cluster = node(&pki, true).start().await;
    let [certificate, key] = pki.issue("client", &Leaf::client("ada")).words();
    for prefix in ["TENURECTL", "ETCDCTL"] {
        let mut command = Tool::new(tenurectl()).command(&["put", "k", "v"]);
        let ran = command
            .env(
                format!("{prefix}_ENDPOINTS"),
                cluster.node(0).secure_address(),
            )
            .env(format!("{prefix}_CACERT"), pki.authority())
            .env(format!("{prefix}_CERT"), &certificate)
            .env(format!("{prefix}_KEY"), &key)
            .output();
        let ran = timeout(STATE_MAX, ran).await.unwrap().unwrap();
        assert!(ran.status.success(), "{prefix}: {ran:?}");
    }
}

/// What is wrong, the endpoint and the options of tenurectl, and words of its error and its advice.
type Fault = (
    &'static str,
    String,
    Vec<String>,
    &'static str,
    &'static str,
);

fn faults_of_clients(pki: &Pki, other: &Pki, secure: &str) -> Vec<Fault> {
    let expired = pki.issue("expired", &Leaf::client("ada").valid(-9, -2));
    let revoked = pki.issue("revoked", &Leaf::client("ada").serial(77));
    let stranger = other.issue("stranger", &Leaf::client("eve"));
    let refused = "refuses the client certificate";
    [
        ("revoked", &revoked, "it was revoked"),
        ("expired", &expired, "it has expired"),
        ("a stranger", &stranger, refused),
    ]
    .map(|(fault, pair, error)| {
        let options = options(pki, Some(pair));
        (fault, secure.to_owned(), options, error, "another one")
    })
    .into()
}

fn faults_of_servers(pki: &Pki, other: &Pki, urls: [&str; 3]) -> Vec<Fault> {
    let [secure, plain, unsecured] = urls.map(str::to_owned);
    let by_name = secure.replace("127.0.0.1", "localhost");
    let own = options(pki, Some(&pki.issue("sound", &Leaf::client("ada"))));
    let none = options(pki, None);
    let others = options(other, None);
    let unknown = "signed by an unknown authority";
    let wanted = "wants a client certificate";
    let (pair, authority) = ("--cert and --key", "--cacert");
    vec![
        ("no certificate", secure.clone(), none.clone(), wanted, pair),
        ("authority", secure.clone(), others, unknown, authority),
        ("no authority", secure, Vec::new(), unknown, authority),
        (
            "name",
            by_name,
            own,
            "not for localhost",
            "as its certificate",
        ),
        ("plain text to TLS", plain, Vec::new(), "", "speaks TLS"),
        (
            "TLS to plain text",
            unsecured,
            none,
            "does not speak TLS",
            "http://",
        ),
    ]
}

#[tokio::test]
async fn tenurectl_names_the_reason_why_it_does_not_get_through() {
    let (pki, other) = (Pki::new(), Pki::new());
    pki.revoke("revoked.der", &[77], 10);
    let revocations = pki.path("revoked.der").display().to_string();
    let port = free_port();
    let pages = format!("http://127.0.0.1:{port}");
    let builder = node(&pki, true);
    pki.issue("node", &Leaf::node().names(&["127.0.0.1"]));
    let cluster = builder
        .flag("--client-crl-file", &revocations)
        .flag("--listen-metrics-urls", &pages)
        .start()
        .await;
    let secure = format!("https://{}", cluster.node(0).secure_address());
    let plain = format!("http://{}", cluster.node(0).secure_address());
    let unsecured = format!("https://127.0.0.1:{port}");
    let mut faults = faults_of_clients(&pki, &other, &secure);
    faults.extend(faults_of_servers(
        &pki,
        &other,
        [&secure, &plain, &unsecured],
    ));
    // Plain text first: a node leaves out of its log what it has said twenty times.
    faults.rotate_right(2);
    for (fault, endpoint, options, error, advice) in faults {
        let tool = tool(Tool::new(tenurectl()), &options).with(&["--endpoints", &endpoint]);
        let ran = tool.run(&["put", "k", "v"]).await;
        assert_eq!(ran.code, Some(1), "{fault}: {ran:?}");
        assert!(
            ran.err.contains(error) && ran.err.contains(advice),
            "{fault}: {}",
            ran.err
        );
        assert!(
            !ran.err.contains("may have been executed"),
            "{fault}: {}",
            ran.err
        );
    }
    for said in [
        "rejected connection on client endpoint",
        "tls: client didn't provide a certificate",
        "certificate_revoked",
        "tls: first record does not look like a TLS handshake",
    ] {
        // The node says so when the connection has ended, which may be after the client has.
        wait_until("the reason is in the log", STATE_MAX, async || {
            let is_there = cluster.node(0).log().contains(said);
            is_there.then_some(()).ok_or(said)
        })
        .await;
    }
    let name = r#"tenure_tls_handshakes_failed_total{port="client",reason="certificate_revoked"}"#;
    assert!(metric(cluster.node(0), name).await >= 1.0);
}

#[tokio::test]
async fn the_crate_gives_the_reason_as_a_value() {
    let (pki, other) = (Pki::new(), Pki::new());
    let cluster = node(&pki, true).start().await;
    let endpoint = format!("https://{}", cluster.node(0).secure_address());
    let stranger = other.issue("stranger", &Leaf::client("eve"));
    for (pki, pair, failure) in [
        (&pki, None, TlsFailure::ClientCertificateRequired),
        (&pki, Some(&stranger), TlsFailure::ClientCertificateRefused),
        (&other, None, TlsFailure::UnknownAuthority),
    ] {
        let client = client(pki, &endpoint, pair).await;
        let error = client.put("k", "v").await.unwrap_err();
        assert_eq!(error.tls_failure(), Some(failure), "{error}");
        assert!(!error.outcome_unknown(), "{failure:?}: nothing was sent");
    }
}

#[tokio::test]
async fn one_address_serves_plain_text_and_tls_and_one_of_tls_alone_says_so() {
    let pki = Pki::new();
    let cluster = node(&pki, false).start().await;
    let both = cluster.node(0).address();
    client(&pki, &format!("https://{both}"), None)
        .await
        .put("k", "v")
        .await
        .unwrap();
    assert_eq!(
        cluster
            .node(0)
            .calls()
            .get("k")
            .await
            .unwrap()
            .unwrap()
            .value,
        "v"
    );
    let mut stream = TcpStream::connect(cluster.node(0).secure_address())
        .await
        .unwrap();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    timeout(STATE_MAX, stream.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.0 400 Bad Request"), "{answer}");
    assert!(
        answer.contains("Client sent an HTTP request to an HTTPS server."),
        "{answer}"
    );
}

#[tokio::test]
async fn pages_of_metrics_are_served_over_tls() {
    let pki = Pki::new();
    let port = free_port();
    let url = format!("https://127.0.0.1:{port}");
    let _cluster = node(&pki, false)
        .flag("--listen-metrics-urls", &url)
        .start()
        .await;
    let authority = pki.authority().display().to_string();
    let page = format!("{url}/metrics");
    if let Some(ran) = curl(&["--cacert", &authority, &page]).await {
        assert!(ran.ok().contains("etcd_server_has_leader 1"));
    }
}

#[tokio::test]
async fn a_local_socket_serves_with_and_without_tls() {
    let pki = Pki::new();
    let directory = tempfile::tempdir().unwrap();
    let [plain, secure] = ["plain", "secure"].map(|name| directory.path().join(name));
    let [plain, secure] = [plain, secure].map(|path| path.display().to_string());
    let urls = format!("unix://{plain},unixs://{secure}");
    let _cluster = node(&pki, false)
        .flag("--listen-metrics-urls", &urls)
        .start()
        .await;
    let authority = pki.authority().display().to_string();
    for (socket, url) in [
        (&plain, "http://a/health"),
        (&secure, "https://localhost/health"),
    ] {
        let ran = curl(&["--cacert", &authority, "--unix-socket", socket, url]).await;
        if let Some(ran) = ran {
            assert!(ran.ok().contains("true"), "{socket}");
        }
    }
}

#[tokio::test]
async fn a_certificate_that_the_node_makes_is_kept_over_restarts() {
    let mut cluster = tenure_testkit::Cluster::builder(1)
        .clients_use_tls()
        .switch("--auto-tls")
        .start()
        .await;
    let made = cluster.node(0).data_dir().join("fixtures/client/cert.pem");
    let first = std::fs::read(&made).unwrap();
    let page = format!("https://{}/health", cluster.node(0).secure_address());
    if let Some(ran) = curl(&["--insecure", &page]).await {
        assert!(ran.ok().contains("true"));
    }
    cluster.node_mut(0).terminate().await;
    cluster.node_mut(0).restart().await;
    assert_eq!(std::fs::read(&made).unwrap(), first);
}

/// As kubeadm starts etcd, and probes it.
#[tokio::test]
async fn a_node_starts_with_the_flags_of_kubeadm() {
    let pki = Pki::new();
    let port = free_port();
    let probes = format!("http://127.0.0.1:{port}");
    let [certificate, key] = pki.issue("peer", &Leaf::node()).words();
    let authority = pki.authority().display().to_string();
    let cluster = node(&pki, true)
        .peers_use_tls()
        .switch("--client-cert-auth")
        .flag("--peer-cert-file", &certificate)
        .flag("--peer-key-file", &key)
        .flag("--peer-trusted-ca-file", &authority)
        .switch("--peer-client-cert-auth")
        .flag("--feature-gates", "InitialCorruptCheck=true")
        .flag("--snapshot-count", "10000")
        .flag("--listen-metrics-urls", &probes)
        .flag("--watch-progress-notify-interval", "5s")
        .start()
        .await;
    for path in ["/livez", "/readyz", "/health?serializable=false"] {
        let page = tenure_testkit::page(&format!("127.0.0.1:{port}"), path)
            .await
            .unwrap();
        assert_eq!(page.status, 200, "{path}: {}", page.body);
    }
    let pair = pki.issue("apiserver", &Leaf::client("kube-apiserver"));
    let endpoint = format!("https://{}", cluster.node(0).secure_address());
    client(&pki, &endpoint, Some(&pair))
        .await
        .put("/registry/x", "y")
        .await
        .unwrap();
}

/// As many connections as a node has places say nothing; an honest client is served at once, and
/// the memory of the node hardly grows.
#[tokio::test]
async fn connections_that_say_nothing_delay_no_honest_client() {
    const SILENT: usize = 2_000;
    let pki = Pki::new();
    let cluster = node(&pki, false).start().await;
    let address = cluster.node(0).secure_address().to_owned();
    let endpoint = format!("https://{address}");
    let before = metric(cluster.node(0), "process_resident_memory_bytes").await;
    let mut silent = Vec::new();
    for number in 0..SILENT {
        silent.push(TcpStream::connect(&address).await.unwrap());
        if number % 200 == 0 {
            let begun = Instant::now();
            client(&pki, &endpoint, None)
                .await
                .put("k", "v")
                .await
                .unwrap();
            assert!(
                begun.elapsed() < Duration::from_secs(3),
                "{:?}",
                begun.elapsed()
            );
        }
    }
    let shed = r#"tenure_tls_handshakes_failed_total{port="client",reason="shed"}"#;
    wait_until("the oldest connections are closed", STATE_MAX, async || {
        let closed = metric(cluster.node(0), shed).await;
        if closed >= (SILENT - 300) as f64 {
            Ok(())
        } else {
            Err(closed.to_string())
        }
    })
    .await;
    assert!(metric(cluster.node(0), "tenure_tls_handshakes").await <= 256.0);
    let after = metric(cluster.node(0), "process_resident_memory_bytes").await;
    assert!(after - before < f64::from(64 << 20), "{before} and {after}");
}
