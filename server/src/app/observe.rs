//! Updates gauges and the event counter at each scrape; other counters are incremented at their
//! source.

use std::sync::{Arc, Weak};

use tenure_proto::API_VERSION;
use tenure_statemachine::Reader;

use crate::{
    config::Config,
    events::WatchHub,
    metrics::Metrics,
    node::{Node, Replica},
    tasks,
};

/// Sets constant metrics, and starts to update the others.
pub(super) fn spawn(
    node: &Arc<Node>,
    hub: &Arc<WatchHub>,
    metrics: &Arc<Metrics>,
    config: &Config,
) {
    let identity = node.identity().clone();
    metrics.server.set_id(identity.member_id);
    metrics.server.set_version(API_VERSION);
    metrics
        .server
        .set_cluster_version(API_VERSION.rsplit_once('.').map_or(API_VERSION, |(v, _)| v));
    for (name, stage, is_on) in config.feature_gates.all() {
        metrics.alarm.set_feature(name, stage, is_on);
    }
    let quota = config.quota_backend_bytes.unwrap_or(0);
    metrics.server.quota_backend_bytes.set(signed(quota));
    for member in node.status().members {
        if member.id != identity.member_id {
            // Creates the metrics of each peer, all zero, before its first message.
            _ = metrics.network.peer(identity.member_id, member.id);
        }
    }
    count_leaders(node, metrics);
    // Weak references, so that the metrics do not keep the node alive.
    let (node, hub, own) = (
        Arc::downgrade(node),
        Arc::downgrade(hub),
        Arc::downgrade(metrics),
    );
    metrics.before_scrapes(move || {
        let all = (
            Weak::upgrade(&node),
            Weak::upgrade(&hub),
            Weak::upgrade(&own),
        );
        if let (Some(node), Some(hub), Some(metrics)) = all {
            refresh(&node, &hub, &metrics);
        }
    });
}

/// Starts a task that counts changes of leader.
fn count_leaders(node: &Arc<Node>, metrics: &Arc<Metrics>) {
    let mut leadership = node.leadership();
    let metrics = Arc::clone(metrics);
    tasks::spawn("observe", async move {
        let mut leader = None;
        loop {
            let now = leadership.borrow_and_update().leader;
            if now.is_some() && now != leader {
                metrics.server.leader_changes_seen.inc();
                leader = now;
            }
            // The channel closes when the node has stopped.
            if leadership.changed().await.is_err() {
                return;
            }
        }
    });
}

fn refresh(node: &Node, hub: &WatchHub, metrics: &Metrics) {
    let status = node.status();
    let (server, mvcc) = (&metrics.server, &metrics.mvcc);
    server.has_leader.set(i64::from(status.leader.is_some()));
    server.is_leader.set(i64::from(status.is_leader));
    server.is_learner.set(i64::from(status.is_learner));
    let proposals = &metrics.proposals;
    proposals.committed.set(signed(status.committed_index));
    proposals.applied.set(signed(status.applied_index));
    let meta = node.meta();
    let bytes = node.storage_bytes().told();
    mvcc.keys.set(signed(meta.keys));
    mvcc.current_revision.set(meta.revision.0);
    mvcc.compact_revision.set(meta.floor.0);
    mvcc.db_total_size.set(signed(bytes.logical));
    mvcc.db_total_size_in_use.set(signed(bytes.in_use));
    let engine = node.engine();
    let auth = Reader::new(engine.as_ref()).and_then(|reader| reader.auth());
    // A disk that cannot be read stops the node elsewhere.
    if let Ok(auth) = auth {
        metrics.auth.revision.set(signed(auth.revision.0));
    }
    let watches = hub.stats();
    let watchers = watches.watchers_live + watches.watchers_behind;
    mvcc.watcher.set(signed(watchers as u64));
    mvcc.slow_watcher
        .set(signed(watches.watchers_behind as u64));
    mvcc.watch_stream.set(signed(watches.streams as u64));
    mvcc.pending_events.set(signed(watches.pending as u64));
    // Two concurrent scrapes may both see the older value; a counter must not decrease.
    let events = watches.events_total.saturating_sub(mvcc.events.get());
    mvcc.events.inc_by(events);
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
