//! Files of certificates that change while a client uses them.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tenure::{Client, Tls};
use tenure_testkit::{Leaf, Pki, STATE_MAX, Tool, tenurectl, wait_until};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    time::timeout,
};

use super::node;

/// Replaces the files of one authority by those of another: the authority's and a client's.
fn replace(old: &Pki, new: &Pki) {
    let pair = new.issue("client", &Leaf::client("ada"));
    fs::copy(&pair.certificate, old.path("client.pem")).unwrap();
    fs::copy(&pair.key, old.path("client-key.pem")).unwrap();
    fs::copy(new.authority(), old.authority()).unwrap();
    let pair = new.issue("node", &Leaf::node());
    fs::copy(&pair.certificate, old.path("node.pem")).unwrap();
    fs::copy(&pair.key, old.path("node-key.pem")).unwrap();
}

#[tokio::test]
async fn a_client_uses_files_that_were_replaced_and_keeps_what_it_read_while_they_are_broken() {
    let (pki, other) = (Pki::new(), Pki::new());
    let mut cluster = node(&pki, true).start().await;
    let endpoint = format!("https://{}", cluster.node(0).secure_address());
    let pair = pki.issue("client", &Leaf::client("ada"));
    let reported = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&reported);
    let tls = Tls::new()
        .authorities_file(pki.authority())
        .unwrap()
        .identity_files(&pair.certificate, &pair.key)
        .unwrap()
        .on_unusable_file(move |error| {
            assert!(error.message().contains("client.pem"), "{error}");
            counting.fetch_add(1, Ordering::Relaxed);
        });
    let client = Client::builder().endpoints([&*endpoint]).tls(tls);
    let client = client.connect().await.unwrap();
    let put = async |what: &str| {
        wait_until(what, STATE_MAX, async || {
            client.put("k", "v").await.map(drop)
        })
        .await;
    };
    put("the client writes").await;

    // Half of a pair: the key is of another certificate.
    let half = pki.issue("half", &Leaf::client("eve"));
    fs::copy(&half.certificate, &pair.certificate).unwrap();
    for _ in 0..2 {
        cluster.node_mut(0).terminate().await;
        cluster.node_mut(0).restart().await;
        put("it writes with what it read before").await;
    }
    assert_eq!(reported.load(Ordering::Relaxed), 1, "it says so once");

    replace(&pki, &other);
    cluster.node_mut(0).terminate().await;
    cluster.node_mut(0).restart().await;
    put("it trusts the new authority, which trusts its new certificate").await;
    assert_eq!(reported.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_watch_of_tenurectl_goes_on_when_all_certificates_are_replaced() {
    let (pki, other) = (Pki::new(), Pki::new());
    let mut cluster = node(&pki, true).start().await;
    let endpoint = format!("https://{}", cluster.node(0).secure_address());
    let [certificate, key] = pki.issue("client", &Leaf::client("ada")).words();
    let authority = pki.authority().display().to_string();
    let ctl = Tool::new(tenurectl()).with(&[
        "--endpoints",
        &endpoint,
        "--cacert",
        &authority,
        "--cert",
        &certificate,
        "--key",
        &key,
    ]);
    assert_eq!(ctl.run(&["put", "first", "1"]).await.ok(), "OK\n");
    let mut watch = ctl
        .command(&["watch", "--prefix", "", "--rev", "1"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut until = async |expected: &str| {
        let reading = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line == expected {
                    return;
                }
            }
            panic!("the watch ended");
        };
        timeout(STATE_MAX, reading).await.expect("an event");
    };
    until("first").await;
    fs::write(&certificate, "half a certificate").unwrap();
    cluster.node_mut(0).terminate().await;
    cluster.node_mut(0).restart().await;
    let calls = cluster.node(0).calls();
    calls.put("second", "2").await.unwrap();
    until("second").await;
    replace(&pki, &other);
    cluster.node_mut(0).terminate().await;
    cluster.node_mut(0).restart().await;
    cluster.node(0).calls().put("third", "3").await.unwrap();
    until("third").await;
    watch.start_kill().unwrap();
    let mut said = String::new();
    let mut errors = watch.stderr.take().unwrap();
    errors.read_to_string(&mut said).await.unwrap();
    let told = said.matches("client.pem").count();
    assert_eq!(told, 1, "it says once which file is of no use: {said}");
    assert!(said.contains("stays in force"), "{said}");
}
