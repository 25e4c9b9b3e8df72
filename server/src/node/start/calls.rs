//! Starts the tasks for writes, linearizable reads and the requests of other members.

use std::sync::Arc;

use super::{Environment, NodeConfig, core::Core, events::Events};
use crate::{
    node::{
        batcher::{self, Batcher},
        collected::Collected,
        collector, feature,
        forwarder::Forwarder,
        history_hashes::HistoryHashes,
        member_calls::MemberCalls,
        peer_requests::Requests,
        proposer::Proposer,
        read_index::{self, ReadIndex},
    },
    raft::{DigestPoint, Peers},
};

/// The tasks that serve writes and linearizable reads.
pub(super) struct Calls {
    pub(super) batcher: Batcher,
    pub(super) reads: ReadIndex,
    proposer: Proposer,
    collected: Arc<Collected>,
}

impl Calls {
    pub(super) fn spawn(
        config: &NodeConfig,
        environment: &Environment,
        core: &Core,
        events: &Events,
        peers: &Arc<Peers>,
    ) -> Self {
        let proposer = Proposer::spawn(
            core.raft.clone(),
            core.own,
            Arc::clone(&events.clock),
            Arc::clone(&core.backlog),
        );
        let collected = Arc::<Collected>::default();
        let batcher = Batcher::spawn(batcher::Parts {
            origin: config.origin,
            waiters: Arc::clone(&events.waiters),
            proposer: proposer.clone(),
            forwarder: Forwarder::new(
                Arc::clone(peers),
                Arc::new(core.raft.clone()),
                Arc::clone(&collected),
            ),
            leadership: core.leadership.clone(),
            applied: events.applied.clone(),
            meta: events.meta.clone(),
            offer_max: config.election_timeout,
            clock: Arc::clone(&environment.clock),
            request_timeout: config.request_timeout,
        });
        feature::spawn(feature::Parts {
            raft: core.raft.clone(),
            peers: Arc::clone(peers),
            own: core.own,
            batcher: batcher.clone(),
            leadership: core.leadership.clone(),
            meta: events.meta.clone(),
            interval: config.heartbeat_interval,
            age_max: config.election_timeout * 2,
        });
        let reads = ReadIndex::spawn(read_index::Parts {
            raft: core.raft.clone(),
            peers: Arc::clone(peers),
            collected: Arc::clone(&collected),
            leadership: core.leadership.clone(),
            applied: events.applied.clone(),
            own: core.own,
            confirmed: Arc::clone(&core.confirmed),
            round_every: config.heartbeat_interval,
            request_timeout: config.request_timeout,
            slow: environment.metrics.server.slow_read_indexes.clone(),
            failed: environment.metrics.server.read_indexes_failed.clone(),
        });
        Self {
            batcher,
            reads,
            proposer,
            collected,
        }
    }

    /// The handlers of the other members' requests beyond consensus itself, which arrive over their
    /// connections and over those of this node to them.
    pub(super) fn of_peers(
        &self,
        config: &NodeConfig,
        environment: &Environment,
        core: &Core,
        peers: &Arc<Peers>,
        (point, hashes): (&Arc<DigestPoint>, &Arc<HistoryHashes>),
        member_calls: MemberCalls,
    ) -> Arc<Requests> {
        let requests = Arc::new(Requests {
            proposer: self.proposer.clone(),
            raft: core.raft.clone(),
            contact: Arc::clone(&core.contact),
            backlog: Arc::clone(&core.backlog),
            reads: self.reads.clone(),
            point: Arc::clone(point),
            hashes: Arc::clone(hashes),
            collected: Arc::clone(&self.collected),
            metrics: environment.metrics.network.clone(),
            member_calls,
        });
        collector::spawn(collector::Parts {
            raft: core.raft.clone(),
            peers: Arc::clone(peers),
            own: core.own,
            leadership: core.leadership.clone(),
            requests: Arc::<Requests>::clone(&requests),
            interval: config.election_timeout,
        });
        requests
    }
}
