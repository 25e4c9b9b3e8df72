//! Who is no member gets no call through on the port of members, whatever it knows: not one call of
//! the protocol, and not the discovery of members either.

use prost::Message;
use tenure_proto::{
    peer::{self, discovery_client::DiscoveryClient},
    peer_metadata::{
        CLUSTER_KEY, SENDER_INSTANCE_KEY, SENDER_KEY, TARGET_INSTANCE_KEY, TARGET_KEY,
    },
};
use tenure_testkit::{Cluster, Leaf, Node, Pki};
use tonic::codegen::http::HeaderValue;

use super::{SECRET, metric};
use crate::differential::wire::{Call, Wire, frame};

/// Every call between members.
pub(super) const CALLS: [&str; 15] = [
    "Append",
    "Heartbeat",
    "Vote",
    "PreVote",
    "TransferLeader",
    "InstallSnapshot",
    "HeldSnapshot",
    "FetchSnapshot",
    "Forward",
    "Collect",
    "ReadIndex",
    "ReadRound",
    "Digest",
    "Introduce",
    "ChangeMembers",
];

/// The peer address of a node, without its scheme.
pub(super) fn peer_address(node: &Node) -> String {
    let url = node.peer_url();
    url.split_once("://").unwrap().1.to_owned()
}

/// The id of a node's data directory, which no answer to a client holds.
pub(super) fn instance_of(node: &Node) -> u64 {
    let text = std::fs::read_to_string(node.data_dir().join("identity")).unwrap();
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("instance_id = "));
    u64::from_str_radix(line.unwrap(), 16).unwrap()
}

/// What a call carries that says to be from `from`, and knows everything.
pub(super) async fn credentials(from: &Node, to: &Node) -> Vec<(&'static str, HeaderValue)> {
    let status = to.calls().status().await.unwrap();
    let header = status.header.unwrap();
    let value = |number: u64| HeaderValue::from_str(&format!("{number:016x}")).unwrap();
    vec![
        (CLUSTER_KEY, value(header.cluster_id)),
        (SENDER_KEY, value(from.member_id().await)),
        (SENDER_INSTANCE_KEY, value(instance_of(from))),
        (TARGET_KEY, value(header.member_id)),
        (TARGET_INSTANCE_KEY, value(instance_of(to))),
    ]
}

/// A vote that would win, an entry, a snapshot: what a stranger would begin with.
fn message(call: &str, term: u64, node_id: u64) -> Vec<u8> {
    let vote = Some(peer::Vote {
        term: term + 1,
        node_id,
        committed: true,
    });
    match call {
        "Append" | "Heartbeat" => peer::AppendRequest {
            vote,
            ..peer::AppendRequest::default()
        }
        .encode_to_vec(),
        "Vote" | "PreVote" => peer::VoteRequest {
            vote,
            leadership_transfer: true,
            ..peer::VoteRequest::default()
        }
        .encode_to_vec(),
        "TransferLeader" => peer::TransferLeaderRequest {
            from_leader: vote,
            to_node_id: node_id,
            last_log_id: None,
        }
        .encode_to_vec(),
        "HeldSnapshot" => peer::HeldSnapshotRequest { vote }.encode_to_vec(),
        "ReadRound" => peer::ReadRoundRequest { vote, round: 1 }.encode_to_vec(),
        _ => Vec::new(),
    }
}

/// Makes every call of the protocol in plain text, and discovery; how many got through.
async fn attack(from: &Node, to: &Node) -> Vec<String> {
    let credentials = credentials(from, to).await;
    let term = to.calls().status().await.unwrap().raft_term;
    let member = from.member_id().await;
    let mut through = Vec::new();
    for call in CALLS {
        let wire = Wire::to(&peer_address(to));
        let mut request = Call::new(
            format!("/tenure.peer.v1.Peer/{call}"),
            frame(&message(call, term, member)),
        );
        request.metadata.clone_from(&credentials);
        let answer = wire.call(&request).await;
        let is_refused = answer.messages.is_empty() && answer.text.starts_with("(transport)");
        if !is_refused {
            through.push(format!("{call}: {answer:?}"));
        }
    }
    let url = format!("http://{}", peer_address(to));
    let discovered = match DiscoveryClient::connect(url).await {
        Ok(mut client) => client.members(peer::MembersRequest {}).await.is_ok(),
        Err(_) => false,
    };
    if discovered {
        through.push("discovery".to_owned());
    }
    through
}

async fn terms(cluster: &Cluster) -> Vec<u64> {
    let mut terms = Vec::new();
    for node in cluster.nodes() {
        terms.push(node.calls().status().await.unwrap().raft_term);
    }
    terms
}

#[tokio::test]
async fn without_the_secret_no_call_between_members_gets_through_whoever_it_says_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let secret = secret.display().to_string();
    let cluster = Cluster::builder(3)
        .flag("--cluster-secret-file", &secret)
        .start()
        .await;
    let leader = cluster.leader().await;
    let target = cluster.others(leader)[0];
    let before = terms(&cluster).await;
    let through = attack(cluster.node(leader), cluster.node(target)).await;
    assert!(through.is_empty(), "{through:?}");
    assert_eq!(terms(&cluster).await, before);
    assert_eq!(cluster.leader().await, leader);
    let refused = r#"tenure_tls_handshakes_failed_total{port="peer",reason="secret"}"#;
    assert!(metric(cluster.node(target), refused).await >= CALLS.len() as f64);
    cluster.node(target).calls().put("k", "v").await.unwrap();
}

/// The test above would also pass if nothing of it reached a node: here the same calls do.
#[tokio::test]
async fn the_same_calls_get_through_where_members_are_not_authenticated() {
    let cluster = Cluster::start(3).await;
    let leader = cluster.leader().await;
    let target = cluster.others(leader)[0];
    let through = attack(cluster.node(leader), cluster.node(target)).await;
    assert!(through.len() > CALLS.len() / 2, "{through:?}");
    assert!(through.contains(&"discovery".to_owned()));
}

#[tokio::test]
async fn without_a_certificate_no_call_between_members_gets_through() {
    let pki = Pki::new();
    let [certificate, key] = pki.issue("peer", &Leaf::node()).words();
    let authority = pki.authority().display().to_string();
    let cluster = Cluster::builder(3)
        .peers_use_tls()
        .flag("--peer-cert-file", &certificate)
        .flag("--peer-key-file", &key)
        .flag("--peer-trusted-ca-file", &authority)
        .start()
        .await;
    let leader = cluster.leader().await;
    let target = cluster.others(leader)[0];
    let before = terms(&cluster).await;
    let through = attack(cluster.node(leader), cluster.node(target)).await;
    assert!(through.is_empty(), "{through:?}");

    // Over TLS, with no certificate and with one of another authority.
    let other = Pki::new();
    let stranger = other.issue("stranger", &Leaf::node());
    let [their_certificate, their_key] = stranger.words();
    let url = format!(
        "https://{}/tenure.peer.v1.Peer/Vote",
        peer_address(cluster.node(target))
    );
    for own in [
        &[][..],
        &["--cert", &their_certificate, "--key", &their_key],
    ] {
        let mut arguments = vec!["--insecure", "--http2", "--data", "x"];
        arguments.extend(own);
        arguments.push(&url);
        if let Some(ran) = super::curl(&arguments).await {
            assert_ne!(ran.code, Some(0), "{ran:?}");
        }
    }
    let log = cluster.node(target).log();
    assert!(
        log.contains("tls: client didn't provide a certificate"),
        "{log}"
    );
    assert_eq!(terms(&cluster).await, before);
    cluster.node(target).calls().put("k", "v").await.unwrap();
}
