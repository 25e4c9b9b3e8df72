//! Brings the gauges up to date a few times a second; counters are counted where things happen.

use std::{sync::Arc, time::Duration};

use crate::{
    config::{API_LEVEL, Config},
    metrics::Metrics,
    node::Node,
    rpc::backend::Backend,
    tasks,
    watch::Hub,
};

/// How old a gauge may be when it is scraped.
const INTERVAL: Duration = Duration::from_millis(500);

/// Starts to observe.
pub(super) fn spawn(node: Arc<Node>, hub: Arc<Hub>, metrics: Arc<Metrics>, config: &Config) {
    let identity = node.identity().clone();
    metrics.server.set_id(identity.member_id);
    metrics.server.set_version(API_LEVEL);
    metrics
        .server
        .set_cluster_version(API_LEVEL.rsplit_once('.').map_or(API_LEVEL, |(v, _)| v));
    let quota = config.quota_backend_bytes.unwrap_or(0);
    metrics.server.quota_backend_bytes.set(signed(quota));
    tasks::spawn("observe", async move {
        let mut leader = None;
        loop {
            let status = node.status();
            if status.leader.is_some() && status.leader != leader {
                metrics.server.leader_changes_seen.inc();
                leader = status.leader;
            }
            metrics
                .server
                .has_leader
                .set(i64::from(status.leader.is_some()));
            metrics.server.is_leader.set(i64::from(status.is_leader));
            metrics.server.is_learner.set(i64::from(status.is_learner));
            metrics
                .proposals
                .committed
                .set(signed(status.committed_index));
            metrics.proposals.applied.set(signed(status.applied_index));
            let meta = node.meta();
            let bytes = node.storage_bytes();
            metrics.mvcc.keys.set(signed(meta.keys));
            metrics.mvcc.current_revision.set(meta.revision.0);
            metrics.mvcc.compact_revision.set(meta.floor.0);
            metrics.mvcc.db_total_size.set(signed(bytes.logical));
            metrics.mvcc.db_total_size_in_use.set(signed(bytes.in_use));
            let watches = hub.stats();
            metrics.mvcc.watcher.set(signed(
                (watches.watchers_live + watches.watchers_behind) as u64,
            ));
            metrics
                .mvcc
                .slow_watcher
                .set(signed(watches.watchers_behind as u64));
            metrics
                .mvcc
                .watch_stream
                .set(signed(watches.streams as u64));
            tokio::time::sleep(INTERVAL).await;
        }
    });
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
