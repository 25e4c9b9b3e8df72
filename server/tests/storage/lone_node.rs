//! A node alone in its quorum, in this process, without its servers.

use std::{path::Path, sync::Arc, time::Duration};

use tenured::{
    clock::RuntimeClock,
    config::MetricsLevel,
    consensus::PeerNode,
    metrics::Metrics,
    node::{
        self, CollectionPace, Environment, Identity, LogLimits, Node, NodeConfig,
        ReconfigurationRules,
    },
    storage::{DataDir, Owner, fresh_instance_id},
    transport::TcpTransport,
};

/// Starts a node in `path`.
pub(crate) async fn start(path: &Path, log_limits: LogLimits) -> (Arc<Node>, Arc<Metrics>) {
    let data = DataDir::open(path).unwrap();
    let owner = data.owner().unwrap_or(Owner {
        cluster_id: 1,
        member_id: 1,
        instance_id: fresh_instance_id(),
    });
    if data.owner().is_none() {
        data.claim(owner).unwrap();
    }
    let own = PeerNode {
        name: "m".to_owned(),
        peer_urls: vec!["http://127.0.0.1:1".to_owned()],
        ..PeerNode::default()
    };
    let config = NodeConfig {
        instance_id: owner.instance_id,
        founders: [(1, own)].into(),
        may_form: true,
        introducers: Vec::new(),
        reconfiguration: ReconfigurationRules {
            strict: true,
            learners_max: 1,
        },
        identity: Identity {
            cluster_id: 1,
            member_id: tenure_statemachine::MemberId(1),
            name: "m".to_owned(),
        },
        compare_every: Duration::from_secs(600),
        compare_compactions_every: None,
        heartbeat_interval: Duration::from_millis(100),
        election_timeout: Duration::from_secs(1),
        log_limits,
        snapshot_catchup_entries: 100_000,
        collection: CollectionPace {
            batch_max: 1000,
            pause: Duration::from_millis(10),
        },
        request_timeout: Duration::from_secs(5),
        warning_apply_duration: Duration::from_secs(1),
        origin: fresh_instance_id(),
    };
    let metrics = Metrics::new(MetricsLevel::Basic);
    let environment = Environment {
        clock: RuntimeClock::shared(),
        transport: Arc::new(TcpTransport::default()),
        metrics: Arc::clone(&metrics),
        recovery: Arc::default(),
    };
    let started = node::start(config, data, environment).await.unwrap();
    node::run(&started.node).await.unwrap();
    (started.node, metrics)
}
