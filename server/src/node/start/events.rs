//! The channels and hubs between the state machine and the readers of applied entries.

use std::sync::Arc;

use tenure_statemachine::{Meta, Revision};
use tokio::sync::watch;

use super::{Environment, NodeConfig};
use crate::{
    events::{ClaimHub, LeaseFeed, WatchHub},
    node::{
        apply_events::ApplyEvents,
        cluster_clock::ClusterClock,
        integrity::{Integrity, IntegrityFeed},
        progress::Applied,
        slow_apply::SlowApply,
        waiters::Waiters,
    },
    storage::StateStore,
};

/// The readers' side.
pub(super) struct Events {
    pub(super) hub: Arc<WatchHub>,
    pub(super) waiters: Arc<Waiters>,
    pub(super) clock: Arc<ClusterClock>,
    pub(super) leases: Arc<LeaseFeed>,
    pub(super) claims: Arc<ClaimHub>,
    pub(super) applied: watch::Receiver<Applied>,
    pub(super) meta: watch::Receiver<Meta>,
    pub(super) floor: watch::Receiver<Revision>,
    pub(super) integrity: watch::Receiver<Integrity>,
}

impl Events {
    /// Creates both sides, from the state in `store` and its counters `before` anything is applied.
    pub(super) fn new(
        config: &NodeConfig,
        environment: &Environment,
        store: &Arc<StateStore>,
        before: Meta,
    ) -> (ApplyEvents, Self) {
        let metrics = &environment.metrics;
        let own = config.identity.member_id;
        let integrity = IntegrityFeed::new(own, Arc::clone(store), Arc::clone(metrics));
        let (applied_sender, applied) = watch::channel(Applied {
            index: before.applied_index,
            term: before.applied_term,
        });
        let (meta_sender, meta) = watch::channel(before);
        let (floor_sender, floor) = watch::channel(before.floor);
        let events = Self {
            hub: WatchHub::new(before.revision),
            waiters: Arc::default(),
            clock: Arc::new(ClusterClock::new(
                Arc::clone(&environment.clock),
                before.now,
            )),
            leases: LeaseFeed::new(),
            claims: ClaimHub::new(metrics.lock.clone()),
            applied,
            meta,
            floor,
            integrity: integrity.subscribe(),
        };
        let listener = ApplyEvents {
            origin: config.origin,
            hub: Arc::clone(&events.hub),
            waiters: Arc::clone(&events.waiters),
            clock: Arc::clone(&events.clock),
            applied: applied_sender,
            meta: meta_sender,
            floor: floor_sender,
            leases: Arc::clone(&events.leases),
            claims: Arc::clone(&events.claims),
            integrity,
            slow: SlowApply {
                expected: config.warning_apply_duration,
                count: metrics.server.slow_apply.clone(),
            },
            metrics: Arc::clone(metrics),
        };
        (listener, events)
    }
}
