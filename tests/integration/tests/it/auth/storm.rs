//! Many log-ins at once: passwords are costly to check, and nothing else waits for that.

use tenure_proto::etcdserverpb::PutRequest;
use tenure_testkit::{Cluster, Node};
use tonic::Code;

use super::setup::{PASSWORD, User, Users};

/// Log-ins at once, some per member: minutes of work for one thread.
const LOGINS: usize = 600;

async fn metrics(node: &Node, names: &[&str]) -> Vec<f64> {
    let page = node.page("/metrics").await;
    let metric = |name: &&str| page.metric(name).unwrap_or_default();
    names.iter().map(metric).collect()
}

/// What a leader that is not heard in time would change.
const CALM: [&str; 3] = [
    "etcd_server_leader_changes_seen_total",
    "etcd_server_heartbeat_send_failures_total",
    "etcd_server_has_leader",
];

/// All from one address.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_wrong_passwords_of_one_user_keeps_no_other_of_its_address_out() {
    let builder = Cluster::builder(1).flag("--bcrypt-cost", "10");
    let users = Users::enable(builder.start().await).await;
    let address = users.cluster.node(0).address().to_owned();
    let storm: Vec<_> = (0..LOGINS)
        .map(|_| {
            let user = User::on(&address, None);
            tokio::spawn(async move {
                let refused = user.try_log_in("guest", "wrong").await;
                refused.unwrap_err().code()
            })
        })
        .collect();
    // None of these has logged in before.
    for name in ["reader", "writer", "both"] {
        let user = User::on(&address, None);
        user.try_log_in(name, PASSWORD).await.unwrap();
    }
    for login in storm {
        let code = login.await.unwrap();
        let refused = [Code::InvalidArgument, Code::ResourceExhausted];
        assert!(refused.contains(&code), "{code:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_log_ins_delays_no_heartbeat_and_no_write() {
    // At this cost a password takes a good part of a second.
    let builder = Cluster::builder(3).flag("--bcrypt-cost", "12");
    let users = Users::enable(builder.start().await).await;
    let writer = users.user("writer").await;
    let term = async || {
        let status = users.user_status().await;
        (status.leader, status.raft_term)
    };
    let before = term().await;
    let mut calm = Vec::new();
    for node in users.cluster.nodes() {
        calm.push(metrics(node, &CALM).await);
    }
    let addresses = users.cluster.addresses();
    let storm: Vec<_> = (0..LOGINS)
        .map(|number| {
            let user = User::on(&addresses[number % addresses.len()], None);
            // Each another name, or they would be refused unseen after some. As costly as a right
            // one.
            tokio::spawn(async move {
                let name = format!("unknown {number}");
                user.try_log_in(&name, PASSWORD).await.unwrap_err().code()
            })
        })
        .collect();
    // As long as it lasts, the others write.
    let mut writes = 0;
    while !storm.iter().all(tokio::task::JoinHandle::is_finished) {
        let put = PutRequest {
            key: "a/1".into(),
            ..PutRequest::default()
        };
        writer.kv().put(put).await.unwrap();
        writes += 1;
    }
    let mut codes = [0, 0];
    for login in storm {
        match login.await.unwrap() {
            Code::InvalidArgument => codes[0] += 1,
            // The queue is full: said at once, and not after minutes.
            Code::ResourceExhausted | Code::Unavailable => codes[1] += 1,
            code => panic!("{code:?}"),
        }
    }
    println!("{codes:?} checked and refused, {writes} writes meanwhile");
    assert!(codes[0] > 0 && codes[1] > 0, "{codes:?}");
    assert!(writes > 10, "{writes} writes");
    assert_eq!(term().await, before, "no election");
    for (node, calm) in users.cluster.nodes().iter().zip(calm) {
        assert_eq!(metrics(node, &CALM).await, calm, "{}", node.name());
    }
}
