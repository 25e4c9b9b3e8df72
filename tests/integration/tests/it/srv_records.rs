//! Members and servers that are found by SRV records of DNS: a name server on loopback, real nodes,
//! tenurectl and the client crate.

use tenure::{Client, ErrorKind, SrvDiscovery};
use tenure_testkit::{
    Cluster, Leaf, NameServer, Node, Pki, STATE_MAX, Tool, free_port, tenurectl, tenured,
    wait_until,
};

const DOMAIN: &str = "cluster.test";
const MEMBERS: &str = "_etcd-server._tcp.cluster.test";
const SECURE_MEMBERS: &str = "_etcd-server-ssl._tcp.cluster.test";
const CLIENTS: &str = "_etcd-client._tcp.cluster.test";
const SECURE_CLIENTS: &str = "_etcd-client-ssl._tcp.cluster.test";

fn port(address: &str) -> u16 {
    let (_, port) = address.rsplit_once(':').expect("a host and a port");
    port.parse().expect("a port")
}

/// tenurectl that looks in the domain.
fn ctl(names: &NameServer) -> Tool {
    let server = names.address();
    let options = ["-d", DOMAIN, "--discovery-dns-server", &server];
    Tool::new(tenurectl()).with(&options)
}

/// Lets a node find its members by records, and not by a list.
fn discover(node: &mut Node, names: &NameServer) {
    node.set_flag("--initial-cluster", None);
    node.set_flag("--discovery-srv", Some(DOMAIN));
    node.set_flag("--discovery-dns-server", Some(&names.address()));
}

/// Three nodes that do not run, whose records are set.
async fn three(names: &NameServer) -> Cluster {
    let mut cluster = Cluster::builder(3).spawn();
    let mut records = Vec::new();
    for number in 0..3 {
        let node = cluster.node_mut(number);
        node.kill9();
        std::fs::remove_dir_all(node.data_dir()).unwrap_or_default();
        discover(node, names);
        records.push((port(&node.peer_url()), "localhost"));
    }
    names.set(MEMBERS, &records);
    cluster
}

#[tokio::test]
async fn three_nodes_find_each_other_and_clients_find_them_by_records() {
    let names = NameServer::start().await;
    let mut cluster = three(&names).await;
    for number in 0..3 {
        cluster.node_mut(number).start();
    }
    for number in 0..3 {
        cluster.node_mut(number).wait_ready().await;
    }
    let log = cluster.node(1).log();
    assert!(
        log.contains("got bootstrap from DNS for etcd-server"),
        "{log}"
    );

    let clients: Vec<_> = cluster
        .nodes()
        .iter()
        .map(|it| port(it.address()))
        .collect();
    let records: Vec<_> = clients.iter().map(|port| (*port, "localhost")).collect();
    names.set(CLIENTS, &records);
    let server = names.address().parse().unwrap();
    let found = SrvDiscovery::new(DOMAIN).name_server(server);
    let found = found.endpoints().await.unwrap();
    let expected: Vec<_> = clients
        .iter()
        .map(|port| format!("http://localhost:{port}"))
        .collect();
    let mut sorted = found.clone();
    sorted.sort();
    assert_eq!(sorted, {
        let mut it = expected;
        it.sort();
        it
    });
    let client = Client::connect(found).await.unwrap();
    client.put("k", "v").await.unwrap();
    assert_eq!(ctl(&names).run(&["get", "k"]).await.ok(), "k\nv\n");
    let listed = client.cluster().members().await.unwrap();
    let mut members: Vec<_> = listed.iter().map(|it| it.name().to_owned()).collect();
    members.sort();
    assert_eq!(members, ["m0", "m1", "m2"], "numbers gave way to names");

    // Later the membership counts, and records that are gone are no reason to end.
    names.set(MEMBERS, &[]);
    cluster.node_mut(2).terminate().await;
    cluster.node_mut(2).restart().await;
    let log = cluster.node(2).log();
    assert!(
        log.contains("failed to resolve during SRV discovery"),
        "{log}"
    );
    client.put("k", "w").await.unwrap();
}

#[tokio::test]
async fn services_with_a_suffix_are_clusters_of_their_own_and_many_records_come_over_tcp() {
    let names = NameServer::start().await;
    let cluster = Cluster::start(1).await;
    let own = port(cluster.node(0).address());
    // Two hundred more than a packet of UDP holds; the one that answers is among them.
    let mut records = vec![(own, "localhost")];
    let hosts: Vec<_> = (0..40)
        .map(|it| format!("host-{it}.cluster.test"))
        .collect();
    records.extend(hosts.iter().map(|host| (1, host.as_str())));
    names.set("_etcd-client-b._tcp.cluster.test", &records);
    let server = names.address().parse().unwrap();
    let found = SrvDiscovery::new(DOMAIN)
        .service_name("b")
        .name_server(server);
    assert_eq!(found.endpoints().await.unwrap().len(), 41);
    let found = SrvDiscovery::new(DOMAIN).name_server(server);
    let error = found.endpoints().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Connect);
    let expected = format!(
        "dns lookup errors: lookup {SECURE_CLIENTS} on {server}: no such host and lookup {CLIENTS} \
         on {server}: no such host"
    );
    assert_eq!(error.message(), expected);
    names.set("_etcd-client-c._tcp.cluster.test", &[(own, "localhost")]);
    let third = ctl(&names).with(&["--discovery-srv-name", "c"]);
    assert_eq!(third.run(&["put", "k", "v"]).await.ok(), "OK\n");
}

#[tokio::test]
async fn secure_discovery_uses_servers_with_certificates_for_the_domain_alone() {
    let (names, pki) = (NameServer::start().await, Pki::new());
    let [certificate, key] = pki.issue("node", &Leaf::node()).words();
    let cluster = Cluster::builder(1)
        .clients_use_tls()
        .flag("--cert-file", &certificate)
        .flag("--key-file", &key)
        .start()
        .await;
    let node = cluster.node(0);
    names.set(
        SECURE_CLIENTS,
        &[(port(node.secure_address()), "localhost")],
    );
    names.set(CLIENTS, &[(port(node.address()), "localhost")]);
    let authority = pki.authority().display().to_string();
    let found = ctl(&names).with(&["--cacert", &authority]);
    assert_eq!(found.run(&["put", "k", "v"]).await.ok(), "OK\n");

    // The certificate is for localhost, where the records lead, and not for the domain.
    let secure = found.with(&["--insecure-discovery=false"]);
    let refused = secure.run(&["get", "k"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let ignored = format!(
        "ignoring discovered insecure endpoint \"http://localhost:{}\"",
        port(node.address())
    );
    assert!(refused.err.contains(&ignored), "{}", refused.err);
    assert!(!refused.err.contains("etcdserver"), "{}", refused.err);

    pki.issue("node", &Leaf::node().names(&[DOMAIN]));
    wait_until(
        "the certificate for the domain is used",
        STATE_MAX,
        async || {
            let ran = secure.run(&["get", "k"]).await;
            if ran.code == Some(0) {
                assert_eq!(ran.out, "k\nv\n");
                return Ok(());
            }
            Err(ran.err)
        },
    )
    .await;
}

#[tokio::test]
async fn a_node_that_the_records_do_not_list_ends_and_says_what_they_list() {
    let names = NameServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data").display().to_string();
    let peer = format!("http://127.0.0.1:{}", free_port());
    let client = format!("http://127.0.0.1:{}", free_port());
    let server = names.address();
    let node = Tool::new(tenured()).with(&[
        "--name=lost",
        "--data-dir",
        &data,
        "--listen-peer-urls",
        &peer,
        "--listen-client-urls",
        &client,
        "--discovery-srv",
        DOMAIN,
        "--discovery-dns-server",
        &server,
    ]);
    let ended = node.run(&[]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let expected = format!(
        "error querying DNS SRV records for _etcd-server lookup {MEMBERS} on {server}: no such host"
    );
    assert!(ended.err.contains(&expected), "{}", ended.err);

    names.set(MEMBERS, &[(1, "localhost")]);
    let ended = node.run(&[]).await;
    let expected = "cannot find local etcd member \"lost\" in SRV records: they list \
                    http://localhost:1, and no host of these is that of ";
    assert!(ended.err.contains(expected), "{}", ended.err);

    names.set(SECURE_MEMBERS, &[(port(&peer), "localhost")]);
    let ended = node.run(&[]).await;
    let expected = format!(
        "bootstrap at https://localhost:{} from DNS for etcd-server-ssl has scheme mismatch with \
         expected peer {peer}",
        port(&peer)
    );
    assert!(ended.err.contains(&expected), "{}", ended.err);
}
