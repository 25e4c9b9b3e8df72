//! Files that change while a node serves.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tenure_testkit::{Leaf, Pki, STATE_MAX, wait_until};
use tokio::time::timeout;

use super::{client, metric, node};

const EXPIRY: &str = r#"tenure_tls_certificate_expiry_seconds{of="certificate",port="client"}"#;
const LOADED: &str = r#"tenure_tls_reloads_total{of="certificate",port="client",result="loaded"}"#;
const FAILED: &str = r#"tenure_tls_reloads_total{of="certificate",port="client",result="failed"}"#;

#[tokio::test]
async fn certificates_are_replaced_under_load_and_no_operation_fails() {
    let pki = Arc::new(Pki::new());
    let cluster = node(&pki, true).start().await;
    let endpoint = format!("https://{}", cluster.node(0).secure_address());
    let pair = pki.issue("client", &Leaf::client("ada"));
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    // One client keeps its connection, the other opens one for each write.
    let kept = client(&pki, &endpoint, Some(&pair)).await;
    let writers = [Some(kept), None].map(|kept| {
        let (pki, pair, endpoint) = (Arc::clone(&pki), pair.clone(), endpoint.clone());
        let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let writing = match &kept {
                    Some(kept) => kept.clone(),
                    None => client(&pki, &endpoint, Some(&pair)).await,
                };
                writing.put("k", "v").await.expect("no operation fails");
                done.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        })
    });
    for round in 1..=3 {
        let days = 40 + round;
        pki.issue("node", &Leaf::node().valid(-1, days));
        wait_until("the certificate is in force", STATE_MAX, async || {
            let loaded = metric(cluster.node(0), LOADED).await;
            if loaded >= round as f64 {
                Ok(())
            } else {
                Err(loaded.to_string())
            }
        })
        .await;
        let seen = done.load(Ordering::Relaxed);
        wait_until("both clients go on", STATE_MAX, async || {
            let more = done.load(Ordering::Relaxed) - seen;
            if more > 20 { Ok(()) } else { Err(more) }
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        timeout(STATE_MAX, writer)
            .await
            .unwrap()
            .expect("no operation fails");
    }
    assert!(cluster.node(0).log().contains("loaded a new certificate"));
}

#[tokio::test]
async fn a_broken_file_is_named_in_the_log_and_the_certificate_before_it_stays() {
    let pki = Pki::new();
    let cluster = node(&pki, false).start().await;
    let endpoint = format!("https://{}", cluster.node(0).secure_address());
    let expiry = metric(cluster.node(0), EXPIRY).await;
    assert!(expiry > 1.7e9, "{expiry}");
    let kept = client(&pki, &endpoint, None).await;
    kept.put("k", "v").await.unwrap();
    pki.write("node.pem", "half a certificate");
    wait_until("the failure is counted", STATE_MAX, async || {
        let failed = metric(cluster.node(0), FAILED).await;
        if failed >= 1.0 {
            Ok(())
        } else {
            Err(failed.to_string())
        }
    })
    .await;
    let log = cluster.node(0).log();
    let line = log
        .lines()
        .find(|line| line.contains("cannot load a new certificate"));
    assert!(line.expect("it is logged").contains("node.pem"));
    kept.put("k", "v").await.unwrap();
    client(&pki, &endpoint, None)
        .await
        .put("k", "v")
        .await
        .unwrap();
    pki.issue("node", &Leaf::node().valid(-1, 60));
    wait_until("the new certificate is in force", STATE_MAX, async || {
        let now = metric(cluster.node(0), EXPIRY).await;
        if now > expiry {
            Ok(())
        } else {
            Err(now.to_string())
        }
    })
    .await;
    assert!((metric(cluster.node(0), FAILED).await - 1.0).abs() < 0.5);
}

/// GHSA-3wh4-j44w-pg92: etcd asked its list on one of its ports only.
#[tokio::test]
async fn a_certificate_that_is_revoked_gets_no_new_connection_on_any_port() {
    let pki = Pki::new();
    pki.revoke("revoked.der", &[1], 10);
    let list = pki.path("revoked.der").display().to_string();
    let cluster = node(&pki, true)
        .flag("--client-crl-file", &list)
        .start()
        .await;
    let pair = pki.issue("client", &Leaf::client("ada").serial(88));
    let endpoints = [cluster.node(0).secure_address(), cluster.node(0).address()];
    let endpoints = endpoints.map(|address| format!("https://{address}"));
    for endpoint in &endpoints {
        client(&pki, endpoint, Some(&pair))
            .await
            .put("k", "v")
            .await
            .unwrap();
    }
    pki.revoke("revoked.der", &[88], 10);
    for endpoint in &endpoints {
        wait_until(
            "the certificate is refused",
            STATE_MAX,
            async || match client(&pki, endpoint, Some(&pair))
                .await
                .put("k", "v")
                .await
            {
                Ok(_) => Err("it got through"),
                Err(error) => {
                    assert!(error.tls_failure().is_some(), "{error}");
                    Ok(())
                }
            },
        )
        .await;
    }
}
