//! Members that prove to each other who they are, by certificates or by a secret.

use tenure_testkit::{Cluster, ClusterBuilder, Leaf, Pki, STATE_MAX, wait_until};

use super::{OTHER_SECRET, SECRET, metric};

/// A quorum of three over TLS, each member with its own certificate.
fn secured(pki: &Pki) -> ClusterBuilder {
    let authority = pki.authority().display().to_string();
    let mut builder = Cluster::builder(3)
        .peers_use_tls()
        .flag("--peer-trusted-ca-file", &authority);
    for number in 0..3 {
        let name = format!("m{number}");
        let [certificate, key] = pki.issue(&name, &Leaf::node().common_name(&name)).words();
        builder = builder
            .node_flag(number, "--peer-cert-file", &certificate)
            .node_flag(number, "--peer-key-file", &key);
    }
    builder
}

/// Writes at every member, and reads it at every other.
async fn serves(cluster: &Cluster) {
    for number in 0..3 {
        let key = format!("at-{number}");
        cluster.node(number).calls().put(&key, "v").await.unwrap();
        for other in cluster.others(number) {
            let found = cluster.node(other).calls().get(&key).await.unwrap();
            assert_eq!(found.expect("it was acknowledged").value, "v");
        }
    }
}

#[tokio::test]
async fn members_with_certificates_form_a_quorum_and_survive_a_change_of_leader() {
    let pki = Pki::new();
    let mut cluster = secured(&pki).start().await;
    serves(&cluster).await;
    let leader = cluster.leader().await;
    cluster.node_mut(leader).kill9();
    cluster.leader_among(&cluster.others(leader)).await;
    cluster.node_mut(leader).restart().await;
    serves(&cluster).await;
    for number in 0..3 {
        let log = cluster.node(number).log();
        assert!(!log.contains("MEMBERS ARE NOT AUTHENTICATED"), "{number}");
    }
}

#[tokio::test]
async fn certificates_of_members_are_replaced_while_the_quorum_serves() {
    let pki = Pki::new();
    let cluster = secured(&pki).start().await;
    for number in 0..3 {
        let name = format!("m{number}");
        pki.issue(&name, &Leaf::node().common_name(&name).valid(-1, 90));
    }
    let loaded = r#"tenure_tls_reloads_total{of="certificate",port="peer",result="loaded"}"#;
    for number in 0..3 {
        wait_until("the new certificate is in force", STATE_MAX, async || {
            let count = metric(cluster.node(number), loaded).await;
            if count >= 1.0 {
                Ok(())
            } else {
                Err(count.to_string())
            }
        })
        .await;
        serves(&cluster).await;
    }
}

/// One member shows the others, when it connects, a certificate for another address.
#[tokio::test]
async fn a_member_from_elsewhere_than_its_certificate_says_is_refused_unless_told_otherwise() {
    let pki = Pki::new();
    let away = Leaf::node().names(&["10.255.255.1"]).common_name("m2");
    let [certificate, key] = pki.issue("away", &away).words();
    let mut cluster = secured(&pki)
        .node_flag(2, "--peer-client-cert-file", &certificate)
        .node_flag(2, "--peer-client-key-file", &key)
        .spawn();
    let origin = r#"tenure_tls_handshakes_failed_total{port="peer",reason="origin"}"#;
    wait_until("the others refuse it", STATE_MAX, async || {
        let page = tenure_testkit::page(cluster.node(0).address(), "/metrics").await;
        let page = page.map_err(|error| error.to_string())?;
        let refused = page.metric(origin).unwrap_or_default();
        if refused >= 1.0 {
            Ok(())
        } else {
            Err(refused.to_string())
        }
    })
    .await;
    let log = cluster.node(0).log();
    assert!(log.contains("does not match any of DNSNames"), "{log}");
    for number in [0, 1] {
        let node = cluster.node_mut(number);
        node.kill9();
        node.add_switch("--peer-skip-client-san-verification");
        node.start();
    }
    for number in 0..3 {
        cluster.node_mut(number).wait_ready().await;
    }
    serves(&cluster).await;
}

#[tokio::test]
async fn only_members_with_an_allowed_name_take_part() {
    let pki = Pki::new();
    let builder = secured(&pki).flag("--peer-cert-allowed-cn", "m0,m1,m2");
    let cluster = builder.start().await;
    serves(&cluster).await;
}

#[tokio::test]
async fn members_that_make_their_own_certificates_form_a_quorum() {
    let builder = Cluster::builder(3)
        .peers_use_tls()
        .switch("--peer-auto-tls");
    let cluster = builder.start().await;
    serves(&cluster).await;
    assert!(
        cluster
            .node(0)
            .log()
            .contains("MEMBERS ARE NOT AUTHENTICATED")
    );
}

#[tokio::test]
async fn members_with_the_same_secret_form_a_quorum_and_one_with_another_takes_no_part() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, secret: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, secret).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (write("right", SECRET), write("wrong", OTHER_SECRET));
    let mut cluster = Cluster::builder(3)
        .flag("--cluster-secret-file", &right)
        .start()
        .await;
    serves(&cluster).await;
    assert!(
        !cluster
            .node(0)
            .log()
            .contains("MEMBERS ARE NOT AUTHENTICATED")
    );

    cluster.node_mut(2).kill9();
    cluster
        .node_mut(2)
        .set_flag("--cluster-secret-file", Some(&wrong));
    cluster.node_mut(2).start();
    let refused = r#"tenure_tls_handshakes_failed_total{port="peer",reason="secret"}"#;
    wait_until("the others refuse it", STATE_MAX, async || {
        let count = metric(cluster.node(0), refused).await;
        if count >= 1.0 {
            Ok(())
        } else {
            Err(count.to_string())
        }
    })
    .await;
    assert!(
        cluster
            .node(0)
            .log()
            .contains("the caller knows another cluster secret")
    );
    cluster.node(0).calls().put("k", "v").await.unwrap();

    // The file is read again; nobody restarts.
    write("wrong", SECRET);
    cluster.node_mut(2).wait_ready().await;
    serves(&cluster).await;
    for number in 0..3 {
        assert!(
            !cluster.node(number).log().contains(SECRET),
            "the secret is in a log"
        );
    }
}

#[tokio::test]
async fn a_secret_is_given_to_a_running_quorum_member_by_member() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let secret = secret.display().to_string();
    let mut cluster = Cluster::start(3).await;
    for step in ["true", "false"] {
        for number in 0..3 {
            let node = cluster.node_mut(number);
            node.terminate().await;
            node.set_flag("--cluster-secret-file", Some(&secret));
            // The last value of a flag counts.
            node.add_switch(&format!("--cluster-secret-optional={step}"));
            node.restart().await;
            serves(&cluster).await;
        }
    }
}

#[tokio::test]
async fn members_form_a_quorum_over_local_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let url = |number: usize| format!("unix://{}/m{number}", directory.path().display());
    let listed: Vec<_> = (0..3).map(|it| format!("m{it}={}", url(it))).collect();
    let mut builder = Cluster::builder(3).flag("--initial-cluster", &listed.join(","));
    for number in 0..3 {
        builder = builder
            .node_flag(number, "--listen-peer-urls", &url(number))
            .node_flag(number, "--initial-advertise-peer-urls", &url(number));
    }
    let mut cluster = builder.start().await;
    serves(&cluster).await;
    // A node that was killed leaves its socket behind.
    cluster.node_mut(0).kill9();
    cluster.node_mut(0).restart().await;
    serves(&cluster).await;
}
